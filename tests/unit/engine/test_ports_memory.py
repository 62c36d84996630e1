"""The in-memory twin keeps the contract of the ports, and what only a twin can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import pytest

from schemas.errors import Unavailable
from streams.memory import MemoryLog, MemorySink, MemorySource
from streams.ports import Handle, Outbound, Sink, drive, one_by_one
from streams.scan import Scan, scan_memory
from tests.unit.engine.contract import Bench, PortsContract, values


class MemoryBench:
    """The contract's bench on a `MemoryLog` whose clock moves when asked."""

    def __init__(self) -> None:
        self.now = 1_000
        self.log = MemoryLog(lambda: self.now)
        self._names = count()

    def topic(self, partitions: int = 1) -> str:
        """See `Bench`."""
        name = f"topic-{next(self._names)}"
        self.log.create_topic(name, partitions)
        return name

    def recreate(self, topic: str) -> None:
        """See `Bench`."""
        self.log.create_topic(topic, self.log.topics()[topic])

    def append(self, *records: Outbound) -> None:
        """See `Bench`."""
        for record in records:
            self.log.append(record)

    def delete_records(self, topic: str, before: int) -> None:
        """See `Bench`."""
        self.log.delete_records(topic, 0, before)

    def clock(self) -> int:
        """See `Bench`."""
        self.now += 10
        return self.now

    @property
    def scan(self) -> Scan:
        """See `Bench`."""
        return partial(scan_memory, self.log)

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[Sink]:
        """See `Bench`."""
        yield MemorySink(self.log)

    async def run(self, group: str, topics: Sequence[str], handle: Handle, until: Callable[[], bool]) -> None:
        """See `Bench`."""
        source = MemorySource(self.log, group, topics)
        async with asyncio.timeout(5):
            worker = asyncio.create_task(drive(source, one_by_one(handle)))
            while not until() and not worker.done():  # noqa: ASYNC110 the condition is the test's own
                await asyncio.sleep(0)
            source.stop()
            await worker


class TestMemoryPorts(PortsContract):
    """The contract on the twin."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Give a fresh log."""
        return MemoryBench()


@pytest.fixture
def log() -> MemoryLog:
    """Give a log with one topic of two partitions."""
    made = MemoryLog(lambda: 5)
    made.create_topic("t", 2)
    return made


def test_a_crash_before_the_acknowledgement_delivers_again(log: MemoryLog) -> None:
    """`crash` forgets deliveries; what was acknowledged and committed stays done."""
    source = MemorySource(log, "g", ["t"], chunk_records=1)
    for record in values("t", b"1", b"2"):
        log.append(record)
    first = source.poll()
    assert first is not None
    source.ack(first)
    second = source.poll()
    assert second is not None
    source.crash()
    again = source.poll()
    assert again == second
    source.ack(second)
    assert log.committed("g", "t", 0) == 1, "an acknowledgement from before the crash must not count"


def test_an_uncommitted_acknowledgement_is_lost_in_a_crash(log: MemoryLog) -> None:
    """Acknowledged but not committed: after a crash it comes again, as with Kafka's commit interval."""
    source = MemorySource(log, "g", ["t"], commit_on_ack=False)
    log.append(Outbound("t", 0, None, b"1"))
    chunk = source.poll()
    assert chunk is not None
    source.ack(chunk)
    source.crash()
    assert source.poll() == chunk
    assert source.lag() == 1


def test_holes_are_offsets_without_records(log: MemoryLog) -> None:
    """A skipped offset is no record, ends no chunk, and is passed once the next one is acknowledged."""
    log.append(Outbound("t", 0, None, b"1"))
    log.skip("t", 0, 3)
    log.append(Outbound("t", 0, None, b"2"))
    source = MemorySource(log, "g", ["t"])
    chunk = source.poll()
    assert chunk is not None
    assert [r.offset for r in chunk.records] == [0, 4]
    source.ack(chunk)
    assert source.lag() == 0


def test_two_workers_may_hold_one_partition(log: MemoryLog) -> None:
    """A zombie: both get the chunk, and only the vault's fence can tell them apart, as on Kafka."""
    log.append(Outbound("t", 0, None, b"1"))
    first, zombie = (MemorySource(log, "g", ["t"], partitions={"t": [0]}) for _ in range(2))
    assert first.poll() == zombie.poll() is not None


def test_partitions_take_turns(log: MemoryLog) -> None:
    """No partition starves another."""
    for partition in (0, 1):
        for record in values("t", b"1", b"2", partition=partition):
            log.append(record)
    source = MemorySource(log, "g", ["t"], chunk_records=1)
    taken = [source.poll() for _ in range(4)]
    assert [chunk.partition for chunk in taken if chunk] == [0, 1, 0, 1]


def test_a_late_commit_does_not_touch_a_recreated_topic(log: MemoryLog) -> None:
    """An acknowledgement for the old topic does not move the group on the new one."""
    log.append(Outbound("t", 0, None, b"1"))
    source = MemorySource(log, "g", ["t"])
    chunk = source.poll()
    assert chunk is not None
    log.create_topic("t", 2)
    source.ack(chunk)
    assert log.committed("g", "t", 0) is None


async def test_the_sink_can_fail_halfway(log: MemoryLog) -> None:
    """A planned outage lets some records through, once."""
    sink = MemorySink(log)
    sink.outage, sink.outage_after = Unavailable("unavailable", "planned"), 1
    with pytest.raises(Unavailable):
        await sink.send(values("t", b"1", b"2"))
    assert log.bounds("t", 0) == (0, 1)
    assert len(await sink.send(values("t", b"1", b"2"))) == 2


async def test_drain_ends_when_nothing_is_left(log: MemoryLog) -> None:
    """With `drain` the chunks end by themselves, which is how a test runs a stage to its quiet point."""
    log.append(Outbound("t", 0, None, b"1"))
    source = MemorySource(log, "g", ["t"], drain=True)
    assert len([sheaf async for sheaf in source.sheaves()]) == 1


def test_payloads_stay_out_of_reprs(log: MemoryLog) -> None:
    """Neither records nor chunks show what they carry."""
    record = Outbound("t", 0, b"secret", b"secret", [("h", b"secret")])
    log.append(record)
    chunk = MemorySource(log, "g", ["t"]).poll()
    assert chunk is not None
    assert "secret" not in f"{record!r} {chunk!r} {chunk.records[0]!r}"
