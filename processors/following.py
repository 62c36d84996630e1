"""Erasures a recipient has accepted and not done: asked about until they end, told when they are late.

When to ask stands in the vault, so a restart forgets nothing and several workers do not ask twice. `follow`
decides, the rest is I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from processors import metrics
from processors.answers import Answer, Done, Permanent, Retry
from processors.awaiting import Awaiting
from processors.backoff import seconds
from processors.calling import still_there
from processors.kept import Pending, unpack
from processors.objects import Document
from processors.recipient import Recipient
from processors.reporting import Reports
from processors.values import Timing
from schemas.ids import Micros
from vault.port import Tx, Vault

AT_ONCE = 20
"""Asked about in one look: what a large recall left open must not crowd out what waits to be written."""
COUNT = seconds(5)
BY_ITSELF = seconds(24 * 3600)
"""How soon one is looked at again whose recipient reports by itself."""

Ask = Callable[[Callable[[], Awaitable[Answer | None]]], Awaitable[Answer | None]]
"""Asks within the connector's deadline and tells its gate how it went; `Retry` where nothing may be asked."""


class Next(NamedTuple):
    """What follows from one look: the end or how it stands, when to look again, whether it is late."""

    end: Done | Permanent | None
    pending: Pending
    due: Micros
    late: bool


def follow(
    pending: Pending, answer: Answer | None, *, now: Micros, wall: Micros, draw: float, timing: Timing
) -> Next:
    """Decide what an answer means; `now` is the vault's clock, `wall` the machine's."""
    if isinstance(answer, Permanent) or (isinstance(answer, Done) and answer.outcome != "accepted_async"):
        return Next(answer, pending, wall, late=False)
    by = pending.answer_by
    late = by is not None and now >= by and not pending.late
    asked = replace(pending, asked=pending.asked + 1, late=pending.late or late)
    wish = answer.after if isinstance(answer, Retry) else None
    wait = BY_ITSELF if answer is None else timing.follow.wait(asked.asked, draw, wish)
    if by is not None and not asked.late:
        wait = Micros(min(wait, max(by - now, timing.follow.least)))
    return Next(None, asked, Micros(wall + wait), late)


@dataclass(slots=True, kw_only=True)
class Following:
    """The loop of one connector that asks."""

    name: str
    vault: Vault
    recipient: Recipient
    reports: Reports
    ask: Ask
    wall: Callable[[], Micros]
    draw: Callable[[], float]
    timing: Timing
    _count_at: Micros = Micros(0)

    async def tick(self) -> int:
        """Ask about what is due, once; return how many were asked about."""
        awaiting, wall = Awaiting(self.name), self.wall()
        with self.vault.transaction(write=False) as tx:
            due = awaiting.any_due(tx, wall)
            if due or wall >= self._count_at:  # counting reads every row: not five times a second
                metrics.AWAITED.labels(self.name).set(awaiting.count(tx))
                self._count_at = Micros(wall + COUNT)
        if not due:
            return 0
        with self.vault.transaction() as tx:
            taken = awaiting.take(tx, wall, AT_ONCE, Micros(wall + self.timing.lease))
            anew = self._written_anew(tx, taken)
        asked = (partial(self._asked, each, look=each.object not in anew) for each in taken)
        answers = await asyncio.gather(*(self.ask(each) for each in asked))
        wall = self.wall()
        with self.vault.transaction() as tx:
            for pending, answer in zip(taken, answers, strict=True):
                self._enter(tx, awaiting, pending, answer, wall)
        return len(taken)

    def _written_anew(self, tx: Tx, taken: Sequence[Pending]) -> set[bytes]:
        """Return the objects of which something stands there again: that is no remainder of the erasure."""
        rows = tx.objects(self.name, [each.object for each in taken])
        docs = {ref: unpack(row.document) for ref, row in rows.items()}
        return {ref for ref, doc in docs.items() if isinstance(doc, Document) and doc.touched}

    async def _asked(self, pending: Pending, *, look: bool) -> Answer | None:
        answer = await self.recipient.follow(pending.request)
        if not look or not pending.key:
            return answer
        kept = await still_there(self.recipient, answer, key=pending.key, vendor_id=pending.vendor_id)
        return kept or answer

    def _enter(
        self, tx: Tx, awaiting: Awaiting, pending: Pending, answer: Answer | None, wall: Micros
    ) -> None:
        if awaiting.of(tx, pending.request) is None:
            return  # it was reported meanwhile
        then = follow(pending, answer, now=tx.now, wall=wall, draw=self.draw(), timing=self.timing)
        if then.end is not None:
            if not self.reports.reported(tx, pending.object, pending.request, then.end, wall):
                awaiting.drop(tx, pending.request)
            return
        awaiting.keep(tx, then.pending, then.due)
        if then.late:
            self.reports.late(tx, pending.object, pending.request, wall)
