"""What the collector is told of its events: acknowledged, lost, and never nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from lapse.collector import KafkaSettings
from lapse.collector import producer as module
from lapse.collector.framing import Spooled
from lapse.collector.producer import KafkaProducer

SETTINGS = KafkaSettings(connection={})
LOST = KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001 librdkafka's own codes are named so
FATAL = KafkaError(KafkaError._FATAL, "out of sequence", fatal=True)  # noqa: SLF001 as above
DESERTED = KafkaError(KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 as above
EXHAUSTED = KafkaError(KafkaError._CRIT_SYS_RESOURCE)  # noqa: SLF001 as above


def event(number: int) -> Spooled:
    """An event whose id is its number."""
    return Spooled(topic="intake.form", event_id=number.to_bytes(16, "big"), value=b"", headers=[])


class Broker:
    """What every client made in a test shares: how it acknowledges, and what goes wrong."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.answers: dict[int, KafkaError | None] = {}
        """Per event number: an error, None for an acknowledgement; silence until there is one."""
        self.raised: list[Exception] = []
        """What the next polls raise."""
        self.brokers = 1
        """How many answer a probe."""
        self.unmade = 0
        """How many clients cannot be made from now on."""
        self.polls = 0
        self.on_poll: Callable[[], None] = lambda: None
        self.on_made: Callable[[], None] = lambda: None


class Client:
    """Librdkafka's producer as far as it is used: callbacks run where it is polled."""

    def __init__(self, broker: Broker, settings: dict[str, Any]) -> None:
        if broker.unmade:
            broker.unmade -= 1
            raise KafkaException(EXHAUSTED)
        self.broker, self.settings, self.fatal, self.purged = broker, settings, False, False
        self.waiting: list[tuple[int, Callable[..., None]]] = []
        broker.clients.append(self)
        broker.on_made()

    def produce(self, _topic: str, _value: bytes, *, headers: Any, on_delivery: Callable[..., None]) -> None:
        """Take an event, or refuse it as a broken client does."""
        assert headers == []
        if self.fatal:
            raise KafkaException(FATAL)
        self.waiting.append((int.from_bytes(on_delivery.args[0].event_id, "big"), on_delivery))  # type: ignore[attr-defined]  # a partial

    def poll(self, _seconds: float) -> None:
        """Say what is known."""
        self.broker.polls += 1
        self.broker.on_poll()
        if self.broker.raised:
            raise self.broker.raised.pop(0)
        for number, told in list(self.waiting):
            if self.purged or number in self.broker.answers:
                self.waiting.remove((number, told))
                told(LOST if self.purged else self.broker.answers[number], None)

    def break_down(self) -> None:
        """Lose the sequence of its messages, once."""
        if not self.fatal:
            self.fatal = True
            self.settings["error_cb"](FATAL)

    def desert(self) -> None:
        """Say that the last broker has gone, whenever it is asked."""
        self.settings["error_cb"](DESERTED)

    def list_topics(self, **_: float) -> SimpleNamespace:
        """Answer for the brokers that are there."""
        return SimpleNamespace(brokers=range(self.broker.brokers))

    def purge(self) -> None:
        """Give up what waits."""
        self.purged = True

    def __len__(self) -> int:
        return len(self.waiting)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker behind every client."""
    found = Broker()
    monkeypatch.setattr(module, "Librdkafka", lambda settings: Client(found, settings))
    return found


def running(steps: Callable[[KafkaProducer], Any]) -> None:
    """Run steps against a producer, half a minute at most."""

    async def run() -> None:
        producer = KafkaProducer(SETTINGS)
        async with asyncio.timeout(30):
            await steps(producer)
        await producer.close(0.0)

    asyncio.run(run())


def test_nothing_is_stored_before_it_is_acknowledged(broker: Broker) -> None:
    """However often the client is heard, the sender waits for the last event's word."""

    async def steps(producer: KafkaProducer) -> None:
        sending = asyncio.create_task(producer.send([event(1), event(2)]))
        broker.answers[2] = None

        def look() -> None:
            assert not sending.done()
            if broker.polls == 5:
                broker.answers[1] = None

        broker.on_poll = look
        assert await sending == []
        assert broker.polls >= 5

    running(steps)


def test_what_was_lost_comes_back_in_order(broker: Broker) -> None:
    """In whatever order the client says so."""

    async def steps(producer: KafkaProducer) -> None:
        events = [event(n) for n in range(4)]
        sending = asyncio.create_task(producer.send(events))
        broker.answers = {3: LOST, 1: None}

        def look() -> None:
            if broker.polls == 3:
                broker.answers |= {0: LOST, 2: None}

        broker.on_poll = look
        assert await sending == [events[0], events[3]]

    running(steps)


def test_a_sender_that_gave_up_costs_no_other_its_answer(broker: Broker) -> None:
    """What a cancelled request sent is acknowledged to nobody; the next request hears of its own."""

    async def steps(producer: KafkaProducer) -> None:
        gone = asyncio.create_task(producer.send([event(1)]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        broker.answers = {1: None, 2: None}
        assert await producer.send([event(2)]) == []

    running(steps)


def test_a_look_that_fails_is_followed_by_another(broker: Broker) -> None:
    """An error out of a poll must not leave every sender waiting for ever."""

    async def steps(producer: KafkaProducer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        broker.raised = [RuntimeError("once"), RuntimeError("twice")]
        broker.answers[1] = None
        assert await producer.send([event(1)]) == []

    running(steps)


def test_a_broken_client_is_replaced(broker: Broker) -> None:
    """What it had is handed back, and the next one sends."""

    async def steps(producer: KafkaProducer) -> None:
        broker.on_poll = broker.clients[0].break_down
        assert await producer.send([event(1)]) == [event(1)]
        broker.answers[2] = None
        assert await producer.send([event(2)]) == []
        assert len(broker.clients) == 2

    running(steps)


def test_a_broken_client_that_cannot_be_replaced_yet_is_replaced_later(broker: Broker) -> None:
    """Threads or files that have run out cost no sender its answer: events are handed back meanwhile."""

    async def steps(producer: KafkaProducer) -> None:
        broker.unmade, replaced = 3, asyncio.Event()
        broker.on_made = replaced.set
        broker.on_poll = broker.clients[0].break_down
        assert await producer.send([event(1)]) == [event(1)]
        assert await producer.send([event(2)]) == [event(2)]
        await replaced.wait()
        broker.answers[3] = None
        assert await producer.send([event(3)]) == []
        assert len(broker.clients) == 2 and broker.unmade == 0

    running(steps)


def test_without_any_broker_nobody_waits_until_a_probe_finds_one(broker: Broker) -> None:
    """What was under way still waits for its word; what comes later is handed back."""

    async def steps(producer: KafkaProducer) -> None:
        looked = asyncio.Event()
        broker.on_poll = looked.set
        early = asyncio.create_task(producer.send([event(1)]))
        await looked.wait()
        broker.clients[0].desert()
        broker.brokers = 0
        assert await producer.send([event(2), event(3)]) == [event(2), event(3)]
        assert not await producer.probe()
        assert await producer.send([event(4)]) == [event(4)]
        assert not early.done()
        broker.brokers, broker.answers = 1, {1: None, 5: None}
        assert await producer.probe()
        assert await producer.send([event(5)]) == [] == await early

    running(steps)


def test_a_client_that_was_replaced_says_nothing_of_the_one_in_its_place(broker: Broker) -> None:
    """Its last word may be that its brokers are gone, when the new one has long found them again."""

    async def steps(producer: KafkaProducer) -> None:
        old = broker.clients[0]
        broker.on_poll = old.break_down
        assert await producer.send([event(1)]) == [event(1)]
        broker.on_poll = lambda: None
        producer._leaving.append(old)  # noqa: SLF001 - a client with something left to say
        old.poll = lambda _seconds: old.desert()  # type: ignore[method-assign]  # its last word
        broker.answers = {2: None, 3: None}
        assert await producer.send([event(2)]) == []
        assert await producer.send([event(3)]) == []

    running(steps)
