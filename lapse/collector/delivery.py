"""Durable before answered: to Kafka while it is well, else to the spool, drained in order afterwards."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Literal

from lapse.collector import metrics
from lapse.collector.framing import Spooled
from lapse.collector.producer import Producer
from lapse.collector.settings import KafkaSettings
from lapse.collector.spool import Spool
from lapse.collector_faults import DRAINED, SENT
from schemas.errors import Unavailable
from vault.faults import Crash, never

_log = logging.getLogger(__name__)
_WINDOW = 500
Stored = Literal["kafka", "spool"]


class Delivery:
    """Keeps events: returns when Kafka has acknowledged or the disk has synced, and drains the spool.

    While anything is spooled, new events queue up behind it: Kafka gets them in the order of acceptance.
    """

    def __init__(
        self, producer: Producer, spool: Spool, settings: KafkaSettings, crash: Crash = never
    ) -> None:
        self._crash = crash
        self._producer = producer
        self._spool = spool
        self._settings = settings
        self._direct = False
        self._well = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def ready(self) -> bool:
        """Whether an event would find a place: Kafka is well or the spool has room."""
        watching = self._task is not None and not self._task.done()
        return watching and not self._closing and (self._well or self._spool.has_room)

    @property
    def spooling(self) -> bool:
        """Whether events go to the spool, or some still lie there."""
        return not self._direct

    async def start(self) -> None:
        """Open the spool, see whether Kafka is there, and begin to watch it."""
        self._spool.open()
        self._mend(await self._producer.probe())
        self._task = asyncio.create_task(self._watch(), name="delivery")

    async def close(self, seconds: float) -> None:
        """Stop draining, wait for what is under way, close the spool with what it holds."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._producer.close(seconds)

    def close_spool(self) -> None:
        """Last of all, when whoever failed to reach Kafka has spooled."""
        self._spool.close()

    # ---- storing -------------------------------------------------------------------------------------------
    async def store(self, events: Sequence[Spooled]) -> Stored:
        """Return where the events are durable, all in one place or both; raises `Unavailable` if nowhere."""
        began = time.perf_counter()
        left: Sequence[Spooled] = events
        if self._direct:
            left = await self._producer.send(events)
            if left:
                self._fail()
            else:
                self._crash(SENT)
        stored: Stored = await self._keep(left) if left else "kafka"
        metrics.store_seconds(stored).observe(time.perf_counter() - began)
        for event in events:
            metrics.accepted(event.topic, stored).inc()
        return stored

    async def _keep(self, events: Sequence[Spooled]) -> Stored:
        """Spool what Kafka has not taken."""
        try:
            await self._spool.append(events)
        except Unavailable:
            # A full spool behind a broker that is back: order gives way to keeping the event.
            if not self._well or await self._producer.send(events):
                raise
            return "kafka"
        self._wake.set()
        return "spool"

    # ---- watching and draining -----------------------------------------------------------------------------
    def _fail(self) -> None:
        if self._direct:
            _log.warning("kafka is unwell: spooling")
        self._direct = self._well = False
        metrics.KAFKA_WELL.set(0)
        self._wake.set()

    def _mend(self, well: bool) -> None:
        self._well = well
        # Both sides of this test run on the loop: no event can slip in between.
        self._direct = well and self._spool.empty
        metrics.KAFKA_WELL.set(int(self._direct))

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            if not self._direct:
                await self._recover()
            if self._direct:
                await self._wake.wait()

    async def _recover(self) -> None:
        """Ask whether Kafka is back, and if so drain until nothing is spooled."""
        self._mend(await self._producer.probe())
        while self._well and not self._direct:
            try:
                if not await self._drain_oldest():
                    self._well = False
            except OSError as error:
                _log.error("a spool segment cannot be read", extra={"errno": error.errno})
                self._well = False
            self._mend(self._well)
        if not self._direct:
            await asyncio.sleep(self._settings.probe_seconds)

    async def _drain_oldest(self) -> bool:
        """Bring one segment to Kafka and destroy it; false when Kafka failed on the way."""
        number = await self._spool.oldest()
        if number is None:
            return True
        held = await self._spool.read(number)
        for start in range(0, len(held.events), _WINDOW):
            if await self._producer.send(held.events[start : start + _WINDOW]):
                return False
        if held.lost:
            _log.error(
                "a damaged spool segment has cost events", extra={"segment": number, "lost": held.lost}
            )
            metrics.SPOOL_DAMAGED.inc(held.lost)
        metrics.SPOOL_DRAINED.inc(len(held.events))
        self._crash(DRAINED)
        await self._spool.destroy(number)
        return True
