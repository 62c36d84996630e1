"""The collector's way to Kafka: a port, its twin in memory, and confluent-kafka behind it.

librdkafka acknowledges on its own thread; acknowledgements are collected there and handed to the event loop
by one `call_soon_threadsafe` per batch, because one per record costs more than the record.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Librdkafka

from lapse.collector.framing import Spooled
from lapse.collector.settings import KafkaSettings
from schemas.errors import Unavailable

_log = logging.getLogger(__name__)


class Producer(Protocol):
    """Puts events on their topics."""

    async def send(self, event: Spooled) -> None:
        """Return once the broker has acknowledged the event on all in-sync replicas.

        Raises `Unavailable` when it has not in time; the event may be there all the same.
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

    async def send(self, event: Spooled) -> None:
        """Keep the event, or say that the broker is away."""
        await asyncio.sleep(0)
        if self.away:
            raise _unacknowledged("broker away")
        self.sent.append(event)

    async def probe(self) -> bool:
        """Whether it takes events."""
        return not self.away

    async def close(self, seconds: float) -> None:
        """Nothing is ever under way."""


def _unacknowledged(why: str) -> Unavailable:
    return Unavailable(
        "unavailable", f"Kafka did not acknowledge: {why}", "", "wait until the broker is back"
    )


class KafkaProducer:
    """Idempotent, acks=all, Java's partitioner; built lazily on the loop that sends."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._settled: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._scheduled = False
        self._fatal = False
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._client = self._build()
        self._thread = threading.Thread(target=self._poll, name="kafka-acks", daemon=True)
        self._thread.start()

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

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._client.poll(0.1)
            if self._fatal:
                # A producer that lost its sequence never sends again; what it had fails and is spooled.
                self._client.purge()
                self._client.flush(1.0)
                self._client, self._fatal = self._build(), False

    async def send(self, event: Spooled) -> None:
        """Hand the event to librdkafka and wait for its acknowledgement."""
        future: asyncio.Future[None] = self._loop.create_future()
        try:
            self._client.produce(
                event.topic, event.value, headers=event.headers, on_delivery=partial(self._delivered, future)
            )
        except BufferError:
            raise _unacknowledged("its queue is full") from None
        except KafkaException as error:
            raise _unacknowledged(_name_of(error)) from None
        await asyncio.shield(future)

    def _delivered(self, future: "asyncio.Future[None]", error: KafkaError | None, _message: Message) -> None:
        self._settled.append((future, error))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._scheduled = False
        while self._settled:
            future, error = self._settled.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(_unacknowledged(error.name()))
                # A request that has gone away must not leave an unread error behind.
                future.exception()

    async def probe(self) -> bool:
        """Ask for the brokers, off the loop."""
        return await asyncio.to_thread(self._probe)

    def _probe(self) -> bool:
        try:
            return bool(self._client.list_topics(timeout=max(1.0, self._settings.probe_seconds)).brokers)
        except KafkaException:
            return False

    async def close(self, seconds: float) -> None:
        """Flush, give up what is left, and end the thread that polls."""
        await asyncio.to_thread(self._close, seconds)
        self._settle()

    def _close(self, seconds: float) -> None:
        if self._client.flush(seconds):
            self._client.purge()
            self._client.flush(1.0)
        self._stop.set()
        self._thread.join()


def _name_of(error: KafkaException) -> str:
    details: Sequence[Any] = error.args
    return str(details[0].name()) if details and isinstance(details[0], KafkaError) else "client error"
