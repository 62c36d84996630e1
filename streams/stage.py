"""What a stage is: three steps for parts of chunks, and what it may assume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from schemas.ids import Sequence as VaultSequence
from streams.ports import Inbound
from vault.port import Tx

TICK = "lapse-tick"
"""Header of a record that only rolls a segment: no value, no meaning, no entry."""

Work = TypeVar("Work", bound="Judged")
Read = TypeVar("Read", bound="HasRecord")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Judged:
    """What a stage made of parts in commit 1: a plan entry per judged offset of each, the commit's number.

    `owes`: something may have been destroyed, so the outbox may hold what the Kafka commit must wait for.
    """

    seq: VaultSequence
    planned: Sequence[Mapping[int, Any]] = ()
    owes: bool = False


class Finding(Protocol):
    """Where anomalies go that need a person's eye: a code and the place, never a payload."""

    def __call__(self, what: str, where: str, count: int = 1) -> None:
        """Take a finding."""
        ...


class Stage(Protocol[Work]):
    """One stage's steps for parts done together; `entry` is its plan's type, None if it plans nothing.

    What was planned or spoilt before comes alone: then there is one part.
    """

    @property
    def entry(self) -> Any:
        """Type of the plan's entries; None for a stage that plans nothing."""
        ...

    @property
    def silent(self) -> bool:
        """Whether it sends nothing, so that nothing can come between its two commits: they are one."""
        ...

    def read(self, parts: Sequence[Part], spoilt: frozenset[int], /) -> list[Any]:
        """Decode each part, outside any transaction; `spoilt` offsets are set aside as `bug` unread."""
        ...

    def judge(self, tx: Tx, given: Sequence[Given[Any]], planned: Mapping[int, Any] | None, /) -> Work:
        """Commit 1: read, fold, write; with `planned`, repeat what it says. No sealing, no I/O but `tx`."""
        ...

    async def produce(self, part: Part, work: Work, /) -> None:
        """Seal and send everything, and return once all of it is acknowledged.

        What may lie in any partition goes where `part` came from, the first of those that were judged.
        """
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


class Quiet(Generic[Work]):
    """What a stage does that counts nothing and destroys nothing."""

    __slots__ = ()
    silent = False

    async def produce(self, _: Part, __: Work) -> None:
        """Send nothing."""

    def settle(self, _: Tx, __: Work) -> None:
        """Count nothing."""

    async def settled(self, _: Work) -> None:
        """Wait for nothing."""

    async def done_before(self) -> None:
        """Wait for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owing(Quiet[Work]):
    """What a stage does that may destroy: a chunk is let go only when what it owes is on the log."""

    drained: Callable[[], Awaitable[None]]

    async def settled(self, work: Work) -> None:
        """Wait if this chunk owes something."""
        if work.owes:
            await self.drained()

    async def done_before(self) -> None:
        """Wait: perhaps it did."""
        await self.drained()


class HasRecord(Protocol):
    """What was read of one record."""

    @property
    def record(self) -> Inbound:
        """The record."""
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

    def still(self, read: Sequence[Read]) -> list[Read]:
        """Those of what was read that lie in this part, which may have been cut since."""
        start, end = self.start, self.next
        return [each for each in read if start <= each.record.offset < end]

    def halves(self) -> tuple[Part, Part]:
        """Both halves; only for two records or more."""
        middle = len(self.records) // 2
        return self._replace(records=self.records[:middle]), self._replace(records=self.records[middle:])


class Given(NamedTuple, Generic[R]):
    """A part as the vault lets it be judged, and what was read of it, which may be more."""

    part: Part
    read: R


def plans_of(parts: Sequence[Sequence[HasRecord]], entries: Iterable[T]) -> list[dict[int, T]]:
    """The entries of each part by their offsets; they come in the order of what was read."""
    left = iter(entries)
    return [{each.record.offset: entry for each, entry in zip(own, left, strict=False)} for own in parts]


class Blocking(Protocol):
    """Runs a function that blocks on the vault, off the event loop (`Engine.work`)."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run it and return what it returns."""
        ...


async def inline(function: Callable[[], T]) -> T:
    """Run it right here: for tests and tools."""
    return function()


def is_tick(record: Inbound) -> bool:
    """Whether the record only rolls a segment."""
    return record.value is None and any(name == TICK for name, _ in record.headers)
