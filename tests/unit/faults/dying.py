"""A process that keeps events until it dies: `python -m tests.unit.faults.dying FOLDER POINTS AWAY`.

It is the collector's delivery on a real spool; Kafka is a file. It prints the number of every event it would
have answered for. With AWAY 1 Kafka takes nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lapse.collector import KafkaSettings, SpoolSettings
from lapse.collector.delivery import Delivery
from lapse.collector.framing import Spooled
from lapse.collector.spool import Spool
from lapse.faults import armed
from lapse.layout import Layout

EVENTS = 6


class FileKafka:
    """A producer whose broker is a file."""

    def __init__(self, path: Path, *, away: bool) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._away = away

    async def probe(self) -> bool:
        """Whether it is there."""
        return not self._away

    async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Append, or take nothing."""
        if self._away:
            return list(events)
        for event in events:
            os.write(self._file, event.event_id.hex().encode() + b"\n")
        return []

    async def close(self, seconds: float) -> None:
        """Nothing is buffered."""


async def keep(folder: Path, points: str, *, away: bool) -> None:
    """Store a few events one by one, then wait until the spool is drained, if Kafka is there."""
    crash = armed(points, Layout(folder))
    spool = Spool(SpoolSettings(folder=folder / "spool", keys=folder / "keys"), crash=crash)
    producer = FileKafka(folder / "kafka", away=away)
    settings = KafkaSettings(connection={}, probe_seconds=0.02)
    delivery = Delivery(producer, spool, settings, crash)
    await delivery.start()
    first = int.from_bytes(os.urandom(4), "big")
    for number in range(first, first + EVENTS):
        event = Spooled(topic="intake.form", event_id=number.to_bytes(16, "big"), value=b"canary", headers=[])
        await delivery.store([event])
        sys.stdout.write(json.dumps(event.event_id.hex()) + "\n")
        sys.stdout.flush()
    while not away and delivery.spooling:  # noqa: ASYNC110 - the property is all there is to look at
        await asyncio.sleep(0.01)
    await delivery.close(1)
    delivery.close_spool()


if __name__ == "__main__":
    asyncio.run(keep(Path(sys.argv[1]), sys.argv[2], away=sys.argv[3] == "1"))
