"""The flow on one page: five agents, in flow order. Each is thin I/O around pure functions.

    intake.form, intake.email-open, intake.cookie -> TAG -> records.<horizon> -> ROUTE -> decisions,
    processor.<name>
    intake.signal, control, receipts -> GOVERN -> the vault, whose outbox says what follows
    the vault's clock -> EXPIRE -> keys destroyed -> lifecycle, processor.<name>
    processor.<name> -> CONNECT -> open late -> the third party -> receipts

A chunk goes through `Chunks`: read, commit 1 (judge), produce, commit 2 (settle), acknowledge. What is
decided stands in
tagging, routing, governing and lapsing; here is only what is read from where and written to where.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processors.build import Handler
from schemas.errors import Unavailable
from schemas.plan import Plans
from streams import metrics, routestage, signals, tagstage
from streams.announcing import Announcer
from streams.chunks import Part
from streams.control import ControlEntry, ControlJudge, ControlWork, read_commands
from streams.expiring import Expiry
from streams.intake import Arrived, IntakeReader
from streams.planbook import PlanBook
from streams.ports import Chunk, Done, Outcome, Seek
from streams.receipts import ReceiptWork, read_receipts
from streams.routeout import RouteOutput
from streams.routestage import Record, RouteWork
from streams.signals import Said, SignalEntry, SignalJudge, SignalWork
from streams.tagout import TagOutput
from streams.tagstage import Entry, TagJudge, TagWork
from streams.upkeep import Upkeep
from vault.port import Tx, Vault

GROUPS = {
    "tag": ("intake.form", "intake.email-open", "intake.cookie"),
    "govern": ("intake.signal", "control", "receipts"),
}
"""What each role's consumer group `lapse.<role>` reads; route reads `records.<horizon>`, connect
`processor.<name>`.
"""
TICK_SECONDS, UPKEEP_SECONDS = 0.02, 0.25
"""Seconds between two looks at the vault's clock, and between two looks at what else is to be done."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts while something is away."""
log = logging.getLogger(__name__)
Drained = Callable[[], Awaitable[None]]
"""Waits until what committed transactions owe is on the log: a Kafka commit must not overtake it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """Clear events in; sealed records, decisions of what ends here, and quarantine out."""

    plans: PlanBook
    reader: IntakeReader
    judge_: TagJudge
    output: TagOutput
    drained: Drained
    entry: Any = Entry

    def read(self, part: Part, spoilt: frozenset[int]) -> tuple[Plans, list[Arrived]]:
        """Decode, resolve tokens, hash identifiers."""
        return (plans := self.plans()), self.reader.part(part, plans, spoilt)

    def judge(
        self, tx: Tx, part: Part, read: tuple[Plans, list[Arrived]], planned: Mapping[int, Entry] | None
    ) -> TagWork:
        """Commit 1: consent folded, purposes decided, keys and buckets made, the plan kept."""
        plans, arrived = read
        within = [each for each in arrived if part.holds(each.record)]
        if planned is None:
            return self.judge_.decide(tx, within, plans)
        return self.judge_.repeat(tx, within, planned, plans)

    async def produce(self, part: Part, work: TagWork) -> None:
        """Seal and send."""
        await self.output.send(part, work)

    def settle(self, tx: Tx, work: TagWork) -> None:
        """Commit 2: tallies and residue."""
        tagstage.settle(tx, work)

    async def settled(self, work: TagWork) -> None:
        """A withdrawal in a form must be on the log before the form is let go."""
        if work.destroyed:
            await self.drained()

    async def done_before(self) -> None:
        """Perhaps there was one."""
        await self.drained()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Sealed records in; decisions, then what each processor may have, sealed for it alone."""

    vault: Vault
    plans: PlanBook
    output: RouteOutput
    entry: Any = None

    def read(self, part: Part, spoilt: frozenset[int]) -> tuple[Plans, list[Record]]:
        """Decode our own records."""
        return self.plans(), routestage.read_records(self.vault, part, spoilt)

    def judge(self, tx: Tx, part: Part, read: tuple[Plans, list[Record]], _: object) -> RouteWork:
        """Commit 1: links followed, verdicts made, and written down who must be told of a lapse."""
        plans, records = read
        return routestage.decide(tx, [each for each in records if part.holds(each.inbound)], plans)

    async def produce(self, part: Part, work: RouteWork) -> None:
        """The decision is acknowledged before the delivery it allows."""
        await self.output.send_decisions(part, work)
        await self.output.send_deliveries(work)

    def settle(self, tx: Tx, work: RouteWork) -> None:
        """Commit 2: nothing to count, the decisions say it all."""

    async def settled(self, work: RouteWork) -> None:
        """Nothing was destroyed."""

    async def done_before(self) -> None:
        """Nor before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernSignals:
    """What people say, outside of forms, becomes the vault's state."""

    vault: Vault
    plans: PlanBook
    judge_: SignalJudge
    output: signals.SignalOutput
    drained: Drained
    entry: Any = SignalEntry

    def read(self, part: Part, spoilt: frozenset[int]) -> tuple[Plans, list[Said]]:
        """Decode, hash identifiers."""
        return (plans := self.plans()), signals.read_signals(self.vault, plans, part, spoilt)

    def judge(
        self, tx: Tx, part: Part, read: tuple[Plans, list[Said]], planned: Mapping[int, SignalEntry] | None
    ) -> SignalWork:
        """Commit 1: statements folded, keys destroyed, requests kept."""
        plans, said = read
        within = [each for each in said if part.holds(each.record)]
        if planned is None:
            return self.judge_.apply(tx, within, plans)
        return self.judge_.repeat(tx, within, planned, plans)

    async def produce(self, part: Part, work: SignalWork) -> None:
        """What was decided about every signal, and how requests stepped on."""
        await self.output.send(part, work)

    def settle(self, tx: Tx, work: SignalWork) -> None:
        """Commit 2: nothing to count."""

    async def settled(self, work: SignalWork) -> None:
        """A withdrawal is let go only when what it destroyed is on the log."""
        if work.destroyed:
            await self.drained()

    async def done_before(self) -> None:
        """Perhaps there was one."""
        await self.drained()


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernControl:
    """Signed commands, in order."""

    judge_: ControlJudge
    output: signals.SignalOutput
    drained: Drained
    entry: Any = ControlEntry

    def read(self, part: Part, spoilt: frozenset[int]) -> dict[int, Any]:
        """Decode; what cannot be read is refused, not stumbled over."""
        return read_commands(part, spoilt)

    def judge(
        self, tx: Tx, part: Part, read: dict[int, Any], planned: Mapping[int, ControlEntry] | None
    ) -> ControlWork:
        """Commit 1: signature, replay, policy; then obeyed or refused, once."""
        return self.judge_.obey(tx, part, read, planned)

    async def produce(self, part: Part, work: ControlWork) -> None:
        """How requests stepped on."""
        await self.output.send_steps(part, work.steps)

    def settle(self, tx: Tx, work: ControlWork) -> None:
        """Commit 2: nothing to count."""

    async def settled(self, _: ControlWork) -> None:
        """An erasure is let go only when what it destroyed is on the log."""
        await self.drained()

    async def done_before(self) -> None:
        """Perhaps there was one."""
        await self.drained()


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernReceipts:
    """What processors answer."""

    entry: Any = None

    def read(self, part: Part, spoilt: frozenset[int]) -> list[Any]:
        """Decode."""
        return read_receipts(part, spoilt)

    def judge(self, tx: Tx, _: Part, read: list[Any], __: object) -> ReceiptWork:
        """Commit 1: nothing but the fence."""
        return ReceiptWork(seq=tx.seq, plan={}, receipts=read)

    async def produce(self, part: Part, work: ReceiptWork) -> None:
        """Receipts stay where they are."""

    def settle(self, _: Tx, work: ReceiptWork) -> None:
        """Commit 2: count them by outcome."""
        for receipt in work.receipts:
            metrics.RECEIPTS.labels(receipt.processor, receipt.outcome).inc()

    async def settled(self, work: ReceiptWork) -> None:
        """Nothing was destroyed."""

    async def done_before(self) -> None:
        """Nor before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """On the vault's clock: keys that are due are destroyed, then everyone who must hear of it is told."""

    expiry: Expiry
    announcer: Announcer
    upkeep: Upkeep

    async def tick(self) -> int:
        """One look at the clock; returns how many keys were destroyed and messages announced."""
        return self.expiry.tick() + await self.announcer.announce()

    async def run(self) -> None:
        """Tick for ever."""
        await repeat("expiry", self.tick, TICK_SECONDS)

    async def keep_up(self) -> None:
        """Do the chores for ever, beside the ticks: purging, residue, expansion, checkpoints."""
        await repeat("upkeep", self.upkeep.run, UPKEEP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """One processor's sealed topic in; its connector opens late, calls the third party, answers with
    receipts.
    """

    connector: Handler

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Hand a chunk to the connector, which keeps its own fence."""
        elsewhere = await self.connector.handle(chunk)
        return Done() if elsewhere is None else Seek(elsewhere)


async def repeat(name: str, act: Callable[[], Awaitable[int]], seconds: float) -> None:
    """Do something again and again, at once while there is more to do; what is away is waited for."""
    pause = seconds
    while True:
        try:
            pause = 0 if await act() else seconds
        except Unavailable as error:
            log.warning("waits", extra={"loop": name, "code": error.code, "where": error.where})
            pause = min(max(2 * pause, 0.1), LONGEST_PAUSE)
        await asyncio.sleep(pause)
