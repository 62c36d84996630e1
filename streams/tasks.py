"""Tasks, the pure part: what receipts make of an awaited answer, what time does, and whom to tell when.

An answer that comes in time leaves nothing. One that is late, or says that somebody has to act, is a task
until everything is answered or an operator has shown, signed, that it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from schemas.ids import Micros
from schemas.models import ReceiptGiven, ReceiptOutcome
from schemas.times import DAY
from vault.tasks import FOREVER, Task, TaskKind

BY_HAND = "done_by_hand"
"""Code of an operator's receipt; counts under the signature of one of the policy's operators alone."""
FINAL: frozenset[ReceiptOutcome] = frozenset(
    {"completed", "already_absent", "not_applicable", "overwritten_only"}
)
"""Outcomes after which nobody has anything to do any more, whatever they are worth."""
ASKS: dict[ReceiptOutcome, TaskKind] = {"manual_required": "manual", "failed_permanent": "failed"}
"""Outcomes that ask for a person at once."""
MOST_ANSWERS = 512
"""Answers kept of one lapse; a topic has fewer partitions than half of this."""
KEPT = 90 * DAY
"""How long what was done is listed; its proof stays on `receipts` longer."""

Step = Literal["opened", "soon", "due", "overdue"]
"""When the privacy officer is written to: at a task's beginning, when three quarters of the time to answer
are over, at the deadline, and once more when as much time again has passed.
"""


def fold(task: Task, receipt: ReceiptGiven, now: Micros, *, by_hand: bool = False) -> Task | None:
    """Return the row after a receipt; None where everything was answered in time.

    The same again changes nothing, and so does what comes in another order.

    `by_hand`: the receipt is an operator's, and its signature holds.
    """
    if by_hand:
        return _done(task, receipt, now)
    if receipt.receipt_id in task.answers or len(task.answers) >= MOST_ANSWERS or receipt.code == BY_HAND:
        return task
    answers = {**task.answers, receipt.receipt_id: receipt.outcome}
    task = replace(task, answers=answers)
    if sum(outcome in FINAL for outcome in answers.values()) >= task.expected:
        if task.state == "awaited" and task.cause != "recall":
            return None
        return task if task.state == "done" else _done(task, receipt, now)
    asks = ASKS.get(receipt.outcome)
    if asks is not None and task.state == "awaited":
        return replace(task, state="open", kind=asks, opened_at=now, look=now)
    return replace(task, kind=asks) if asks is not None and task.state == "open" else task


def _done(task: Task, receipt: ReceiptGiven, now: Micros) -> Task:
    if task.state == "done":
        return task
    kept = FOREVER if task.cause == "recall" else Micros(now + KEPT)
    return replace(task, state="done", done_at=now, evidence=receipt.evidence, look=kept)


def pass_time(task: Task, now: Micros) -> tuple[Task | None, Step | None]:
    """Return the row as it is at `now`, and whom it is time to write to; None where it is forgotten."""
    if task.state == "done":
        return (None if task.look <= now else task), None
    if task.state == "awaited" and now >= task.due:
        pending = "accepted_async" in task.answers.values()
        task = replace(task, state="open", kind="unfinished" if pending else "late", opened_at=now)
    step = next((each for each in reversed(_steps(task)) if _at(task, each) <= now), None)
    if step in task.steps:
        step = None
    if step is not None:
        task = replace(task, steps=(*task.steps, step))
    later = [_at(task, each) for each in _steps(task) if _at(task, each) > now]
    return replace(task, look=min(later, default=FOREVER)), step


def _steps(task: Task) -> tuple[Step, ...]:
    """The steps there are for it, in the order of their times."""
    if task.state == "open" and task.opened_at is not None and task.opened_at < task.due:
        return tuple(sorted(("opened", "soon", "due", "overdue"), key=lambda step: _at(task, step)))
    return ("soon", "due", "overdue")


def _at(task: Task, step: Step) -> Micros:
    whole = max(0, task.due - task.since)
    match step:
        case "opened":
            return task.opened_at if task.opened_at is not None else task.due
        case "soon":
            return Micros(task.due - whole // 4)
        case "due":
            return task.due
        case "overdue":
            return Micros(task.due + max(whole, DAY // 24))


def open_since(tasks: Iterable[Task]) -> Micros | None:
    """Return when the oldest of these became a task."""
    return min((task.opened_at for task in tasks if task.opened_at is not None), default=None)
