"""The flow on one page: five agents, in flow order. Each is thin I/O around pure functions.

    intake.form, email-open, cookie    -> TAG     -> records.<horizon>; decisions, quarantine
    records.<horizon>                  -> ROUTE   -> decisions, processor.<name>
    intake.signal, control, receipts   -> GOVERN  -> the vault, whose outbox says what follows
    the vault's clock                  -> EXPIRE  -> keys destroyed -> lifecycle, processor.<name>
    processor.<name>                   -> CONNECT -> opened late -> the third party -> receipts

Chunks go through `chunks.Chunks`: read, commit 1 (`judge`), `produce`, commit 2 (`settle`), acknowledge;
those of all partitions that have something go together, except where order or destruction forbids it.
What is decided stands in tagging, routing, governing and lapsing; here is only what is read from where and
written to where.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from processors.pieces import Handler
from schemas.errors import Unavailable
from schemas.plan import Plans, PolicyPlan
from streams import metrics, routestage, signals, tagplan
from streams.announcing import Announcer
from streams.control import ControlEntry, ControlJudge, ControlWork, read_commands
from streams.expiring import Expiry
from streams.faults import DECIDED, Crash
from streams.intake import Arrived, IntakeReader
from streams.planbook import PlanBook
from streams.ports import Chunk, Done, Outcome, Seek
from streams.receipts import ReceiptWork, read_receipts, settle
from streams.routeout import RouteOutput
from streams.routeplan import Record, RouteWork
from streams.routestage import RecordReader
from streams.signalout import SignalOutput
from streams.signals import Said, SignalEntry, SignalJudge, SignalWork
from streams.stage import Given, Owing, Part, Quiet
from streams.tagout import TagOutput
from streams.tagplan import Entry, TagWork
from streams.tagstage import TagJudge
from streams.upkeep import Upkeep
from vault.herald import Herald
from vault.port import Tx, Vault

GROUPS = {
    "tag": ("intake.form", "intake.email-open", "intake.cookie"),
    "govern": ("intake.signal", "control", "receipts"),
}
"""What the groups `lapse.<role>` read; route reads `records.<horizon>`, connect `processor.<name>`."""
TICK_SECONDS, UPKEEP_SECONDS = 0.02, 0.25
"""Seconds between two looks at the vault's clock, and between two looks at what else is to be done."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts while something is away."""

Note = Callable[[str, str | None], None]
"""Told who waits and for what; None when it waits no more."""

log = logging.getLogger(__name__)


# ---- 1. tag: clear events in; sealed records, decisions of what ends here, quarantine out ------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Tag(Owing[TagWork]):
    """A withdrawal that travels in a form is applied here, so a chunk may owe messages."""

    plans: PlanBook
    reader: IntakeReader
    judge_: TagJudge
    output: TagOutput
    entry: Any = Entry

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[tuple[Plans, list[Arrived]]]:
        """Decode, resolve tokens, hash identifiers."""
        plans = self.plans()
        return [(plans, self.reader.part(part, plans, spoilt)) for part in parts]

    def judge(
        self,
        tx: Tx,
        given: Sequence[Given[tuple[Plans, list[Arrived]]]],
        planned: Mapping[int, Entry] | None,
    ) -> TagWork:
        """Commit 1: consent folded, purposes decided, keys and buckets made, the plan kept."""
        plans, arrived = given[0].read[0], [part.still(read) for part, (_, read) in given]
        if planned is None:
            return self.judge_.decide(tx, arrived, plans)
        return self.judge_.repeat(tx, arrived[0], planned, plans)

    async def produce(self, part: Part, work: TagWork) -> None:
        """Seal and send; a restored vault must know of a new revision before anybody reads it (model m8)."""
        if work.corrects:
            await self.drained()
        await self.output.send(part, work)

    def settle(self, tx: Tx, work: TagWork) -> None:
        """Commit 2: tallies and residue."""
        tagplan.settle(tx, work)


# ---- 2. route: sealed records in; decisions out, then what each processor may have, sealed for it ----------
@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Owing[RouteWork]):
    """Decides again under today's policy; destroys and counts nothing, but owes word of old revisions."""

    plans: PlanBook
    reader: RecordReader
    herald: Callable[[Plans], Herald]
    output: RouteOutput
    crash: Crash
    entry: Any = None

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[tuple[Plans, list[Record]]]:
        """Decode our own records."""
        plans = self.plans()
        return [(plans, self.reader.part(part, spoilt)) for part in parts]

    def judge(self, tx: Tx, given: Sequence[Given[tuple[Plans, list[Record]]]], _: object) -> RouteWork:
        """Commit 1: links followed, verdicts made, and written down who must be told of a lapse."""
        records = [record for part, (_, read) in given for record in part.still(read)]
        return routestage.decide(tx, records, given[0].read[0], self.herald)

    async def produce(self, part: Part, work: RouteWork) -> None:
        """The decision is acknowledged before the delivery it allows."""
        await self.output.send_decisions(part, work)
        self.crash(DECIDED)
        await self.output.send_deliveries(work)


# ---- 3. govern: what people say, what operators order, what processors answer ------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class GovernSignals(Owing[SignalWork]):
    """What people say outside of forms becomes the vault's state."""

    vault: Vault
    plans: PlanBook
    judge_: SignalJudge
    output: SignalOutput
    entry: Any = SignalEntry

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[tuple[Plans, list[Said]]]:
        """Decode, hash identifiers."""
        plans = self.plans()
        return [(plans, signals.read_signals(self.vault, plans, part, spoilt)) for part in parts]

    def judge(
        self,
        tx: Tx,
        given: Sequence[Given[tuple[Plans, list[Said]]]],
        planned: Mapping[int, SignalEntry] | None,
    ) -> SignalWork:
        """Commit 1: statements folded, keys destroyed, requests kept."""
        ((part, (plans, read)),) = given
        said = part.still(read)
        if planned is None:
            return self.judge_.apply(tx, said, plans)
        return self.judge_.repeat(tx, said, planned, plans)

    async def produce(self, part: Part, work: SignalWork) -> None:
        """What was decided about every signal, and how requests stepped on."""
        await self.output.send(part, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernControl(Owing[ControlWork]):
    """Signed commands, in their one order."""

    judge_: ControlJudge
    output: SignalOutput
    entry: Any = ControlEntry

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[dict[int, Any]]:
        """Decode; what cannot be read is refused, not stumbled over."""
        return [read_commands(part, spoilt) for part in parts]

    def judge(
        self, tx: Tx, given: Sequence[Given[dict[int, Any]]], planned: Mapping[int, ControlEntry] | None
    ) -> ControlWork:
        """Commit 1: signature, replay, policy; then obeyed or refused, once."""
        ((part, read),) = given
        return self.judge_.obey(tx, part, read, planned)

    async def produce(self, part: Part, work: ControlWork) -> None:
        """How requests stepped on."""
        await self.output.send_steps(part, work.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernReceipts(Quiet[ReceiptWork]):
    """Receipts stay on their topic, are counted, and settle what was awaited."""

    plans: PlanBook
    keys: Callable[[Tx, PolicyPlan | None], Mapping[str, bytes]]
    entry: Any = None
    silent: bool = True

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[list[Any]]:
        """Decode."""
        return [read_receipts(part, spoilt) for part in parts]

    def judge(self, tx: Tx, given: Sequence[Given[list[Any]]], _: object) -> ReceiptWork:
        """Commit 1: what is awaited of processors is settled."""
        plans, receipts = self.plans.within(tx), [receipt for _, read in given for receipt in read]
        settle(tx, receipts, self.keys(tx, plans.in_force(tx.now) if len(plans) else None))
        return ReceiptWork(seq=tx.seq, receipts=receipts)

    def settle(self, _: Tx, work: ReceiptWork) -> None:
        """Commit 2: count them by outcome."""
        for receipt in work.receipts:
            metrics.RECEIPTS.labels(receipt.processor, receipt.outcome).inc()


# ---- 4. expire: on the vault's clock, keys that are due are destroyed, then everybody is told --------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The one destroyer of buckets and the one announcer; its chores run beside the ticks."""

    expiry: Expiry
    announcer: Announcer
    upkeep: Upkeep
    note: Note = lambda _who, _what: None

    async def tick(self) -> int:
        """One look at the clock; returns how many keys were destroyed and messages announced."""
        return self.expiry.tick() + await self.announcer.announce()

    async def run(self) -> None:
        """Destroy and announce for ever, side by side: a broker that is away holds no due date up."""

        async def expire() -> int:
            return self.expiry.tick()

        await asyncio.gather(
            repeat("expiry", expire, TICK_SECONDS, self.note),
            repeat("announcer", self.announcer.announce, TICK_SECONDS, self.note),
        )

    async def keep_up(self) -> None:
        """Do the chores for ever, side by side: what takes long or fails keeps no other from its turn."""
        chores = [(name, partial(self.upkeep.do, name)) for name in self.upkeep.every]
        await asyncio.gather(*[repeat(name, do, UPKEEP_SECONDS, self.note) for name, do in chores])


# ---- 5. connect: one processor's sealed topic in; opened late, handed to the third party, answered ---------
@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """The processor's connector keeps its own fence, leases and retries."""

    connector: Handler

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Hand a chunk over."""
        elsewhere = await self.connector.handle(chunk)
        return Done() if elsewhere is None else Seek(elsewhere)


async def repeat(
    name: str, act: Callable[[], Awaitable[int]], seconds: float, note: Note = lambda _who, _what: None
) -> None:
    """Act again and again, at once while there is more to do; wait for what is away, and tell `note`."""
    pause = seconds
    while True:
        try:
            pause = 0 if await act() else seconds
        except Unavailable as error:
            log.warning("waits", extra={"loop": name, "code": error.code, "where": error.where})
            note(name, error.what + (f" ({error.where})" if error.where else ""))
            pause = min(max(2 * pause, 0.1), LONGEST_PAUSE)
        else:
            note(name, None)
        await asyncio.sleep(pause)
