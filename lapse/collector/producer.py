"""The collector's way to Kafka: a port, its twin in memory, and confluent-kafka behind it.

librdkafka's callbacks run where it is polled, and that is the event loop itself, by a timer while anything is
under way: a thread of its own would wait for the interpreter's lock behind every request (5 ms at worst), and
hand each acknowledgement over to the loop at a price above the record's.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as Librdkafka

from lapse.collector.framing import Spooled
from lapse.collector.settings import KafkaSettings

_log = logging.getLogger(__name__)
_BUSY_SECONDS = 0.001
"""How often acknowledgements are looked for while any is awaited: uvloop's shortest timer."""
_IDLE_SECONDS = 0.1
"""How often what the client has to say is heard otherwise."""
_PURGE_SECONDS = 1.0


class Producer(Protocol):
    """Puts events on their topics."""

    async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Return once the broker has acknowledged on all in-sync replicas, or has not in time.

        What is returned, in order, was not acknowledged; it may be there all the same.
        """

    async def probe(self) -> bool:
        """Whether the broker answers right now."""

    async def close(self, seconds: float) -> None:
        """Wait at most so long for what is under way, then let go."""


class MemoryProducer:
    """Kafka's twin in memory: what was sent stands in `sent`; while `away`, nothing is taken."""

    def __init__(self) -> None:
        self.sent: list[Spooled] = []
        self.away = False

    async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Keep the events, or none while the broker is away."""
        await asyncio.sleep(0)
        if self.away:
            return list(events)
        self.sent.extend(events)
        return []

    async def probe(self) -> bool:
        """Whether it takes events."""
        return not self.away

    async def close(self, seconds: float) -> None:
        """Nothing is ever under way."""


class _Flight:
    """Events that were sent together, and the future of whoever waits for all of them."""

    __slots__ = ("_left", "landed", "lost")

    def __init__(self, landed: asyncio.Future[None], count: int) -> None:
        self.landed = landed
        self.lost: list[Spooled] = []
        self._left = count

    def land(self, event: Spooled, error: object, _message: object = None) -> None:
        """Librdkafka's word on one of them; `error` is None for an acknowledgement."""
        if error is not None:
            self.lost.append(event)
        self._left -= 1
        # Whoever waited may be gone: what was sent stays sent.
        if not self._left and not self.landed.done():
            self.landed.set_result(None)


class KafkaProducer:
    """Idempotent, acks=all, Java's partitioner; made on the loop that sends."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._fatal = False
        self._deserted = False
        """Whether no broker was left, so that nobody need wait to learn that theirs takes nothing."""
        self._client = self._build()
        self._leaving: list[Any] = []
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._timer = self._loop.call_later(_IDLE_SECONDS, self._look)

    def _build(self) -> Any:
        milliseconds = round(self._settings.ack_seconds * 1000)
        defaults: dict[str, Any] = {
            "client.id": "lapse-collector",
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 1,
            # librdkafka's own default disagrees with Java, aiokafka and Faust on three keys of four.
            "partitioner": "murmur2_random",
            "message.timeout.ms": milliseconds,
            "request.timeout.ms": milliseconds,
            "socket.connection.setup.timeout.ms": max(1000, milliseconds),
            "reconnect.backoff.max.ms": 1000,
            "allow.auto.create.topics": False,
            "log.connection.close": False,
            "error_cb": self._on_error,
            "logger": _log,
        }
        return Librdkafka({**defaults, **self._settings.connection})

    def _on_error(self, error: KafkaError) -> None:
        _log.warning("kafka client error", extra={"kafka_error": error.name()})
        if error.fatal():
            self._fatal = True
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 librdkafka's own codes are named so
            self._deserted = True

    # ---- polling -------------------------------------------------------------------------------------------
    def _look(self) -> None:
        again = _IDLE_SECONDS
        try:
            self._hear()
            again = _IDLE_SECONDS if self._quiet.is_set() else _BUSY_SECONDS
        finally:
            # Whatever went wrong: without another look nobody would ever hear of what they sent.
            self._timer = self._loop.call_later(again, self._look)

    def _hear(self) -> None:
        self._client.poll(0)
        if self._fatal:
            self._replace()
        if self._leaving:
            self._bury()
        if not self._leaving and not len(self._client):
            self._quiet.set()

    def _replace(self) -> None:
        """A producer that lost its sequence never sends again; what it had fails and is spooled.

        Where no new one can be made (threads or files have run out) the old one stays, which refuses whatever
        it is given, and the next look tries again.
        """
        self._client.purge()
        try:
            client = self._build()
        except KafkaException as error:
            _log.error("no new kafka client", extra={"kafka_error": error.args[0].name()})
            return
        self._leaving.append(self._client)
        self._client, self._fatal = client, False

    def _bury(self) -> None:
        """Hear the last words of the clients that were replaced: they say nothing of the present one."""
        before = self._fatal, self._deserted
        for client in self._leaving:
            client.poll(0)
        self._leaving = [client for client in self._leaving if len(client)]
        self._fatal, self._deserted = before

    # ---- sending -------------------------------------------------------------------------------------------
    async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Hand the events to librdkafka and wait for their acknowledgements.

        Once no broker is left they come back at once, until a probe finds one.
        """
        if not events or self._deserted:
            return list(events)
        flight = _Flight(self._loop.create_future(), len(events))
        produce = self._client.produce
        for event in events:
            told = partial(flight.land, event)
            try:
                produce(event.topic, event.value, headers=event.headers, on_delivery=told)
            except (BufferError, KafkaException) as error:
                # Its queue is full, or it is broken: what it says of a record that it took comes later.
                told(error)
        if self._quiet.is_set():
            self._quiet.clear()
            self._timer.cancel()
            self._timer = self._loop.call_later(_BUSY_SECONDS, self._look)
        await flight.landed
        if len(flight.lost) < 2:
            return flight.lost
        lost = set(map(id, flight.lost))
        return [event for event in events if id(event) in lost]

    async def probe(self) -> bool:
        """Ask for the brokers, off the loop."""
        found = await asyncio.to_thread(self._probe)
        if found:
            # What the client still has to say of brokers that were gone is older than their answer.
            self._client.poll(0)
            self._deserted = False
        return found

    def _probe(self) -> bool:
        try:
            return bool(self._client.list_topics(timeout=max(1.0, self._settings.probe_seconds)).brokers)
        except KafkaException:
            return False

    async def close(self, seconds: float) -> None:
        """Wait for what is under way, give up what is left, and poll no more."""
        if not await self._landed(seconds):
            self._client.purge()
            await self._landed(_PURGE_SECONDS)
        self._timer.cancel()

    async def _landed(self, seconds: float) -> bool:
        """Whether nothing is under way any more, by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        return self._quiet.is_set()
