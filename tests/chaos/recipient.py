"""A processor's own program meanwhile: reads its topic, opens what comes, and remembers what ever opened."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import threading
import urllib.error
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, TopicPartition

from tests.chaos.book import Book
from tests.e2e.live.system import MARK, System
from tests.e2e.live.wire import Record, unseal
from tests.e2e.live.wire import asked as in_words

SAMPLE = 120
"""Deliveries asked about at a time."""
AWAY = (OSError, urllib.error.URLError, KafkaException, json.JSONDecodeError)
"""What an outsider sees while the system is not there."""


@dataclass(slots=True)
class Recipient:
    """One pull recipient, in a thread of its own."""

    name: str
    system: System
    book: Book
    dice: random.Random
    pause: float = 1.5
    known: list[Record] = field(default_factory=list)
    opened: set[bytes] = field(default_factory=set)
    asked: int = 0
    asked_suspended: int = 0
    suspended: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _places: dict[int, int] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; raises what went wrong in the thread."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(120)
        assert not self._thread.is_alive(), f"{self.name} does not end"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self.stopping.wait(self.pause):
                self.glance()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
            self._failure = error

    def glance(self) -> None:
        """Read what is new and ask about some of it and some of the old."""
        with self._lock, contextlib.suppress(*AWAY):
            fresh = self._fresh()
            self.known += fresh
            some = [*fresh[-SAMPLE // 2 :], *self.dice.sample(self.known, min(SAMPLE // 2, len(self.known)))]
            if some:
                self._ask(some)

    def _ask(self, deliveries: list[Record]) -> None:
        before = self.suspended.is_set()
        keys = self.system.keys(self.name)
        body = json.dumps({"deliveries": [in_words(d) for d in deliveries]}).encode()
        status, answer = keys.post("/v1/keys", body)
        if status != 200:
            if status not in (429, 503):
                self.book.violate(f"the key endpoint answered {self.name} {status}")
            return
        self.asked += len(deliveries)
        barred = before and self.suspended.is_set()
        self.asked_suspended += len(deliveries) if barred else 0
        for delivery, result in zip(deliveries, answer["results"], strict=True):
            for part in result["compartments"]:
                if "key" in part:
                    if barred:
                        self.book.violate(f"16: {self.name} is suspended and opens")
                    self._read(delivery, part)

    def _read(self, delivery: Record, part: Record) -> None:
        clear = unseal(delivery, part["n"], base64.b64decode(part["key"]))
        self.opened.add(delivery["delivery_id"])
        if MARK.encode() not in clear and b"+49" not in clear and b'"country"' not in clear:
            self.book.violate(f"{self.name} opened something nobody sent")

    def _fresh(self) -> list[Record]:
        kafka = self.system.kafka(self.name)
        consumer = kafka.consumer(kafka.group)
        topic, found = f"processor.{self.name}", []
        try:
            numbers = consumer.list_topics(topic, 5.0).topics[topic].partitions
            consumer.assign([TopicPartition(topic, n, self._places.get(n, 0)) for n in numbers])
            for message in consumer.consume(2000, 1.0):
                if message.error() is None:
                    self._places[message.partition()] = message.offset() + 1
                    name, record = kafka.schemas.decode(message.value())
                    if name == "RecordDelivered":
                        found.append(record)
        finally:
            consumer.close()
        return found
