"""The spool: sealed, in order, restart-safe, torn tails and all; and the delivery that drains it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from lapse.collector import KafkaSettings, SpoolSettings, metrics
from lapse.collector.delivery import Delivery
from lapse.collector.framing import HEADER_BYTES, Spooled, header, read_segment, seal_frame
from lapse.collector.producer import MemoryProducer
from lapse.collector.spool import Spool
from schemas.errors import Refused, Unavailable
from tests.unit.collector.harness import running

CANARY = b"canary-7f3a@example.org"
KAFKA = KafkaSettings(connection={}, probe_seconds=0.02)
CIPHER = AESGCM(bytes(32))


def event(number: int, value: bytes = CANARY) -> Spooled:
    """An event whose id is its number."""
    return Spooled(
        topic="intake.form", event_id=number.to_bytes(16, "big"), value=value, headers=[("ce_id", b"1")]
    )


def numbers(events: tuple[Spooled, ...] | list[Spooled]) -> list[int]:
    """The numbers of events."""
    return [int.from_bytes(each.event_id, "big") for each in events]


def where(folder: Path) -> SpoolSettings:
    """A spool under this folder."""
    return SpoolSettings(folder=folder / "spool", keys=folder / "keys")


async def everything(spool: Spool) -> list[Spooled]:
    """Drain the spool as Kafka would see it."""
    found: list[Spooled] = []
    while (number := await spool.oldest()) is not None:
        found += (await spool.read(number)).events
        await spool.destroy(number)
    return found


def is_empty(spool: Spool) -> bool:
    """Ask anew each time: what a property said before says nothing now."""
    return spool.empty


def spool_has_room(spool: Spool) -> bool:
    """The same for its room."""
    return spool.has_room


def is_ready(delivery: Delivery) -> bool:
    """The same for a delivery."""
    return delivery.ready


# ---- framing -----------------------------------------------------------------------------------------------
def segment(events: list[Spooled]) -> bytes:
    """A segment's bytes."""
    frames = [seal_frame(CIPHER, 1, counter, each) for counter, each in enumerate(events)]
    return header(1) + b"".join(frames)


_EVENTS = st.lists(st.builds(event, st.integers(0, 2**64), st.binary(max_size=200)), max_size=8)


@given(_EVENTS)
def test_what_is_sealed_is_read(events: list[Spooled]) -> None:
    """Order, ids, topics, headers and values come back; nothing of a value is on the disk."""
    data = segment(events)
    read = read_segment(CIPHER, data)
    assert (read.events, read.lost, read.torn) == (tuple(events), 0, False)
    assert CANARY not in data


@given(_EVENTS, st.data())
def test_a_torn_tail_costs_only_itself(events: list[Spooled], data: st.DataObject) -> None:
    """Cut anywhere, every frame that was whole is read, and nothing counts as lost."""
    whole = segment(events)
    cut = data.draw(st.integers(0, len(whole)))
    read = read_segment(CIPHER, whole[:cut])
    ends = [len(segment(events[:n])) for n in range(len(events) + 1)]
    kept = max((n for n, end in enumerate(ends) if end <= cut), default=0)
    assert read.events == tuple(events[:kept])
    assert read.lost == 0
    assert read.torn == (cut not in {*ends, 0})


@given(st.integers(1, 6), st.data())
def test_damage_in_the_middle_is_counted_and_the_rest_is_read(count: int, data: st.DataObject) -> None:
    """A flipped byte costs one frame, which is counted when a later one shows that it was there."""
    events = [event(n, b"x" * 50) for n in range(count + 1)]
    whole = bytearray(segment(events))
    first_end = len(segment(events[:1]))
    at = data.draw(st.integers(HEADER_BYTES, first_end - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    read = read_segment(CIPHER, bytes(whole))
    assert numbers(read.events) == list(range(1, count + 1))
    assert read.lost == 1


@given(st.binary(max_size=500))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Foreign files and garbage behind a header read as nothing."""
    assert read_segment(CIPHER, data).events == ()
    assert read_segment(CIPHER, header(1) + data).events == ()


def test_another_key_or_segment_opens_nothing() -> None:
    """A frame moved to another segment, or read under another key, is counted as lost."""
    data = segment([event(1)])
    assert read_segment(AESGCM(b"k" * 32), data).lost == 1
    assert read_segment(CIPHER, header(2) + data[HEADER_BYTES:]).events == ()


# ---- the spool ---------------------------------------------------------------------------------------------
async def test_events_come_back_in_order_and_leave_nothing(tmp_path: Path) -> None:
    """Across segments and concurrent writers, order is kept; afterwards no file and no key is left."""
    spool = Spool(replace(where(tmp_path), segment_bytes=500))
    spool.open()
    for first in range(0, 50, 5):
        await asyncio.gather(*(spool.append([event(n)]) for n in range(first, first + 5)))
    assert not is_empty(spool)
    assert len(list((tmp_path / "spool").glob("*.seg"))) > 3
    for path in (tmp_path / "spool").glob("*.seg"):
        assert CANARY not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert numbers(await everything(spool)) == list(range(50))
    assert is_empty(spool)
    assert spool.size == 0
    assert list((tmp_path / "spool").glob("*.seg")) == list((tmp_path / "keys").iterdir()) == []
    spool.close()


async def test_a_destroyed_segments_copy_opens_no_more(tmp_path: Path) -> None:
    """The key is overwritten and gone: bytes somebody kept of a drained segment are noise."""
    spool = Spool(where(tmp_path))
    spool.open()
    await spool.append([event(1)])
    (file,) = (tmp_path / "spool").glob("*.seg")
    (key,) = (tmp_path / "keys").glob("*.key")
    copied, held = file.read_bytes(), key.open("rb")
    secret = key.read_bytes()
    await everything(spool)
    held.seek(0)
    assert held.read() == bytes(32), "the bytes of the key file were overwritten before it went"
    assert numbers(read_segment(AESGCM(secret), copied).events) == [1], "the copy was a good one"
    held.close()
    spool.close()


async def test_a_new_process_takes_over(tmp_path: Path) -> None:
    """What is kept survives a stop, comes first after a restart, and one folder has one owner."""
    first = Spool(where(tmp_path))
    first.open()
    await first.append([event(1), event(2)])
    with pytest.raises(Refused):
        Spool(where(tmp_path)).open()
    first.close()
    second = Spool(where(tmp_path))
    second.open()
    assert not is_empty(second)
    await second.append([event(3)])
    assert numbers(await everything(second)) == [1, 2, 3]
    second.close()


async def test_a_crash_between_key_and_file_is_cleared(tmp_path: Path) -> None:
    """A key without its segment is forgotten; a segment whose key is gone or zeroed was drained already."""
    for folder in ("spool", "keys"):
        (tmp_path / folder).mkdir()
    (tmp_path / "keys" / f"{7:016d}.key").write_bytes(b"k" * 32)
    (tmp_path / "spool" / f"{5:016d}.seg").write_bytes(segment([event(1)]))
    (tmp_path / "spool" / f"{6:016d}.seg").write_bytes(segment([event(1)]))
    (tmp_path / "keys" / f"{6:016d}.key").write_bytes(bytes(32))
    spool = Spool(where(tmp_path))
    spool.open()
    assert is_empty(spool)
    assert list((tmp_path / "keys").iterdir()) == []
    await spool.append([event(9)])
    assert [path.stem for path in (tmp_path / "spool").glob("*.seg")] == [f"{8:016d}"], (
        "no number comes twice"
    )
    spool.close()


async def test_a_full_or_old_spool_takes_nothing(tmp_path: Path) -> None:
    """Over its size or its age it refuses, and takes again when it is drained."""
    now = [1000.0]
    spool = Spool(replace(where(tmp_path), max_bytes=1000, max_age_seconds=60), now=lambda: now[0])
    spool.open()
    await spool.append([event(1, b"x" * 1000)])
    with pytest.raises(Unavailable):
        await spool.append([event(2)])
    await everything(spool)
    await spool.append([event(3)])
    now[0] += 61
    assert not spool_has_room(spool)
    with pytest.raises(Unavailable):
        await spool.append([event(4)])
    assert numbers(await everything(spool)) == [3]
    assert spool_has_room(spool)
    spool.close()


async def test_a_disk_that_fails_refuses_and_recovers(tmp_path: Path) -> None:
    """A segment that cannot be made is said to the caller; the next one may be."""
    spool = Spool(where(tmp_path))
    spool.open()
    (tmp_path / "keys").rmdir()
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(Unavailable):
        await spool.append([event(1)])
    (tmp_path / "keys").unlink()
    (tmp_path / "keys").mkdir()
    await spool.append([event(2)])
    assert numbers(await everything(spool)) == [2]
    spool.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from lapse.collector import SpoolSettings
from lapse.collector.framing import Spooled
from lapse.collector.spool import Spool
folder = Path(sys.argv[1])
async def main():
    spool = Spool(SpoolSettings(folder=folder / "spool", keys=folder / "keys", segment_bytes=20_000))
    spool.open()
    async def one(n):
        await spool.append([Spooled(topic="t", event_id=n.to_bytes(16, "big"), value=b"x" * 300, headers=[])])
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
    n = 0
    while True:
        await asyncio.gather(*(one(each) for each in range(n, n + 20)))
        n += 20
asyncio.run(main())
"""


def killed_after(acknowledged: int, folder: Path) -> list[int]:
    """What a process had acknowledged when it was killed in the middle of writing."""
    command = [sys.executable, "-c", CHILD, str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(acknowledged)]
    os.kill(child.pid, signal.SIGKILL)
    told += [int(line) for line in child.stdout.read().decode().splitlines()[:-1]]
    child.stdout.close()
    child.wait()
    return told


@pytest.mark.parametrize("acknowledged", [1, 137, 900])
async def test_a_kill_in_the_middle_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    """SIGKILL while writing: every event whose append had returned is read afterwards, once, in order."""
    told = killed_after(acknowledged, tmp_path)
    spool = Spool(where(tmp_path))
    spool.open()
    found: list[int] = []
    while (number := await spool.oldest()) is not None:
        read = await spool.read(number)
        assert read.lost == 0
        found += numbers(read.events)
        await spool.destroy(number)
    spool.close()
    assert found == sorted(set(found))
    assert set(told) <= set(found)


# ---- delivery ----------------------------------------------------------------------------------------------
async def until(done: object, seconds: float = 5.0) -> None:
    """Wait until a condition holds."""
    assert callable(done)
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.005)


async def test_events_queue_behind_the_spool_and_arrive_in_order(tmp_path: Path) -> None:
    """Kafka goes away and comes back under traffic: the order of acceptance is the order of arrival."""
    producer, spool = MemoryProducer(), Spool(where(tmp_path))
    delivery = Delivery(producer, spool, KAFKA)
    await delivery.start()
    places = []
    for n in range(300):
        if n == 50:
            producer.away = True
        if n == 200:
            producer.away = False
        places.append(await delivery.store([event(n)]))
    await until(lambda: not delivery.spooling)
    assert numbers(producer.sent) == list(range(300))
    assert places[:50] == ["kafka"] * 50
    assert places[50:200] == ["spool"] * 150
    assert await delivery.store([event(300)]) == "kafka"
    assert is_empty(spool)
    await delivery.close(1)
    delivery.close_spool()


async def test_what_a_stopped_process_left_is_drained_first(tmp_path: Path) -> None:
    """A collector that starts with Kafka well and a spool behind it empties the spool first."""
    left = Spool(where(tmp_path))
    left.open()
    await left.append([event(n) for n in range(5)])
    left.close()
    producer = MemoryProducer()
    delivery = Delivery(producer, Spool(where(tmp_path)), KAFKA)
    await delivery.start()
    assert await delivery.store([event(5)]) == "spool"
    await until(lambda: len(producer.sent) == 6)
    assert numbers(producer.sent) == list(range(6))
    await delivery.close(1)
    delivery.close_spool()


async def test_a_full_spool_and_no_kafka_is_503(tmp_path: Path) -> None:
    """Nowhere to keep it is said so; with Kafka back but the spool still full, order gives way to keeping."""
    producer = MemoryProducer()
    producer.away = True
    spool = Spool(replace(where(tmp_path), max_bytes=600))
    delivery = Delivery(producer, spool, replace(KAFKA, probe_seconds=30))
    await delivery.start()
    assert is_ready(delivery)
    assert await delivery.store([event(1, b"x" * 700)]) == "spool"
    assert not is_ready(delivery)
    with pytest.raises(Unavailable):
        await delivery.store([event(2)])
    producer.away = False
    delivery._well = True  # noqa: SLF001 - as while a full spool is being drained
    assert await delivery.store([event(3)]) == "kafka"
    await delivery.close(1)
    delivery.close_spool()


async def test_damage_is_counted_and_does_not_block(tmp_path: Path) -> None:
    """A damaged segment gives what it can and is destroyed; what it cost is a metric that must stay 0."""
    left = Spool(where(tmp_path))
    left.open()
    await left.append([event(1), event(2)])
    left.close()
    (file,) = (tmp_path / "spool").glob("*.seg")
    data = bytearray(file.read_bytes())
    data[HEADER_BYTES + 40] ^= 1
    file.write_bytes(data)
    before = metrics.SPOOL_DAMAGED._value.get()  # noqa: SLF001 - no public reader
    producer = MemoryProducer()
    delivery = Delivery(producer, Spool(where(tmp_path)), KAFKA)
    await delivery.start()
    await until(lambda: not delivery.spooling)
    assert numbers(producer.sent) == [2]
    assert metrics.SPOOL_DAMAGED._value.get() == before + 1  # noqa: SLF001 - the same
    await delivery.close(1)
    delivery.close_spool()


async def test_the_collector_says_where_it_kept_an_event(tmp_path: Path) -> None:
    """With Kafka away the answer is 202 "spool" and readiness holds; afterwards everything is in Kafka."""
    async with running(tmp_path, away=True) as edge:
        response = await edge.form(fields={"email": CANARY.decode()})
        assert response.json()["stored"] == "spool"
        assert (await edge.http.get("/readyz")).json() == {"ready": True, "spooling": True}
        for path in (*(tmp_path / "spool").iterdir(), *(tmp_path / "keys").iterdir()):
            assert CANARY not in path.read_bytes()
        edge.producer.away = False
        await until(lambda: len(edge.sent) == 1)
        assert edge.sent[0].event_id.hex() == response.json()["event_id"]
        await until(lambda: not edge.collector.edge.delivery.spooling)
        assert (await edge.form()).json()["stored"] == "kafka"


async def test_stopping_fails_readiness_and_keeps_what_kafka_does_not_take(tmp_path: Path) -> None:
    """On the way down /readyz is 503, requests under way finish, and the spool stays for the next process."""
    async with running(tmp_path, away=True) as edge:
        await edge.form()
        edge.collector.edge.draining = True
        response = await edge.http.get("/readyz")
        assert (response.status_code, response.json()["ready"]) == (503, False)
        assert (await edge.form()).status_code == 202
    assert list((tmp_path / "spool").glob("*.seg"))
    again = Spool(where(tmp_path))
    again.open()
    assert len(await everything(again)) == 2
    again.close()


async def test_a_segment_that_cannot_be_read_holds_the_rest_back(tmp_path: Path) -> None:
    """Nothing overtakes it, events are still taken, and once it is readable everything arrives in order."""
    left = Spool(where(tmp_path))
    left.open()
    await left.append([event(1)])
    left.close()
    (key,) = (tmp_path / "keys").glob("*.key")
    secret = key.read_bytes()
    key.write_bytes(secret[:31])
    producer = MemoryProducer()
    delivery = Delivery(producer, Spool(where(tmp_path)), KAFKA)
    await delivery.start()
    assert await delivery.store([event(2)]) == "spool"
    await asyncio.sleep(0.1)
    assert producer.sent == []
    assert is_ready(delivery)
    key.write_bytes(secret)
    await until(lambda: len(producer.sent) == 2)
    assert numbers(producer.sent) == [1, 2]
    await delivery.close(1)
    delivery.close_spool()


async def test_kafka_failing_amid_a_drain_begins_it_again(tmp_path: Path) -> None:
    """A segment is destroyed only when all of it has arrived: what arrived twice has one id."""
    left = Spool(where(tmp_path))
    left.open()
    await left.append([event(n) for n in range(10)])
    left.close()

    class Stumbling(MemoryProducer):
        async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
            unseen = [each for each in events if each not in self.sent]
            await super().send(events)
            return [each for each in unseen if each.event_id == event(5).event_id]

    producer = Stumbling()
    delivery = Delivery(producer, Spool(where(tmp_path)), KAFKA)
    await delivery.start()
    await until(lambda: not delivery.spooling)
    assert set(numbers(producer.sent)) == set(range(10))
    assert len(producer.sent) > 10
    await delivery.close(1)
    delivery.close_spool()


async def test_a_request_that_goes_away_leaves_its_event(tmp_path: Path) -> None:
    """A client that hangs up while its event is being written does not unwrite it."""
    producer = MemoryProducer()
    producer.away = True
    delivery = Delivery(producer, Spool(where(tmp_path)), KAFKA)
    await delivery.start()
    task = asyncio.create_task(delivery.store([event(1)]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    producer.away = False
    await until(lambda: not delivery.spooling)
    assert numbers(producer.sent) == [1]
    await delivery.close(1)
    delivery.close_spool()
