"""Kafka is killed for 20 seconds while requests go on coming: what is lost, late or out of order.

    python -m benchmarks.outage [--rate 2000] [--seconds 45] [-o json]

A collector in a process of its own, with the waits of a deployed one, on an embedded Kafka. Forms and browser
events come at a rate that no answer holds up; at 10 seconds the broker gets SIGKILL, 20 seconds later it is
started again. Mail opens are left out, because a pixel is answered whatever becomes of it. Afterwards intake
is read from its start and held against every answer: each event id of a 202 must lie there, and whatever was
answered before another request was sent must lie before it in their partition.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import uvloop
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.child import Child
from benchmarks.collector import bodies, collect
from benchmarks.figures import Figure, percentile, show
from benchmarks.flood import Asked, Flood
from benchmarks.kafka import COLLECTOR, PARTITIONS, broker
from benchmarks.load import request
from lapse.broker.embedded import EmbeddedKafka
from lapse.collector import KafkaSettings
from schemas.ids import Micros
from tests.support.broker import kill
from vault.tokens import PixelKeys

RATE, SECONDS = 2_000, 45.0
KILLED_AT, AWAY = 10.0, 20.0
DRAIN_SECONDS = 60.0
"""The spool has so long to become empty after the last request."""
REQUESTS = 3_000
TOPICS = ("intake.form", "intake.cookie")
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """An event somebody was told is kept: its id, when its request was sent and answered, and where it is."""

    event_id: str
    sent: float
    answered: float
    stored: str


class Said(msgspec.Struct):
    """An answer's body."""

    stored: str
    event_id: str = ""
    event_ids: list[str] = []


class Ready(msgspec.Struct):
    """What `/readyz` says."""

    spooling: bool


# ---- judging -----------------------------------------------------------------------------------------------
def acknowledged(asked: Sequence[Asked]) -> list[Acknowledged]:
    """Every event of every 202."""
    found = []
    for each in asked:
        if each.status == 202:
            said = msgspec.json.decode(each.body, type=Said)
            ids = said.event_ids or [said.event_id]
            found += [
                Acknowledged(event_id=of, sent=each.sent, answered=each.answered, stored=said.stored)
                for of in ids
            ]
    return found


def lost(told: Sequence[Acknowledged], intake: Mapping[Place, Sequence[str]]) -> int:
    """How many acknowledged events lie nowhere."""
    there = {event_id for ids in intake.values() for event_id in ids}
    return sum(each.event_id not in there for each in told)


def disordered(told: Sequence[Acknowledged], intake: Mapping[Place, Sequence[str]]) -> int:
    """How many lie, the first time, behind one of their partition that was sent after their answer."""
    by_id, wrong = {each.event_id: each for each in told}, 0
    for ids in intake.values():
        latest = 0.0
        for event_id in dict.fromkeys(ids):
            if (each := by_id.get(event_id)) is not None:
                wrong += each.answered < latest
                latest = max(latest, each.sent)
    return wrong


# ---- the run -----------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Times:
    """When things happened (`time.monotonic`)."""

    killed: float = 0.0
    back: float = 0.0
    drained: float = 0.0
    worked: float = 0.0
    """CPU seconds of the collector while the broker was away."""


async def strike(kafka: EmbeddedKafka, cpu: Callable[[], float], times: Times) -> None:
    """Kill the broker, and start it again."""
    await asyncio.sleep(KILLED_AT)
    times.killed, times.worked = time.monotonic(), -await asyncio.to_thread(cpu)
    await asyncio.to_thread(kill, kafka)
    await asyncio.sleep(AWAY)
    await asyncio.to_thread(kafka.start)
    times.worked += await asyncio.to_thread(cpu)
    times.back = time.monotonic()


async def drained(port: int, times: Times) -> None:
    """Note when nothing lies in the spool any more, after the broker has come back."""
    while True:
        if times.back and not await asyncio.to_thread(_spooling, port):
            times.drained = time.monotonic()
            return
        await asyncio.sleep(0.2)


def _spooling(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return msgspec.json.decode(answer.read(), type=Ready).spooling
    except OSError:  # it has so much to do that it does not come to this
        return True


async def flood(child: Child, kafka: EmbeddedKafka, load: Flood, times: Times) -> list[Asked]:
    """All requests, with the broker's absence in the midst of them."""
    watch = asyncio.create_task(drained(load.port, times))
    struck = asyncio.create_task(strike(kafka, child.cpu, times))
    asked = await load.run()
    await struck
    async with asyncio.timeout(DRAIN_SECONDS):
        await watch
    return asked


def requests() -> list[bytes]:
    """Forms and single browser events in turn, which ask for the event's id."""
    pixels, found = PixelKeys.generate(os.urandom), []
    for method, path, body in islice(bodies(pixels, Micros(time.time_ns() // 1000)), REQUESTS):
        if body:
            found.append(request(method, f"{path}&ids=1", body, "User-Agent: Mozilla/5.0 (X11) Chrome/142"))
    return found


def read(kafka: EmbeddedKafka) -> dict[Place, list[str]]:
    """The event ids on intake, by topic and partition, in order."""
    group = {"group.id": "benchmark", "enable.auto.commit": False, "enable.partition.eof": False}
    consumer = Consumer(kafka.address.librdkafka(kafka.admin) | group)
    left, found = {}, defaultdict(list)
    for topic in TOPICS:
        for partition in range(PARTITIONS):
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            if end:
                left[topic, partition] = end
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in left])
    while left:
        for message in consumer.consume(5_000, timeout=20):
            place = message.topic(), message.partition()
            found[place].append(dict(message.headers())["ce_id"].decode())
            if message.offset() + 1 >= left.get(place, 0):
                left.pop(place, None)
    consumer.close()
    return found


def measure(rate: float, seconds: float) -> list[Figure]:
    """One outage."""
    with tempfile.TemporaryDirectory() as name, broker(Path(name) / "kafka") as kafka:
        settings = kafka.address.librdkafka(COLLECTOR)
        waits = KafkaSettings(connection={}).ack_seconds
        keys = PixelKeys.generate(os.urandom).to_json()
        with Child(collect, Path(name), settings, keys, waits) as child:
            load, times = Flood(child.said, requests(), rate, seconds), Times()
            asked = uvloop.run(flood(child, kafka, load, times))
        return list(figures(asked, read(kafka), times))


def figures(asked: Sequence[Asked], intake: Mapping[Place, Sequence[str]], times: Times) -> Iterator[Figure]:
    """What came of it."""
    told, statuses = acknowledged(asked), Counter(each.status for each in asked)
    spooled = sum(each.stored == "spool" for each in told)
    records = sum(map(len, intake.values()))
    distinct = len({each for ids in intake.values() for each in ids})
    unlike = len(asked) - statuses[202] - statuses[503] - statuses[0]
    span = max(each.sent for each in asked) - asked[0].due
    away = [e.answered - e.due for e in asked if e.answered and times.killed <= e.due < times.back]
    met = sum(times.killed <= e.answered < times.back for e in asked)
    rows: list[tuple[str, float, str, float | None]] = [
        ("requests a second sent", len(asked) / span, "/s", None),
        ("events acknowledged", len(told), "", None),
        ("of these from the spool", spooled, "", None),
        ("requests refused (503)", statuses[503], "", None),
        ("requests without an answer", statuses[0], "", None),
        ("requests answered otherwise", unlike, "", 0),
        ("acknowledged events lost", lost(told, intake), "", 0),
        ("acknowledged events out of order", disordered(told, intake), "", 0),
        ("events on intake twice", records - distinct, "", None),
        ("seconds the broker was away", times.back - times.killed, "s", None),
        ("seconds from its return until the spool was empty", times.drained - times.back, "s", None),
        ("CPU of the collector for each answer meanwhile", times.worked / met * 1e6, "us", None),
        ("p50 of answers meanwhile", percentile(away, 0.5) * 1000, "ms", None),
        ("p99 of answers meanwhile", percentile(away, 0.99) * 1000, "ms", None),
    ]
    for what, figure, unit, goal in rows:
        yield Figure(of="outage", what=what, figure=figure, unit=unit, goal=goal, at_most=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("-o", choices=("table", "json"), default="table", dest="output")
    chosen = parser.parse_args()
    show(measure(chosen.rate, chosen.seconds), json=chosen.output == "json")


if __name__ == "__main__":
    main()
