"""The I/O ports of the flow: whole chunks come in from a `Source`, records go out through a `Sink`.

`streams.engine` implements both on Kafka, `streams.memory` in memory; one contract suite runs on the two. A
stage is an `async handle(chunk)` and `drive` joins it to a source: a chunk is acknowledged only after
`handle` has returned, so everything a stage must have done for a chunk happens before it returns `Done`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]
"""Record headers in order; names may repeat."""

MAX_RECORD_BYTES = 1_000_000
"""Largest key + value + headers in bytes a sink accepts: brokers refuse batches over 1 MiB."""


class Inbound(NamedTuple):
    """One record as read from a partition. A named tuple, because a thousand of them are made per chunk."""

    offset: int
    timestamp_ms: int
    """LogAppendTime in milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        """Name the offset only: payloads must not reach logs through a repr."""
        return f"Inbound(offset={self.offset})"


class Outbound(NamedTuple):
    """One record to be written to exactly this partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()

    def __repr__(self) -> str:
        """Name the place only: payloads must not reach logs through a repr."""
        return f"Outbound(topic={self.topic!r}, partition={self.partition})"


def record_bytes(record: Inbound | Outbound) -> int:
    """Payload size of a record in bytes: key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value)
    return size


class Placed(NamedTuple):
    """Where the broker has put a sent record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A non-empty run of records of one partition, offsets ascending but possibly with holes.

    `topic_id` is Kafka's own id of the topic (16 bytes): a topic deleted and created again has another one.
    """

    topic: str
    topic_id: bytes
    partition: int
    records: Sequence[Inbound] = field(repr=False)
    position: int | None = None
    """Where the source stood: the log holds nothing from here to the first record (hole, moved start)."""
    token: object = field(default=None, repr=False, compare=False)
    """The source's own handle of this delivery; nobody else reads it."""

    @property
    def first_offset(self) -> int:
        """Offset of the first record present."""
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        """Offset of the last record present."""
        return self.records[-1].offset

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, slots=True)
class Done:
    """All effects of the chunk are durable: it may be acknowledged."""


@dataclass(frozen=True, slots=True)
class Seek:
    """The chunk was fenced off: drop it unacknowledged and go on reading this partition at `offset`.

    A chunk that lies wholly before the vault's offset is `Done`, not `Seek`: only an acknowledgement moves
    the group's committed offset.
    """

    offset: int


Outcome = Done | Seek
Handle = Callable[[Chunk], Awaitable[Outcome]]
"""A stage: judges one chunk, lets its effects become durable, then says `Done` or `Seek`."""
Sheaf = Sequence[Chunk]
"""Chunks that are done together: all that is ready, not empty, at most one chunk of each partition."""
SheafHandle = Callable[[Sheaf], Awaitable[Sequence[Outcome]]]
"""A stage that does a sheaf at a time: an outcome for each chunk, in their order."""


class Source(Protocol):
    """Chunks in offset order per partition, each delivered again until it is acknowledged (at least once)."""

    def sheaves(self) -> AsyncIterator[Sheaf]:
        """Yield what is ready until the worker stops; one iterator per source."""

    def ack(self, chunk: Chunk) -> None:
        """Let the committed offset pass this chunk once all earlier ones of its partition are acknowledged.

        Acknowledging a chunk delivered before a seek, a rebalance or a restart has no effect.
        """

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        """Forget what was delivered of this partition and not acknowledged, and deliver from `offset` on."""


class Sink(Protocol):
    """Writes records to their partitions."""

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Return, in the order given, where the records lie once *all* are on the broker (acks=all).

        Order is kept per partition. Raises `Bug` before anything is sent if a record is over
        `MAX_RECORD_BYTES`, and `Unavailable` if the broker did not take all of them: some may then be there.
        """


async def drive(source: Source, handle: SheafHandle) -> None:
    """Feed every sheaf of `source` to `handle`, one at a time, and acknowledge or seek as it says."""
    async for sheaf in source.sheaves():
        for chunk, outcome in zip(sheaf, await handle(sheaf), strict=True):
            match outcome:
                case Done():
                    source.ack(chunk)
                case Seek(offset):
                    await source.seek(chunk.topic, chunk.partition, offset)


def one_by_one(handle: Handle) -> SheafHandle:
    """Do the chunks of a sheaf one after the other.

    One that raises keeps those behind it waiting and lets those before it be done again: a source that gives
    sheaves of one chunk spares that.
    """

    async def handled(sheaf: Sheaf) -> Sequence[Outcome]:
        return [await handle(chunk) for chunk in sheaf]

    return handled
