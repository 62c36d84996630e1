"""From the POST of a form until its delivery can be read from a processor's topic, on a whole `lapse up`.

    python -m benchmarks.endtoend [-o json]

Forms are sent by the site's server at 100 and then at 1,000 a second whatever the answers do, each about
somebody new. A process of its own reads `processor.mail` and notes when it saw which delivery; ids of events
are chosen here, so that those of their deliveries are known. The time of a form runs from when it was due to
be sent: a sender that is late counts against us.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from confluent_kafka import Consumer, TopicPartition

from benchmarks.figures import Figure, percentile, run
from benchmarks.load import Server, open_loop, request
from benchmarks.traffic import POLICY
from lapse.main import installation
from schemas import framing
from schemas.ids import EventId
from tests.e2e.live.wire import Kafka
from tests.support.live import Live
from vault.handles import delivery_id, record_id

PROCESSOR = "mail"
RATES: Mapping[int, int] = {100: 1_000, 1_000: 10_000}
"""Forms a second, and how many."""
WARM = 300
ARRIVE_SECONDS = 60.0
START_SECONDS = 30.0
ID = slice(framing.HEADER, framing.HEADER + 16)
"""Where the id of a `RecordDelivered` stands."""


def watch(pipe: Connection, settings: dict[str, Any], topic: str) -> None:
    """Note when each new delivery is seen, and hand all over when asked for so many."""
    consumer = Consumer({**settings, "group.id": f"processor.{PROCESSOR}", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, START_SECONDS).topics[topic].partitions
    ends = [
        TopicPartition(
            topic, n, consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=START_SECONDS)[1]
        )
        for n in partitions
    ]
    consumer.assign(ends)
    pipe.send(None)
    seen: dict[bytes, float] = {}
    wanted, until = 0, 0.0
    while True:
        for message in consumer.consume(1_000, 0.02):
            if message.error() is None:
                seen.setdefault(message.value()[ID], time.perf_counter())
        if not wanted and pipe.poll():
            wanted, until = pipe.recv(), time.perf_counter() + ARRIVE_SECONDS
            if not wanted:
                return
        if wanted and (len(seen) >= wanted or time.perf_counter() > until):
            pipe.send(seen)
            seen, wanted = {}, 0


class Watcher:
    """`watch` in a process of its own."""

    def __init__(self, kafka: Kafka) -> None:
        self._pipe, theirs = mp.Pipe()
        arguments = (theirs, kafka.client, f"processor.{PROCESSOR}")
        self._process = mp.get_context("spawn").Process(target=watch, args=arguments, daemon=True)
        self._process.start()
        assert self._pipe.poll(START_SECONDS), "the watching process does not become ready"
        self._pipe.recv()

    def seen(self, count: int) -> dict[bytes, float]:
        """When each of so many deliveries was seen, by its id; fewer if they do not come."""
        self._pipe.send(count)
        assert self._pipe.poll(ARRIVE_SECONDS + START_SECONDS), "the watching process has gone"
        found: dict[bytes, float] = self._pipe.recv()
        return found

    def end(self) -> None:
        """Let it go."""
        self._pipe.send(0)
        self._process.join(START_SECONDS)
        self._process.kill()


def forms(token: str, ids: Sequence[bytes]) -> list[bytes]:
    """A request for each id, about somebody new."""
    return [
        request("POST", "/f/get-in-touch", _body(event), f"Authorization: Bearer {token}") for event in ids
    ]


def _body(event: bytes) -> bytes:
    who = event.hex()[:12]
    fields = {"email": f"{who}@example.org", "name": f"Person {who}", "country": "DE", "message": "Call me."}
    consents = [{"purpose": "marketing_email", "granted": True}]
    return msgspec.json.encode({"event_id": event.hex(), "fields": fields, "consents": consents})


def delivered(folder: Path, ids: Sequence[bytes]) -> list[bytes]:
    """The delivery's id of each event."""
    with installation(folder) as here:
        secrets = here.vault.secrets
        secret, key = secrets.processor(PROCESSOR), secrets.record
        return [delivery_id(secret, record_id(key, "www", "form", EventId(each))) for each in ids]


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        live = Live(data=Path(name) / "data", policy=POLICY)
        live.init()
        try:
            live.start()
            return list(_measured(live))
        finally:
            live.end()


def _measured(live: Live) -> Iterator[Figure]:
    watcher = Watcher(Kafka(live.run, live.run["processors"][PROCESSOR]["credentials_file"]))
    _sent(live, watcher, WARM, 50)
    for rate, count in RATES.items():
        waits = _sent(live, watcher, count, rate)
        for share, goal in ((0.5, 50), (0.99, 250)):
            yield Figure(
                of="endtoend",
                what=f"POST to delivery visible, p{share * 100:.0f} at {rate:,}/s",
                figure=percentile(waits, share) * 1000,
                unit="ms",
                goal=goal,
                at_most=True,
            )
    watcher.end()


def _sent(live: Live, watcher: Watcher, count: int, rate: int) -> list[float]:
    """Send so many forms at this rate; seconds from when each was due until its delivery was seen."""
    ids = [os.urandom(16) for _ in range(count)]
    names = delivered(live.data, ids)
    server = Server(port=int(live.run["urls"]["collector"].rstrip("/").rpartition(":")[2]))
    sent = uvloop.run(open_loop(server, forms(live.site_token(), ids), rate))
    assert set(sent.statuses) == {202}, sent.statuses
    seen = watcher.seen(count)
    assert set(names) <= set(seen), (
        f"{len(set(names) - set(seen))} of {count} never came, {len(seen)} were seen"
    )
    return [seen[name] - (sent.began + n / rate) for n, name in enumerate(names)]


if __name__ == "__main__":
    run(measure, __doc__)
