"""Where a stage's records go, and how decisions are packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from schemas.codec import encode
from schemas.ids import SLOTS, Slot
from schemas.models import DecisionBatch, RecordDecided
from streams.ports import Outbound, Sink
from vault.handles import partition_of

T = TypeVar("T")

DECISIONS = "decisions"
"""Topic of what was decided for every record."""
BATCH_BYTES = 700_000
"""A decision batch stays well under what one Kafka record may hold."""
FLAG = "lapse-flag"
"""Header with the code that is said about an accepted record, such as `clock_future`."""


def decision_batches(entries: Sequence[RecordDecided]) -> Iterator[bytes]:
    """Pack entries into as few messages as their size allows."""
    return packed(entries, lambda some: encode(DecisionBatch(entries=list(some))))


def packed(entries: Sequence[T], pack: Callable[[Sequence[T]], bytes]) -> Iterator[bytes]:
    """Pack entries, encoded or not, into messages: halved until each is small enough or has one entry."""
    if not entries:
        return
    batch = pack(entries)
    if len(batch) <= BATCH_BYTES or len(entries) == 1:
        yield batch
        return
    middle = len(entries) // 2
    yield from packed(entries[:middle], pack)
    yield from packed(entries[middle:], pack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """Where records go: the sink, and how many partitions each topic has."""

    sink: Sink
    partitions: Callable[[str], int]

    def to_slot(
        self, topic: str, slot: Slot, value: bytes, *, key: bytes | None = None, flag: str | None = None
    ) -> Outbound:
        """Address a record to the partition of a slot; `flag` is what is said about an accepted record."""
        headers = [(FLAG, flag.encode())] if flag else ()
        return Outbound(topic, partition_of(slot, self.partitions(topic)), key, value, headers)

    def places(self, topic: str) -> Sequence[int]:
        """The partition of each slot."""
        return _places(self.partitions(topic))

    def to_partition(self, topic: str, partition: int, value: bytes) -> Outbound:
        """Address a record to a partition as good as any, such as that of what caused it."""
        return Outbound(topic, partition % self.partitions(topic), None, value)

    async def send(self, records: Sequence[Outbound]) -> None:
        """Send and wait until all are acknowledged."""
        if records:
            await self.sink.send(records)


@lru_cache(maxsize=64)
def _places(partitions: int) -> Sequence[int]:
    return tuple(partition_of(Slot(slot), partitions) for slot in range(SLOTS))
