"""What every implementation of the ports must do; run on the twin in tests/unit and on Kafka in tests/e2e.

A subclass gives the `bench` fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from schemas.errors import Bug, NotFound
from streams.ports import MAX_RECORD_BYTES, Chunk, Done, Handle, Inbound, Outbound, Outcome, Seek, Sink
from streams.scan import Offset, Scan, Time


class Bench(Protocol):
    """A log under test."""

    def topic(self, partitions: int = 1) -> str:
        """Create a topic with a name of its own."""

    def recreate(self, topic: str) -> None:
        """Delete it and create it again."""

    def append(self, *records: Outbound) -> None:
        """Write records."""

    def delete_records(self, topic: str, before: int) -> None:
        """Move the log start of partition 0."""

    def clock(self) -> int:
        """Let time pass and tell LogAppendTime of now in milliseconds."""

    @property
    def scan(self) -> Scan:
        """The log's reader."""

    def sink(self) -> AbstractAsyncContextManager[Sink]:
        """Open a sink."""

    async def run(self, group: str, topics: Sequence[str], handle: Handle, until: Callable[[], bool]) -> None:
        """Run a worker of the group until the condition holds, then stop it."""


def values(topic: str, *some: bytes, partition: int = 0) -> list[Outbound]:
    """Records without keys."""
    return [Outbound(topic, partition, None, value) for value in some]


class Seen:
    """A stage that remembers; `decide` may overrule `Done`."""

    def __init__(self, decide: Callable[[Chunk], Outcome] = lambda _chunk: Done()) -> None:
        self.chunks: list[Chunk] = []
        self._decide = decide

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Remember the chunk."""
        self.chunks.append(chunk)
        return self._decide(chunk)

    def records(self, partition: int = 0) -> list[Inbound]:
        """Records seen of a partition."""
        return [r for chunk in self.chunks if chunk.partition == partition for r in chunk.records]

    def has(self, count: int) -> Callable[[], bool]:
        """Whether so many records have been seen."""
        return lambda: sum(len(chunk) for chunk in self.chunks) >= count


class PortsContract:
    """The contract."""

    async def test_records_arrive_whole_and_in_order(self, bench: Bench) -> None:
        """Offsets, times, keys, values, nulls and headers come as written, in order per partition."""
        topic = bench.topic(2)
        before = bench.clock()
        bench.append(
            Outbound(topic, 0, b"key", b"one", [("h", b"1"), ("h", b"2")]),
            Outbound(topic, 0, b"tick", None, [("lapse-tick", b"")]),
            *values(topic, b"a", b"b", partition=1),
        )
        seen = Seen()
        await bench.run("lapse.whole", [topic], seen, seen.has(4))
        first, second = seen.records(0)
        assert (first.offset, first.key, first.value) == (0, b"key", b"one")
        assert tuple(first.headers) == (("h", b"1"), ("h", b"2"))
        assert (second.offset, second.value, tuple(second.headers)) == (1, None, (("lapse-tick", b""),))
        assert before <= first.timestamp_ms <= bench.clock()
        assert [r.value for r in seen.records(1)] == [b"a", b"b"]
        assert {len(chunk.topic_id) for chunk in seen.chunks} == {16}

    async def test_what_was_acknowledged_does_not_come_again(self, bench: Bench) -> None:
        """A second worker of the group goes on behind what the first one has done."""
        topic = bench.topic()
        bench.append(*values(topic, b"1", b"2"))
        first, second = Seen(), Seen()
        await bench.run("lapse.again", [topic], first, first.has(2))
        bench.append(*values(topic, b"3"))
        await bench.run("lapse.again", [topic], second, second.has(1))
        assert [r.value for r in second.records()] == [b"3"]
        assert second.chunks[0].position == 2

    async def test_what_was_not_acknowledged_comes_again(self, bench: Bench) -> None:
        """A chunk whose stage never finished is delivered to the next worker of the group."""
        topic = bench.topic()
        bench.append(*values(topic, b"1", b"2"))
        refused = Seen(lambda chunk: Seek(chunk.last_offset + 1))
        await bench.run("lapse.crash", [topic], refused, refused.has(2))
        second = Seen()
        await bench.run("lapse.crash", [topic], second, second.has(2))
        assert [r.value for r in second.records()] == [b"1", b"2"]

    async def test_a_group_begins_at_the_log_start(self, bench: Bench) -> None:
        """Deleted records are passed over; the first chunk tells that the gap is the log's."""
        topic = bench.topic()
        bench.append(*values(topic, b"1", b"2", b"3"))
        bench.delete_records(topic, 2)
        seen = Seen()
        await bench.run("lapse.start", [topic], seen, seen.has(1))
        assert [r.offset for r in seen.records()] == [2]
        assert (seen.chunks[0].position or 0) <= 2

    async def test_seek_goes_back_and_forth(self, bench: Bench) -> None:
        """After `Seek` the partition goes on at that offset, and the dropped chunk was not acknowledged."""
        topic = bench.topic()
        bench.append(*values(topic, *[b"%d" % n for n in range(10)]))
        targets = iter([7, 3])

        def decide(chunk: Chunk) -> Outcome:
            target = next(targets, None)
            return Done() if target is None else Seek(target)

        seen = Seen(decide)
        await bench.run("lapse.seek", [topic], seen, lambda: len(seen.chunks) >= 3 and seen.has(17)())
        assert [chunk.first_offset for chunk in seen.chunks[:3]] == [0, 7, 3]
        assert [chunk.position for chunk in seen.chunks[:3]] == [0, 7, 3]
        assert seen.chunks[-1].last_offset == 9

    async def test_a_recreated_topic_has_another_id(self, bench: Bench) -> None:
        """A topic deleted and created again is read from its start, under a new topic id."""
        topic = bench.topic()
        bench.append(*values(topic, b"1", b"2"))
        seen = Seen()
        await bench.run("lapse.other", [topic], seen, seen.has(2))
        bench.recreate(topic)
        bench.append(*values(topic, b"3", b"4", b"5"))
        fresh = Seen()
        await bench.run("lapse.other", [topic], fresh, fresh.has(3))
        assert [r.value for r in fresh.records()] == [b"3", b"4", b"5"]
        assert fresh.chunks[0].topic_id != seen.chunks[0].topic_id

    async def test_the_sink_keeps_order_and_tells_places(self, bench: Bench) -> None:
        """Records land in order per partition, and the places come back in the order given."""
        topic = bench.topic(2)
        records = [Outbound(topic, n % 2, None, b"%d" % n, [("n", b"%d" % n)]) for n in range(3000)]
        async with bench.sink() as sink:
            assert await sink.send([]) == []
            placed = await sink.send(records)
        assert placed == [(topic, n % 2, n // 2) for n in range(3000)]
        found: dict[int, list[Inbound]] = {0: [], 1: []}
        for batch in bench.scan([topic]):
            found[batch.partition].extend(batch.records)
        assert [r.value for r in found[1]] == [b"%d" % n for n in range(1, 3000, 2)]
        assert tuple(found[0][1].headers) == (("n", b"2"),)

    async def test_the_sink_turns_large_records_away_unsent(self, bench: Bench) -> None:
        """One record over the limit: nothing of the call is sent, and the next call works."""
        topic = bench.topic()
        async with bench.sink() as sink:
            with pytest.raises(Bug):
                await sink.send([*values(topic, b"1"), *values(topic, b"x" * (MAX_RECORD_BYTES + 1))])
            assert await sink.send(values(topic, b"x" * MAX_RECORD_BYTES, b"x" * MAX_RECORD_BYTES, b"2")) == [
                (topic, 0, 0),
                (topic, 0, 1),
                (topic, 0, 2),
            ]

    async def test_a_scan_is_bounded_by_time_and_offset(self, bench: Bench) -> None:
        """Start and end by time, start by offset, for all or per partition; deleted and empty stretches."""
        topic = bench.topic(2)
        bench.append(*values(topic, b"0", b"1", b"2"), *values(topic, b"a", partition=1))
        middle = bench.clock()
        bench.append(*values(topic, b"3", b"4"), *values(topic, b"b", partition=1))
        after = bench.clock()

        def found(partition: int = 0, **bounds: object) -> list[bytes | None]:
            batches = bench.scan([topic], partitions=[partition], **bounds)  # type: ignore[arg-type]
            return [record.value for batch in batches for record in batch.records]

        assert found() == [b"0", b"1", b"2", b"3", b"4"]
        assert found(1) == [b"a", b"b"]
        assert found(start=Time(middle)) == [b"3", b"4"]
        assert found(end=Time(middle)) == [b"0", b"1", b"2"]
        assert found(start=Time(middle), end=Time(after)) == [b"3", b"4"]
        assert found(start=Time(after)) == []
        assert found(start=Offset(4)) == [b"4"]
        assert found(start=Offset(99)) == []
        assert found(start={(topic, 0): 3}) == [b"3", b"4"]
        assert found(1, start={(topic, 0): 3}) == [b"a", b"b"]
        bench.delete_records(topic, 2)
        assert found(start=Offset(0)) == [b"2", b"3", b"4"]
        assert found(7) == []

    async def test_a_scan_ends_where_the_log_ended_when_it_was_called(self, bench: Bench) -> None:
        """Records written after the call are not part of it, though the reading happens later."""
        topic = bench.topic()
        bench.append(*values(topic, b"1"))
        found = bench.scan([topic])
        bench.append(*values(topic, b"2"))
        assert [record.value for batch in found for record in batch.records] == [b"1"]

    async def test_a_scan_of_nothing_says_so(self, bench: Bench) -> None:
        """An unknown topic is `NotFound` at the call; an empty one yields nothing."""
        with pytest.raises(NotFound):
            bench.scan(["no-such-topic"])
        assert list(bench.scan([bench.topic()])) == []
