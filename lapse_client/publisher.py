"""The publisher: the same call over HTTP, Kafka or memory, from any thread, task or forked worker.

`publish` returns at once with the event's id; the event is durable when its callback hears so. An event keeps
its id through every retry, so a retry is never a second event.
"""

import asyncio
import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FrameType
from typing import Self, TypedDict, Unpack

import msgspec

from lapse_client.context import current
from lapse_client.errors import Invalid
from lapse_client.outbox import Callback, Outbox, Rules
from lapse_client.policy import Policy
from lapse_client.records import MICROS, CookieObserved, FormSubmitted, Publishable
from lapse_client.registry import Registry
from lapse_client.transport import MemoryTransport, Transport

_CLOSE_SECONDS = 5.0


class KafkaOptions(TypedDict, total=False):
    """What a publisher over Kafka may be given besides the policy."""

    rules: Rules | None
    on_delivery: Callback | None
    flush_on_sigterm: bool


class Options(KafkaOptions, total=False):
    """What any other publisher may be given."""

    policy: Policy | None


class Publisher:
    """Publishes events of one site."""

    def __init__(
        self,
        transport: Callable[[], Transport],
        *,
        site: str,
        policy: Policy | None = None,
        rules: Rules | None = None,
        on_delivery: Callback | None = None,
        flush_on_sigterm: bool = True,
    ) -> None:
        """`transport` connects, lazily and once per process; `policy` lets unknown names fail at once."""
        self._site = site
        self._policy = policy
        self._on_delivery = on_delivery
        self._rules = rules or Rules()
        self._outbox = Outbox(transport, self._rules)
        if flush_on_sigterm:
            _flush_on_sigterm(self)

    @classmethod
    def over_http(cls, url: str, token: str, *, site: str, **options: Unpack[Options]) -> "Publisher":
        """Publish through a collector with the site's bearer token; needs the extra `http`."""
        from lapse_client.http import HttpTransport

        return cls(partial(HttpTransport, url, token), site=site, **options)

    @classmethod
    def over_kafka(
        cls,
        settings: Mapping[str, str],
        *,
        site: str,
        policy: Policy,
        registry: Registry | None = None,
        **options: Unpack[KafkaOptions],
    ) -> "Publisher":
        """Publish straight to Kafka with librdkafka's settings; needs the extra `kafka`.

        The policy says which fields of a form identify its sender: here nobody else reads that off. Where
        Lapse uses a schema registry, name it: its ids are others than the catalogue's.
        """
        from lapse_client.kafka import KafkaTransport

        return cls(partial(KafkaTransport, settings, registry), site=site, policy=policy, **options)

    @classmethod
    def in_memory(cls, *, site: str, **options: Unpack[Options]) -> "tuple[Publisher, MemoryTransport]":
        """A publisher for your own tests, and the place where its events end up after `flush`."""
        kept = MemoryTransport()
        return cls(lambda: kept, site=site, **(options | {"flush_on_sigterm": False})), kept

    def publish(self, event: Publishable, *, on_delivery: Callback | None = None) -> str:
        """Queue an event and return its id in hex; Invalid or QueueFull is raised here and now."""
        event = self._completed(event)
        self._outbox.put(event, on_delivery or self._on_delivery)
        return event.event_id.hex()

    def publish_many(
        self, events: Iterable[Publishable], *, on_delivery: Callback | None = None
    ) -> list[str]:
        """Queue events; all are checked before the first is queued."""
        checked = [self._completed(event) for event in events]
        for event in checked:
            self._outbox.put(event, on_delivery or self._on_delivery)
        return [event.event_id.hex() for event in checked]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything published so far is settled; false if the time (seconds) was too short."""
        return self._outbox.flush(timeout)

    def close(self, timeout: float | None = _CLOSE_SECONDS) -> bool:
        """Flush and take no more; false if something could not be sent in time."""
        return self._outbox.close(timeout)

    @property
    def blocks(self) -> bool:
        """Whether `publish` waits where the queue is full."""
        return self._rules.when_full == "block"

    def __len__(self) -> int:
        return len(self._outbox)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _completed(self, event: Publishable) -> Publishable:
        """The event with its site, and what the visit being served knows; Invalid where it cannot be."""
        if event.site not in {"", self._site}:
            raise Invalid("another site's event", code="unknown_source", where="site")
        if len(event.event_id) != 16 or event.collected_at not in MICROS:
            raise Invalid("an id is 16 bytes, a time of the years 1 to 9999", code="bad_argument")
        event = msgspec.structs.replace(event, site=self._site)
        seen = current()
        if isinstance(event, FormSubmitted | CookieObserved):
            signals = list(dict.fromkeys((*event.signals, *seen.signals)))
            event = msgspec.structs.replace(event, signals=signals)
        if isinstance(event, CookieObserved):
            event = msgspec.structs.replace(
                event,
                cookie_id=event.cookie_id or seen.cookie_id,
                ip=event.ip or seen.ip,
                user_agent=event.user_agent or seen.user_agent,
            )
        if self._policy is not None:
            self._policy.check(event)
            if isinstance(event, FormSubmitted) and not event.identifiers:
                event = msgspec.structs.replace(event, identifiers=self._policy.identifiers(event))
        return event


class AsyncPublisher:
    """The same publisher for asyncio: queueing and waiting never block the loop."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, event: Publishable, *, on_delivery: Callback | None = None) -> str:
        """Queue an event and return its id in hex; waits off the loop where a full queue blocks."""
        if not self._publisher.blocks:
            return self._publisher.publish(event, on_delivery=on_delivery)
        return await asyncio.to_thread(self._publisher.publish, event, on_delivery=on_delivery)

    async def publish_many(self, events: Iterable[Publishable]) -> list[str]:
        """Queue events; all are checked before the first is queued."""
        if not self._publisher.blocks:
            return self._publisher.publish_many(events)
        return await asyncio.to_thread(self._publisher.publish_many, list(events))

    async def deliver(self, event: Publishable) -> str:
        """Return the event's id once it is durable; raises Undelivered where it is not."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def tell(_event: Publishable, error: Exception | None) -> None:
            # The loop may be gone when a publisher is closed late.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, settled, error)

        event_id = await self.publish(event, on_delivery=tell)
        await settled
        return event_id

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the publisher's own deadline
        """Wait until everything published so far is settled; false if the time (seconds) was too short."""
        return await asyncio.to_thread(self._publisher.flush, timeout)

    async def close(self) -> bool:
        """Flush and take no more."""
        return await asyncio.to_thread(self._publisher.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _settle(settled: "asyncio.Future[None]", error: Exception | None) -> None:
    if settled.done():
        return
    if error is None:
        settled.set_result(None)
    else:
        settled.set_exception(error)


_on_sigterm: "weakref.WeakSet[Publisher]" = weakref.WeakSet()


def _flush_on_sigterm(publisher: Publisher) -> None:
    """Flush before SIGTERM ends a process without a handler of its own; others exit in order anyway."""
    _on_sigterm.add(publisher)
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, _frame: FrameType | None) -> None:
    for publisher in list(_on_sigterm):
        publisher.close()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
