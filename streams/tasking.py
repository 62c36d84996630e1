"""What time makes of tasks: answers become late, the privacy officer is written to, reviews fall due.

A letter is ordered in the transaction that notes its step, so each step is written about once whatever
crashes; it stays ordered until the mail server has taken it, under one Message-ID. It names processors,
purposes and tasks, never a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, get_args

import msgspec
from msgspec.structs import replace

from schemas.ids import Micros
from schemas.plan import Plans, PolicyPlan
from streams import metrics
from streams.planbook import PlanBook
from streams.requests import counted, waiting
from streams.tasks import Step, open_since, pass_time
from vault.port import Tx, Vault
from vault.tasks import FOREVER, Task, TaskKind

PAGE = 500
"""Tasks looked at in one transaction."""
MOST = 10_000
"""Open tasks of one processor that are looked through for its review."""
LISTED = 20
"""Tasks named in one letter; more are counted."""
COUNTING = 50
"""Requests are counted for at most this part of the time."""
LETTERS = "letter/"
"""Meta: letters ordered and not yet taken by the mail server."""
KINDS: tuple[TaskKind, ...] = get_args(TaskKind)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to the privacy officer; `id` is its Message-ID's left part."""

    id: str
    subject: str
    body: str
    at: Micros


class Mailer(Protocol):
    """Hands letters to a mail server; blocking."""

    def __call__(self, letter: Letter) -> None:
        """Return once the server has taken it; `Unavailable` where it has not."""


def name_of(task: Task) -> str:
    """Return a task's name for people and commands: the processor and the first half of the lapse's id."""
    return f"{task.processor}:{task.about[:8].hex()}"


def review_id(processor: str, review: Micros) -> bytes:
    """Return what a review's task is about: this processor's review of this date."""
    return hashlib.sha256(f"lapse/v1/review\n{processor}\n{review}".encode()).digest()[:16]


def reviews(tx: Tx, plan: PolicyPlan) -> list[Task]:
    """Return reviews as they must be entered: fallen due, or done because a later policy has moved them."""
    owed: list[Task] = []
    for p in plan.processors:
        about = None if p.review is None else review_id(p.name, p.review)
        if tx.count_tasks("open", p.name, "review"):
            stands = tx.tasks(state="open", processor=p.name, limit=MOST)
            moved = [task for task in stands if task.kind == "review" and task.about != about]
            owed += [replace(task, state="done", done_at=tx.now, look=FOREVER) for task in moved]
        if p.review is None or about is None or p.review > tx.now or p.suspended is not None:
            continue
        if tx.task(p.name, about) is None:
            owed.append(
                Task(
                    processor=p.name,
                    about=about,
                    state="open",
                    kind="review",
                    due=p.review,
                    look=tx.now,
                    since=p.review,
                    scope="assurance",
                    opened_at=tx.now,
                )
            )
    return owed


def letters(stepped: Sequence[tuple[Step, Task]], now: Micros) -> list[Letter]:
    """Return one letter for each step and processor among these."""
    grouped: dict[tuple[Step, str], list[Task]] = {}
    for step, task in stepped:
        grouped.setdefault((step, task.processor), []).append(task)
    return [_letter(step, name, tasks, now) for (step, name), tasks in sorted(grouped.items())]


_SAYS: dict[Step, str] = {
    "opened": "somebody has to act",
    "soon": "the time to answer is running out",
    "due": "the deadline has passed",
    "overdue": "still not done",
}


def _letter(step: Step, processor: str, tasks: Sequence[Task], now: Micros) -> Letter:
    named = hashlib.sha256(step.encode())
    for task in tasks:
        named.update(task.processor.encode() + task.about)
    count = f"{len(tasks)} answers" if len(tasks) > 1 else "1 answer"
    lines = [f"{processor}: {_SAYS[step]} ({count} to requests to erase or review).", ""]
    lines += [f"  {name_of(task)}  {_what(task)}" for task in tasks[:LISTED]]
    lines += [f"  and {len(tasks) - LISTED} more"] * (len(tasks) > LISTED)
    lines += ["", "lapse task list        what is open", "lapse task show TASK   one of them", ""]
    return Letter(
        id=named.hexdigest()[:32],
        subject=f"Lapse: {processor}: {_SAYS[step]}",
        body="\n".join(lines),
        at=now,
    )


def _what(task: Task) -> str:
    cause = task.cause or ("restriction" if task.kind == "inform" else "review")
    about = f"{cause} of {', '.join(task.purposes)}" if task.purposes else task.scope
    return f"{task.kind or 'not answered'}, {about}"


@dataclass(slots=True, kw_only=True)
class Tasking:
    """Looks at tasks and letters; `mine` says whether it is this worker's turn, `work` runs what blocks.

    Without a `mail` nobody is written to: the steps are noted all the same, and doctor says so.
    """

    vault: Vault
    plans: PlanBook
    mail: Mailer | None
    work: Callable[..., Awaitable[object]]
    mine: Callable[[], bool]
    seconds: Callable[[], float]
    _count_at: float = float("-inf")

    async def run(self) -> int:
        """Look once; returns how many tasks changed, so that many are looked at at once."""
        if not self.mine():
            return 0
        stepped = self._step()
        await self._post()
        return stepped

    def _step(self) -> int:
        with self.vault.transaction(write=False) as tx:
            plans = self.plans.within(tx)
            plan = plans.today(tx.now) if len(plans) else None
            busy = bool(tx.tasks_to_look_at(tx.now, 1)) or (plan is not None and bool(reviews(tx, plan)))
        stepped: list[tuple[Step, Task]] = []
        if busy:
            with self.vault.transaction() as tx:
                if plan is not None:
                    tx.put_tasks(reviews(tx, plan))
                stepped = look(tx)
                for letter in letters(stepped, tx.now) if self.mail is not None else ():
                    tx.put_meta(LETTERS + letter.id, msgspec.msgpack.encode(letter))
        self._measure(plans)
        return len(stepped)

    async def _post(self) -> None:
        """Hand over what is ordered; what the server does not take stays ordered."""
        with self.vault.transaction(write=False) as tx:
            waiting = [msgspec.msgpack.decode(blob, type=Letter) for blob in tx.metas(LETTERS).values()]
        metrics.LETTERS.set(len(waiting))
        if self.mail is None:
            return
        for letter in sorted(waiting, key=lambda each: each.at):
            await self.work(partial(self.mail, letter))
            with self.vault.transaction() as tx:
                tx.put_meta(LETTERS + letter.id, None)
            metrics.LETTERS.dec()

    def _measure(self, plans: Plans) -> None:
        with self.vault.transaction(write=False) as tx:
            names = {p.name for plan in plans for p in plan.processors}
            for name in sorted(names):
                for kind in KINDS:
                    metrics.TASKS.labels(name, kind).set(tx.count_tasks("open", name, kind))
                oldest = open_since(tx.tasks(state="open", processor=name, limit=1))
                metrics.TASK_AGE.labels(name).set((tx.now - oldest) / 1_000_000 if oldest is not None else 0)
            if len(plans) and self.seconds() >= self._count_at:
                self._count(tx, plans.today(tx.now))

    def _count(self, tx: Tx, policy: PolicyPlan) -> None:
        """Count the requests that wait. Strangers add to them, so that is done ever more seldom."""
        began = self.seconds()
        for right, (waits, late) in counted(waiting(tx), policy, tx.now).items():
            metrics.REQUESTS.labels(right).set(waits)
            metrics.OVERDUE_REQUESTS.labels(right).set(late)
        self._count_at = began + COUNTING * (self.seconds() - began)


def look(tx: Tx) -> list[tuple[Step, Task]]:
    """Take a page of tasks whose time has come a step on; returns those to write about."""
    kept, gone, stepped = [], [], list[tuple[Step, Task]]()
    for task in tx.tasks_to_look_at(tx.now, PAGE):
        after, step = pass_time(task, tx.now)
        if after is None:
            gone.append((task.processor, task.about))
            continue
        kept.append(after)
        if step is not None:
            stepped.append((step, after))
    tx.put_tasks(kept)
    tx.drop_tasks(gone)
    return stepped
