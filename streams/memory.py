"""The in-memory twin of the ports: a log of partitions with Kafka's rules, and a source and a sink on it.

It keeps what stages depend on: dense offsets with room for holes, LogAppendTime, a moving log start, topic
ids that change when a topic is created again, committed offsets per group, redelivery of what was not
acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.errors import Bug
from streams.ledger import Delivery, Ledger, Place
from streams.ports import MAX_RECORD_BYTES, Chunk, Inbound, Outbound, Placed, Sheaf, record_bytes

CHUNK_RECORDS = 2000


@dataclass(slots=True)
class _Partition:
    start: int = 0
    end: int = 0
    records: deque[Inbound] = field(default_factory=deque)


@dataclass(slots=True)
class _Topic:
    topic_id: bytes
    partitions: list[_Partition]


class MemoryLog:
    """Topics, partitions and committed offsets; `now_ms` stamps records (milliseconds since the epoch)."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._topics: dict[str, _Topic] = {}
        self._created = 0
        self._committed: dict[tuple[str, str, int], int] = {}
        self._changed = asyncio.Event()

    def create_topic(self, name: str, partitions: int = 1) -> bytes:
        """Create an empty topic, in place of one of that name; returns its new topic id (16 bytes)."""
        self.delete_topic(name)
        self._created += 1
        topic_id = self._created.to_bytes(16, "big")
        self._topics[name] = _Topic(topic_id, [_Partition() for _ in range(partitions)])
        self.wake()
        return topic_id

    def delete_topic(self, name: str) -> None:
        """Drop a topic's records and every group's offsets on it, as the group coordinator does."""
        self._topics.pop(name, None)
        for key in [key for key in self._committed if key[1] == name]:
            del self._committed[key]

    def topics(self) -> dict[str, int]:
        """Number of partitions per topic."""
        return {name: len(topic.partitions) for name, topic in self._topics.items()}

    def topic_id(self, topic: str) -> bytes:
        """Id of the topic as it is now (16 bytes)."""
        return self._topics[topic].topic_id

    def append(self, record: Outbound, timestamp_ms: int | None = None) -> Placed:
        """Append one record, stamped with the log's clock unless a time is given."""
        part = self._topics[record.topic].partitions[record.partition]
        stamp = self._now_ms() if timestamp_ms is None else timestamp_ms
        part.records.append(Inbound(part.end, stamp, record.key, record.value, tuple(record.headers)))
        part.end += 1
        self.wake()
        return Placed(record.topic, record.partition, part.end - 1)

    def skip(self, topic: str, partition: int, offsets: int = 1) -> None:
        """Leave a hole, as transaction markers and compaction do."""
        self._topics[topic].partitions[partition].end += offsets

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Move the log start to offset `before`."""
        part = self._topics[topic].partitions[partition]
        part.start = max(part.start, min(before, part.end))
        while part.records and part.records[0].offset < part.start:
            part.records.popleft()

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Log start offset and the offset the next record will get."""
        part = self._topics[topic].partitions[partition]
        return part.start, part.end

    def read(self, topic: str, partition: int, offset: int, limit: int | None = None) -> list[Inbound]:
        """Records at `offset` and after, at most `limit`."""
        part = self._topics[topic].partitions[partition]
        found = [record for record in part.records if record.offset >= offset]
        return found if limit is None else found[:limit]

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """Offset the group will read next after a restart, None if it never committed."""
        return self._committed.get((group, topic, partition))

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Set the group's offset on a partition."""
        self._committed[group, topic, partition] = offset

    def wake(self) -> None:
        """Let waiting sources look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return after the next change."""
        await self._changed.wait()


class MemorySource:
    """A consumer of one group, ended by `stop` or, with `drain=True`, when nothing is left to read.

    `partitions` restricts it (topic -> partitions), so a test can give two workers the same partition, as a
    zombie has it. With `commit_on_ack=False` acknowledgements stay in memory until `commit()`.
    """

    def __init__(
        self,
        log: MemoryLog,
        group: str,
        topics: Sequence[str],
        *,
        partitions: Mapping[str, Collection[int]] | None = None,
        chunk_records: int = CHUNK_RECORDS,
        width: int = 1,
        drain: bool = False,
        commit_on_ack: bool = True,
    ) -> None:
        self._log = log
        self._group = group
        self._topics = tuple(topics)
        self._only = partitions
        self._chunk_records = chunk_records
        self._width = width
        self._drain = drain
        self._commit_on_ack = commit_on_ack
        self._ledger = Ledger()
        self._ids: dict[Place, bytes] = {}
        self._turn = 0
        self._stopped = False

    async def sheaves(self) -> AsyncIterator[Sheaf]:
        """Yield sheaves of up to `width` chunks, the partitions taking turns."""
        while not self._stopped:
            sheaf = self.gather(self._width)
            if sheaf:
                yield sheaf
            elif self._drain:
                return
            else:
                await self._log.wait()

    def gather(self, width: int) -> Sheaf:
        """Chunks of up to so many partitions, as far as there are any."""
        places, first = self._assigned(), self._turn
        found: list[Chunk] = []
        for n in range(first, first + len(places)):
            chunk = self._read(places[n % len(places)]) if len(found) < width else None
            if chunk is not None:
                found.append(chunk)
                self._turn = (n + 1) % len(places)
        return found

    def poll(self) -> Chunk | None:
        """Next chunk if there is one: the step a stateful test takes."""
        return next(iter(self.gather(1)), None)

    def ack(self, chunk: Chunk) -> None:
        """See `Source`; the committed offset follows at once unless `commit_on_ack` is off."""
        if isinstance(chunk.token, Delivery):
            self._ledger.ack(chunk.token)
        if self._commit_on_ack:
            self.commit()

    def commit(self) -> None:
        """Commit what has been acknowledged."""
        offsets = self._ledger.committable()
        for place, offset in offsets.items():
            if place.topic in self._log.topics() and self._log.topic_id(place.topic) == self._ids[place]:
                self._log.commit(self._group, place.topic, place.partition, offset)
        self._ledger.committed(offsets)

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        """See `Source`."""
        self._ledger.seek(Place(topic, partition), offset)

    def crash(self) -> None:
        """Forget all but the committed offsets, as a killed process does: the rest comes again."""
        self._ledger.clear()
        self._ids.clear()

    def stop(self) -> None:
        """End `sheaves()`."""
        self._stopped = True
        self._log.wake()

    def lag(self) -> int:
        """Offsets between the committed offsets and the ends of the assigned partitions."""
        total = 0
        for place in self._assigned():
            start, end = self._log.bounds(*place)
            total += end - max(start, self._log.committed(self._group, *place) or 0)
        return total

    def _assigned(self) -> list[Place]:
        known = self._log.topics()
        return [
            Place(topic, partition)
            for topic in self._topics
            for partition in range(known.get(topic, 0))
            if self._only is None or partition in self._only.get(topic, ())
        ]

    def _read(self, place: Place) -> Chunk | None:
        topic_id = self._log.topic_id(place.topic)
        if self._ids.get(place) != topic_id:
            self._ids[place] = topic_id
            self._ledger.start(place, self._log.committed(self._group, *place) or 0)
        position = self._ledger.expected(place) or 0
        start, end = self._log.bounds(*place)
        if not start <= position <= end:
            position = start  # auto.offset.reset=earliest
        records = self._log.read(*place, position, self._chunk_records)
        if not records:
            return None
        delivery = self._ledger.deliver(place, records)
        return Chunk(
            topic=place.topic,
            topic_id=topic_id,
            partition=place.partition,
            records=records,
            position=delivery.position,
            token=delivery,
        )


class MemorySink:
    """Appends to a `MemoryLog`; `outage`, when set, is raised after `outage_after` more records, once."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.outage: Exception | None = None
        self.outage_after = 0

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Append all records, or those before the planned outage."""
        for record in records:
            if record_bytes(record) > MAX_RECORD_BYTES:
                raise Bug("bug", f"a record over {MAX_RECORD_BYTES} bytes", record.topic, "split it upstream")
        placed = []
        for record in records:
            if self.outage is not None:
                if self.outage_after == 0:
                    outage, self.outage = self.outage, None
                    raise outage
                self.outage_after -= 1
            placed.append(self._log.append(record))
        return placed
