"""The chunk protocol every stage follows: commit 1 -> produce -> acknowledged -> commit 2 -> Kafka commit.

Both commits are fenced by the vault's `progress` of the topic id and partition, so a zombie's chunk has no
effect. A stage that plans writes what it has judged in commit 1; a redelivery repeats the plan, so it never
changes an outcome. (Checked by `docs/model/m1_tag.py` and `m2_route.py`.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from schemas.codec import encode
from schemas.errors import BadInput, Bug
from schemas.ids import Sequence as VaultSequence
from schemas.ids import Slot
from schemas.models import DecisionBatch, RecordDecided
from streams.faults import Crash, never
from streams.ports import Chunk, Done, Inbound, Outbound, Outcome, Seek, Sink
from vault.handles import partition_of
from vault.port import Tx, Vault

TICK = "lapse-tick"
"""Header of a record that only rolls a segment: no value, no meaning, no entry."""
POISON = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, BadInput, Bug)
"""What a bug of ours raises on one record: the chunk is halved until the record stands alone."""
DECISIONS = "decisions"
"""Topic of what was decided for every record."""
BATCH_BYTES = 700_000
"""A decision batch stays well under what one Kafka record may hold."""

Work = TypeVar("Work", bound="Judged")
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Judged:
    """What a stage made of a part in commit 1; `plan` is one entry per judged offset, `seq` the commit's
    number.
    """

    seq: VaultSequence
    plan: dict[int, Any]


class Finding(Protocol):
    """Where anomalies go that need a person's eye: a code and the place, never a payload."""

    def __call__(self, what: str, where: str, count: int = 1) -> None:
        """Take a finding."""
        ...


class Stage(Protocol[Work]):
    """One stage's steps for a part of a chunk; `entry` is the type of its plan's entries, None if it plans
    nothing.
    """

    @property
    def entry(self) -> Any:
        """Type of the plan's entries; None for a stage that plans nothing."""
        ...

    def read(self, part: Part, spoilt: frozenset[int], /) -> Any:
        """Decode, outside any transaction; `spoilt` offsets are set aside as `bug` unread."""
        ...

    def judge(self, tx: Tx, part: Part, read: Any, planned: Mapping[int, Any] | None, /) -> Work:
        """Commit 1: read, fold, write; with `planned`, repeat what it says. No sealing, no I/O but `tx`."""
        ...

    async def produce(self, part: Part, work: Work, /) -> None:
        """Seal and send everything, and return once all of it is acknowledged."""
        ...

    def settle(self, tx: Tx, work: Work, /) -> None:
        """Commit 2: count what was judged."""
        ...

    async def settled(self, work: Work, /) -> None:
        """Wait for what must be on the log before the chunk is acknowledged."""
        ...

    async def done_before(self) -> None:
        """The same for a chunk that an earlier attempt has settled and perhaps not waited for."""
        ...


class Part(NamedTuple):
    """Records of one partition done under one plan, and where they end."""

    topic: str
    log: str
    partition: int
    records: Sequence[Inbound]
    position: int | None = None
    """The log holds nothing between this offset and the first record."""

    @property
    def start(self) -> int:
        """First offset."""
        return self.records[0].offset

    @property
    def next(self) -> int:
        """Offset after the last."""
        return self.records[-1].offset + 1

    @property
    def place(self) -> str:
        """Where it lies, for findings."""
        return f"{self.topic}/{self.partition} {self.start}-{self.next - 1}"

    def holds(self, record: Inbound) -> bool:
        """Whether the record lies in this part, which may have been cut since the record was read."""
        return self.start <= record.offset < self.next

    def halves(self) -> tuple[Part, Part]:
        """Both halves; only for two records or more."""
        middle = len(self.records) // 2
        return self._replace(records=self.records[:middle]), self._replace(records=self.records[middle:])


class Fenced(NamedTuple):
    """Another worker has moved the partition on to `offset`."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit1(Generic[Work]):
    part: Part
    work: Work


class Blocking(Protocol):
    """Runs a function that blocks on the vault, off the event loop (`Engine.work`)."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run it and return what it returns."""
        ...


async def inline(function: Callable[[], T]) -> T:
    """Run it right here: for tests and tools."""
    return function()


class Chunks(Generic[Work]):
    """Runs one stage over chunks, part by part; one instance per source."""

    def __init__(
        self,
        vault: Vault,
        stage: Stage[Work],
        *,
        name: str,
        finding: Finding,
        spend: Callable[[], None],
        work: Blocking = inline,
        most: int = 1_000_000,
        crash: Crash = never,
    ) -> None:
        """`most` records are judged in one transaction: 1 where each may need what the one before owes."""
        self.__name__ = name
        self._vault = vault
        self._stage = stage
        self._finding = finding
        self._spend = spend
        self._work = work
        self._most = most
        self._crash = crash
        self._plan_type = None if stage.entry is None else _plan_of(stage.entry)

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Do one chunk; `Seek` where the vault says that this worker is not where the partition is."""
        rest = Part(chunk.topic, chunk.topic_id.hex(), chunk.partition, chunk.records, chunk.position)
        while rest.records:
            done = await self._part(rest._replace(records=rest.records[: self._most]), frozenset())
            if isinstance(done, Fenced):
                if rest.next > done.offset:
                    return Seek(done.offset)
                await self._stage.done_before()
                return Done()
            rest = rest._replace(records=[r for r in rest.records if r.offset >= done], position=done)
        return Done()

    async def _part(self, part: Part, spoilt: frozenset[int]) -> int | Fenced:
        """Do the first part of what is left: the offset done up to, or where the partition really is."""
        try:
            self._at("read")
            first = await self._work(lambda: self._commit1(part, self._stage.read(part, spoilt)))
            if isinstance(first, Fenced):
                return first
            self._at("committed")
            await self._stage.produce(first.part, first.work)
            self._at("produced")
        except POISON:
            return await self._bisect(part, spoilt)
        done = await self._work(lambda: self._commit2(first))
        self._at("settled")
        if not isinstance(done, Fenced):
            await self._stage.settled(first.work)
        return done

    def _at(self, step: str) -> None:
        """Die here, if a test asked for it."""
        self._crash(f"{self.__name__}.{step}")

    async def _bisect(self, part: Part, spoilt: frozenset[int]) -> int | Fenced:
        """Halve until one record stands alone; it is judged again as spoilt, and a second failure stops the
        worker.
        """
        if len(part.records) > 1:
            return await self._part(part.halves()[0], spoilt)
        if part.start in spoilt:
            raise Bug("bug", "a record breaks the stage even when set aside", part.place, "mend the stage")
        self._spend()
        self._finding("bug", part.place)
        return await self._part(part, spoilt | {part.start})

    def _commit1(self, part: Part, read: Any) -> _Commit1[Work] | Fenced:
        with self._vault.transaction() as tx:
            fenced = self._fence(tx, part)
            if isinstance(fenced, Fenced):
                return fenced
            part, planned = self._planned(tx, fenced)
            work = self._stage.judge(tx, part, read, planned)
            if self._plan_type and planned is None:
                plan = msgspec.msgpack.encode((part.next, work.plan))
                tx.put_plan(part.log, part.partition, plan)
            return _Commit1(part=part, work=work)

    def _fence(self, tx: Tx, part: Part) -> Part | Fenced:
        """Skip the prefix that is done; accept a gap only where the log itself has one, as a finding."""
        progress = tx.progress(part.log, part.partition) or 0
        if part.next <= progress:
            return Fenced(progress)
        if part.start > progress:
            if part.position is None or part.position > progress:
                return Fenced(progress)
            self._finding("offsets missing from the log", part.place, part.start - progress)
            tx.set_progress(part.log, part.partition, part.start)
        return part._replace(records=[r for r in part.records if r.offset >= progress])

    def _planned(self, tx: Tx, part: Part) -> tuple[Part, Mapping[int, Any] | None]:
        """Cut the part to the plan that an earlier attempt left, if there is one."""
        found = self._stored_plan(tx, part)
        if found is None:
            return part, None
        end, entries = found
        if end <= part.start:  # the log lost what was planned
            tx.drop_plan(part.log, part.partition)
            return part, None
        return part._replace(records=[r for r in part.records if r.offset < end]), entries

    def _stored_plan(self, tx: Tx, part: Part) -> tuple[int, dict[int, Any]] | None:
        blob = tx.plan(part.log, part.partition) if self._plan_type else None
        if blob is None:
            return None
        found: tuple[int, dict[int, Any]] = msgspec.msgpack.decode(blob, type=self._plan_type)
        return found

    def _commit2(self, first: _Commit1[Work]) -> int | Fenced:
        part = first.part
        with self._vault.transaction() as tx:
            progress = tx.progress(part.log, part.partition) or 0
            if progress > part.start:
                return Fenced(progress)
            self._stage.settle(tx, first.work)
            self._keep_rest_of_plan(tx, part)
            tx.set_progress(part.log, part.partition, part.next)
        return part.next

    def _keep_rest_of_plan(self, tx: Tx, part: Part) -> None:
        found = self._stored_plan(tx, part)
        if found is None:
            return
        end, entries = found
        if end <= part.next:
            tx.drop_plan(part.log, part.partition)
            return
        rest = {offset: entry for offset, entry in entries.items() if offset >= part.next}
        tx.put_plan(part.log, part.partition, msgspec.msgpack.encode((end, rest)))


def _plan_of(entry: Any) -> Any:
    """Type of a stored plan: the offset after it, and its entries by offset."""
    return tuple[int, dict[int, entry]]


def is_tick(record: Inbound) -> bool:
    """Whether the record only rolls a segment."""
    return record.value is None and any(name == TICK for name, _ in record.headers)


def decision_batches(entries: Sequence[RecordDecided]) -> Iterator[bytes]:
    """Pack entries into as few messages as their size allows."""
    if not entries:
        return
    packed = encode(DecisionBatch(entries=list(entries)))
    if len(packed) <= BATCH_BYTES or len(entries) == 1:
        yield packed
        return
    middle = len(entries) // 2
    yield from decision_batches(entries[:middle])
    yield from decision_batches(entries[middle:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """Where records go: the sink, and how many partitions each topic has."""

    sink: Sink
    partitions: Callable[[str], int]

    def to_slot(
        self, topic: str, slot: Slot, value: bytes, *, key: bytes | None = None, flag: str | None = None
    ) -> Outbound:
        """Address a record to the partition of a slot; `flag` is what is said about an accepted record."""
        headers = [(FLAG, flag.encode())] if flag else []
        return Outbound(topic, partition_of(slot, self.partitions(topic)), key, value, headers)

    def to_partition(self, topic: str, partition: int, value: bytes) -> Outbound:
        """Address a record to a partition as good as any, such as that of what caused it."""
        return Outbound(topic, partition % self.partitions(topic), None, value)

    async def send(self, records: Sequence[Outbound]) -> None:
        """Send and wait until all are acknowledged."""
        if records:
            await self.sink.send(records)


FLAG = "lapse-flag"
"""Header with the code that is said about an accepted record, such as `clock_future`."""
