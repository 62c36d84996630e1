"""What tests/e2e/test_engine.py drives: a broker it may restart, topics, workers seen from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lapse.broker.connection import Credentials
from lapse.broker.embedded import EmbeddedKafka
from streams.scan import scan

REPOSITORY = Path(__file__).parents[2]


def until(what: Callable[[], bool], seconds: float = 30.0, why: Callable[[], str] = str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why() or "the condition did not come true"
        time.sleep(0.05)


@dataclass
class Worker:
    """One engine_worker process."""

    plan: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "worker.log"

    def start(self) -> Worker:
        """Run it."""
        file = self.folder / "plan.json"
        file.write_text(json.dumps(self.plan))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.engine_worker", str(file)],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def health(self) -> Mapping[str, Any]:
        """The last thing it said about itself."""
        try:
            lines = Path(self.plan["status"]).read_text().strip().splitlines()
        except FileNotFoundError:
            return {"state": "none", "assigned": [], "waiting_for": None}
        return (
            dict(json.loads(lines[-1])) if lines else {"state": "none", "assigned": [], "waiting_for": None}
        )

    def until(self, seconds: float = 30.0, **wanted: Any) -> Worker:
        """Wait until its health has these values."""
        until(
            lambda: all(self.health.get(name) == value for name, value in wanted.items()),
            seconds,
            lambda: f"{wanted} {self.tail()}",
        )
        return self

    def ready(self) -> Worker:
        """Wait until it has joined its group."""
        return self.until(state="running")

    def tail(self) -> str:
        """End of its log and its last health."""
        log = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        return f"{self.health} {log}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; returns its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def terminate(self, seconds: float = 30.0) -> int:
        """SIGTERM, then its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def close(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Lab:
    """Topics and workers on one embedded broker, seen with the super user's eyes."""

    def __init__(self, kafka: EmbeddedKafka, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.workers: list[Worker] = []
        self.conf = kafka.address.librdkafka(kafka.admin)
        self.admin = AdminClient(self.conf)

    def topic(self, name: str, partitions: int = 4) -> str:
        """Create a topic and wait until it is there."""
        config = {"message.timestamp.type": "LogAppendTime"}
        created = self.admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        created[name].result()
        until(lambda: name in self.admin.list_topics(timeout=10).topics)
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        self.admin.delete_topics([name])[name].result()
        until(lambda: name not in self.admin.list_topics(timeout=10).topics)

    def publish(
        self, topic: str, count: int, *, start: int = 0, partitions: int = 4, size: int = 100
    ) -> None:
        """Write `count` numbered records, round robin."""
        producer = Producer(self.conf | {"linger.ms": 5, "queue.buffering.max.messages": 500_000})
        for number in range(start, start + count):
            value = f"{number:08d}".encode().ljust(size, b"x")
            producer.produce(
                topic, value=value, key=b"k", partition=number % partitions, headers=[("h", b"1")]
            )
            producer.poll(0)
        assert producer.flush(60) == 0

    def put(self, topic: str, *values: bytes, partition: int = 0) -> None:
        """Write these values."""
        producer = Producer(self.conf)
        for value in values:
            producer.produce(topic, value=value, partition=partition)
        assert producer.flush(30) == 0

    def numbers(self, topic: str) -> Counter[int]:
        """How often each numbered record lies on a topic."""
        found: Counter[int] = Counter()
        for batch in scan(self.conf, [topic]):
            found.update(int(record.value[:8]) for record in batch.records if record.value)
        return found

    def origins(self, topic: str) -> list[tuple[str, int, str]]:
        """Source topic, offset and topic id of each copied record, per partition in order."""
        found = []
        for batch in scan(self.conf, [topic]):
            for record in batch.records:
                name, offset, topic_id = dict(record.headers)["origin"].decode().split("|")
                found.append((name, int(offset), topic_id))
        return found

    def committed(self, group: str, topic: str, partitions: int = 4) -> dict[int, int]:
        """The group's committed offset per partition, -1001 where there is none."""
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(partitions)])
        found = self.admin.list_consumer_group_offsets([asked])[group].result().topic_partitions
        return {tp.partition: tp.offset for tp in found}

    def worker(self, group: str, topics: list[str], out: str, **more: Any) -> Worker:
        """Start a worker."""
        folder = self.folder / f"{group}-{len(self.workers)}"
        folder.mkdir()
        login: Credentials = more.pop("login", self.kafka.admin)
        address = self.kafka.address
        access = {
            "bootstrap": address.bootstrap,
            "protocol": address.protocol,
            "mechanism": address.mechanism,
            "username": login.username,
            "password": login.password,
        }
        plan = {"access": access, "group": group, "topics": topics, "out": out, **more}
        plan |= {"workdir": str(folder), "status": str(folder / "status")}
        worker = Worker(plan, folder).start()
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.close()
