"""The embedded Kafka under load and SIGKILL, for many minutes (`LAPSE_SOAK_MINUTES`, default 10)."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from lapse.broker.admin import Admin
from lapse.broker.embedded import EmbeddedKafka
from schemas.topics import TopicPlan
from tests.support.broker import kill, new_embedded

pytestmark = pytest.mark.soak

TOPIC, PARTITIONS = "soak", 4
PLAN = TopicPlan(name=TOPIC, partitions=PARTITIONS, config={"segment.ms": "10000"}, holds="numbers")


class Writer(threading.Thread):
    """Writes ascending numbers, about 500 a second, until told to stop; remembers which were acknowledged."""

    def __init__(self, kafka: EmbeddedKafka) -> None:
        super().__init__(daemon=True)
        settings = {"enable.idempotence": "true", "acks": "all", "message.timeout.ms": "120000"}
        self._producer = Producer(kafka.address.librdkafka(kafka.admin) | settings)
        self._ended = threading.Event()
        self.acknowledged: set[int] = set()
        self.lost: list[str] = []

    def run(self) -> None:
        """Produce, then wait for the last acknowledgement."""
        number = 0
        while not self._ended.wait(0.1):
            for value in range(number, number + 50):
                place = value % PARTITIONS
                self._producer.produce(TOPIC, str(value), partition=place, on_delivery=self._done)
            number += 50
            self._producer.poll(0)
        self._producer.flush(120)

    def _done(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged.add(int(message.value() or b"-1"))
        else:
            self.lost.append(error.name())

    def end(self) -> None:
        """Stop writing and return when everything sent is settled."""
        self._ended.set()
        self.join(150)
        assert not self.is_alive()


@pytest.mark.timeout(0)
def test_no_acknowledged_record_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    """Killed again and again under load, the broker keeps every acknowledged record, once, in order."""
    minutes = float(os.environ.get("LAPSE_SOAK_MINUTES", "10"))
    dice, deadline, kills = random.Random(7), time.monotonic() + 60 * minutes, 0
    with new_embedded(tmp_path / "broker") as kafka:
        with Admin(kafka.address, kafka.admin) as admin:
            admin.create_topics([PLAN])
        writer = Writer(kafka)
        writer.start()
        while time.monotonic() < deadline:
            time.sleep(dice.uniform(2, 15))
            kill(kafka)
            kafka.start()
            kills += 1
        writer.end()
        assert kills
        assert writer.lost == []
        found = [read(kafka, partition) for partition in range(PARTITIONS)]
    for values in found:
        assert values == sorted(set(values))
    assert {value for values in found for value in values} == writer.acknowledged


def read(kafka: EmbeddedKafka, partition: int) -> list[int]:
    """Return every number in a partition, in order."""
    settings = {"group.id": "soak", "enable.auto.commit": "false"}
    consumer = Consumer(kafka.address.librdkafka(kafka.admin) | settings)
    try:
        consumer.assign([TopicPartition(TOPIC, partition, 0)])
        end = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=30)[1]
        values: list[int] = []
        while len(values) < end:
            messages = consumer.consume(1000, timeout=10)
            assert messages, f"{len(values)} of {end} came"
            values += [int(m.value() or b"-1") for m in messages if not m.error()]
        return values
    finally:
        consumer.close()
