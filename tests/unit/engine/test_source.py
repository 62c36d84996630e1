"""What a worker hands out of its queue, and what it reads ahead: no broker, the books are the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.health import Status
from streams.engine.shared import Shared
from streams.engine.source import StreamSource
from streams.engine.stopping import StopGuard
from streams.engine.transport import ChunkConsumer
from streams.ledger import HEAVY, Place
from streams.ports import Chunk, Inbound, Sheaf

A, B, SLOW = Place("in", 0), Place("in", 1), Place("slow", 0)


class NoIds:
    """Topic ids nobody asks for."""

    async def look_up(self, topics: object) -> Any:
        """Never called."""
        raise AssertionError(topics)


class Lab:
    """One agent's queue and the books of its worker."""

    def __init__(self, *, most: int = 10, outstanding: int = 20) -> None:
        status = Status(now=lambda: 0)
        self.shared = Shared(
            group="g", topic_ids=NoIds(), status=status, guard=StopGuard(), most_outstanding=outstanding
        )
        self.shared.reads(["in"])
        self.shared.reads(["slow"])
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.source = StreamSource(self, self.shared, most)
        self.channel = self

    def noack(self) -> Lab:
        """Stand for the stream."""
        return self

    async def events(self) -> AsyncIterator[Any]:
        """Give what is queued, and end where Faust would wait."""
        while not self.queue.empty():
            yield self.queue.get_nowait()

    def deliver(self, place: Place, *offsets: int, size: int = 1, topic_id: bytes = b"i" * 16) -> None:
        """Fetch a chunk."""
        records = [Inbound(offset, 0, None, b"x" * size) for offset in offsets]
        token = self.shared.ledger.deliver(place, records)
        chunk = Chunk(
            topic=place.topic,
            topic_id=topic_id,
            partition=place.partition,
            records=records,
            position=token.position,
            token=token,
        )
        self.queue.put_nowait(SimpleNamespace(value=chunk))

    def offsets(self, sheaf: Sheaf) -> list[tuple[int, list[int]]]:
        """Partition and offsets of each chunk."""
        return [(chunk.partition, [record.offset for record in chunk.records]) for chunk in sheaf]


async def test_what_is_ready_of_a_partition_is_one_chunk_and_acknowledged_whole() -> None:
    """Chunks that follow each other are joined; their acknowledgement moves the offset behind the last."""
    lab = Lab()
    lab.deliver(A, 0, 1)
    lab.deliver(B, 0)
    lab.deliver(A, 2)
    sheaves = lab.source.sheaves()
    sheaf = await anext(sheaves)
    assert lab.offsets(sheaf) == [(0, [0, 1, 2]), (1, [0])]
    assert len(lab.shared.in_hand) == 3
    lab.source.ack(sheaf[0])
    assert lab.shared.ledger.committable() == {A: 3}
    assert await anext(sheaves, None) is None
    assert lab.shared.in_hand == set()


async def test_what_the_log_has_lost_between_two_chunks_still_shows() -> None:
    """A moved log start is told by where a chunk begins, so a chunk behind a hole begins anew."""
    lab = Lab()
    lab.shared.ledger.start(A, 0)
    lab.deliver(A, 0, 1)
    lab.deliver(A, 500, 501)
    seen = [chunk async for sheaf in lab.source.sheaves() for chunk in sheaf]
    assert [(chunk.position, chunk.first_offset) for chunk in seen] == [(0, 0), (2, 500)]


async def test_large_records_make_a_sheaf_smaller() -> None:
    """What is done together is bounded in bytes too, and what is not needed yet stays in the queue."""
    lab = Lab(most=10)
    for offset in range(6):
        lab.deliver(A, offset, size=3 * HEAVY)
    sheaves = lab.source.sheaves()
    assert lab.offsets(await anext(sheaves)) == [(0, [0, 1])]
    assert lab.queue.qsize() == 3
    assert lab.offsets(await anext(sheaves)) == [(0, [2, 3])]


async def test_a_record_larger_than_a_sheaf_goes_alone() -> None:
    """Whatever it weighs, it is handed out."""
    lab = Lab(most=2)
    lab.deliver(A, 0, size=9 * HEAVY)
    lab.deliver(A, 1, size=9 * HEAVY)
    assert [lab.offsets(sheaf) async for sheaf in lab.source.sheaves()] == [[(0, [0])], [(0, [1])]]


async def test_a_seek_drops_what_was_read_ahead_of_that_partition_only() -> None:
    """Nothing from behind a seek is done before what it asks for."""
    lab = Lab(most=2)
    lab.deliver(A, 0, 1)
    lab.deliver(A, 2)
    lab.deliver(B, 0)
    seen = []
    async for sheaf in lab.source.sheaves():
        seen.append(lab.offsets(sheaf))
        if len(seen) == 1:
            await lab.source.seek(A.topic, A.partition, 1)
            lab.deliver(A, 1)
    assert seen == [[(0, [0, 1])], [(1, [0])], [(0, [1])]]


@pytest.mark.parametrize("over", ["rebalanced", "draining", "created again"])
async def test_what_counts_no_more_is_not_handed_out(over: str) -> None:
    """What was read ahead before a rebalance or of another topic of that name is forgotten."""
    lab = Lab(most=1)
    lab.deliver(A, 0)
    lab.deliver(A, 1)
    seen = []
    async for sheaf in lab.source.sheaves():
        seen.append(lab.offsets(sheaf))
        if len(seen) == 1:
            lab.shared.draining = over == "draining"
            if over == "rebalanced":
                lab.shared.ledger.clear()
            if over == "created again":
                lab.shared.ledger.renew(A)
    assert seen == [[(0, [0])]]


# ---- what is read ahead ------------------------------------------------------------------------------------
class Reader(ChunkConsumer):
    """A consumer whose broker is a list."""

    def __init__(self, shared: Shared, *assigned: Place) -> None:
        self._shared = shared
        self._active_partitions = self._assigned = set(assigned)
        self._buffered_partitions: set[Any] = set()
        self._thread: Any = self
        self.moved: dict[Place, int] = {}
        self.asked: list[set[Place]] = []

    def assignment(self) -> set[Any]:
        """See Faust."""
        return self._assigned

    def _get_active_partitions(self) -> set[Any]:
        return self._active_partitions

    async def call_thread(self, function: Any, *args: Any) -> None:
        """Run it here."""
        function(*args)

    def move(self, offsets: dict[Place, int]) -> None:
        """See `ChunkConsumerThread`."""
        self.moved |= offsets

    async def _getmany(self, active_partitions: set[Any], timeout: float) -> dict[Any, Sequence[Any]]:  # noqa: ASYNC109 stock signature
        self.asked.append(set(active_partitions))
        return {}

    async def fetch(self) -> None:
        """Take one turn of the loop."""
        assert await self._fetch_and_deliver(0)


async def test_an_agent_with_enough_to_do_keeps_no_other_waiting() -> None:
    """A recipient that takes nothing has its own bound: the topics of all others are read on."""
    lab = Lab(outstanding=3)
    reader = Reader(lab.shared, A, B, SLOW)
    lab.deliver(SLOW, 0, 1, 2)
    await reader.fetch()
    lab.deliver(A, 0, size=HEAVY)
    lab.deliver(B, 7)
    await reader.fetch()
    assert reader.asked == [{A, B}]
    lab.source.ack(lab.queue.get_nowait().value)
    await reader.fetch()
    assert reader.asked == [{A, B}, {SLOW}]


async def test_a_late_seek_of_a_partition_that_is_gone_is_dropped() -> None:
    """A chunk that outlived a rebalance may say where it was overtaken; the reader has no such partition."""
    lab = Lab()
    reader = Reader(lab.shared, A)
    await lab.source.seek(B.topic, B.partition, 5)
    await lab.source.seek(A.topic, A.partition, 7)
    await reader.fetch()
    assert reader.moved == {A: 7}
