"""The engine keeps the contract of the ports on a real broker: the suite the in-memory twin passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.engine import Engine, KafkaAccess, open_sink
from streams.ports import Handle, Outbound, Sink
from streams.scan import Scan, scan
from tests.e2e.engine_support import until as wait_until
from tests.support.broker import Broker
from tests.unit.engine.contract import Bench, PortsContract

pytestmark = pytest.mark.e2e


class KafkaBench:
    """The contract's bench on a broker."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._conf = broker.address.librdkafka(broker.admin)
        self._admin = AdminClient(self._conf)
        self._names: Iterator[str] = (f"ports-{folder.name}-{number}" for number in count())

    def topic(self, partitions: int = 1) -> str:
        """See `Bench`."""
        name = next(self._names)
        config = {"message.timestamp.type": "LogAppendTime"}
        self._admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result()
        wait_until(lambda: name in self._admin.list_topics(timeout=10).topics)
        return name

    def recreate(self, topic: str) -> None:
        """See `Bench`."""
        self._admin.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in self._admin.list_topics(timeout=10).topics)
        self._names, rest = iter([topic]), self._names
        self.topic()
        self._names = rest

    def append(self, *records: Outbound) -> None:
        """See `Bench`."""
        producer = Producer(self._conf)
        for record in records:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
        assert producer.flush(30) == 0

    def delete_records(self, topic: str, before: int) -> None:
        """See `Bench`."""
        asked = TopicPartition(topic, 0, before)
        self._admin.delete_records([asked])[asked].result()

    def clock(self) -> int:
        """See `Bench`."""
        time.sleep(0.01)
        now = time.time_ns() // 1_000_000
        time.sleep(0.01)
        return now

    @property
    def scan(self) -> Scan:
        """See `Bench`."""
        return partial(scan, self._conf)

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[Sink]:
        """See `Bench`."""
        async with open_sink(self._access()) as sink:
            yield sink

    async def run(self, group: str, topics: Sequence[str], handle: Handle, until: Callable[[], bool]) -> None:
        """See `Bench`."""
        engine = self._engine(f"{group}.{self._folder.name}")
        engine.agent(*topics)(handle)
        async with self._running(engine), asyncio.timeout(40):
            while not until():  # noqa: ASYNC110 the condition is the test's own
                await asyncio.sleep(0.02)

    def _access(self) -> KafkaAccess:
        address, login = self._broker.address, self._broker.admin
        return KafkaAccess(
            bootstrap=address.bootstrap,
            protocol=address.protocol,
            username=login.username if login else None,
            password=login.password if login else None,
        )

    def _engine(self, group: str) -> Engine:
        return Engine(
            group=group, access=self._access(), workdir=self._folder, now=lambda: time.time_ns() // 1000
        )

    @asynccontextmanager
    async def _running(self, engine: Engine) -> AsyncIterator[Engine]:
        engine.app.finalize()
        await engine.app.start()
        try:
            yield engine
        finally:
            await engine.app.stop()
            engine.guard.disarm()


class TestKafkaPorts(PortsContract):
    """The contract on Kafka."""

    @pytest.fixture
    def bench(self, broker: Broker, tmp_path: Path) -> Iterator[Bench]:
        """Give topics of this test's own on the session's broker."""
        yield KafkaBench(broker, tmp_path)
