"""The collector on a real Kafka that goes away and comes back, and is killed: nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from lapse.broker.admin import Admin
from lapse.broker.connection import Credentials
from lapse.broker.embedded import EmbeddedKafka
from lapse.broker.principals import everyone
from lapse.collector.summary import summary
from lapse.runtime import free_ports
from lapse_client import (
    Consent,
    ConsentStated,
    CookieObserved,
    Identifier,
    Policy,
    Publisher,
    Rules,
    Undelivered,
)
from lapse_client import FormSubmitted as SentForm
from schemas import codec
from schemas.models import EmailOpened, FormSubmitted
from schemas.policy import compile_plan, load
from schemas.times import DAY
from schemas.topics import plan_topics
from tests.support.broker import new_embedded
from vault.tokens import PixelKeys, mint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
REPOSITORY = Path(__file__).parents[2]
COLLECTOR = Credentials(username="collector", password="password-of-collector")
KEYS = PixelKeys.generate(os.urandom)
CANARY = "canary-5d1e@example.org"
PARTITIONS = 4


def until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


@pytest.fixture
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker of this test's own, closed to all but its users; the test may stop and start it."""
    with new_embedded(tmp_path_factory.mktemp("broker")) as running:
        with Admin(running.address, running.admin) as admin:
            admin.create_topics(plan_topics({"short": 3_600_000}, (), partitions=PARTITIONS))
            admin.put_users([COLLECTOR])
            rights = everyone(())
            assert admin.apply_rights({"collector": rights["collector"]}).supported
        yield running


@dataclass
class Process:
    """A collector process and a client that does not mind its absence."""

    folder: Path
    kafka: dict[str, str]
    port: int = field(default_factory=lambda: int(free_ports("127.0.0.1", 1)[0]))
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """What it wrote on stderr."""
        return self.folder / "collector.log"

    def start(self) -> None:
        """Run it and return when it answers requests."""
        self.folder.mkdir(parents=True, exist_ok=True)
        given = self.folder / "settings.json"
        document = {
            "folder": str(self.folder),
            "port": self.port,
            "kafka": self.kafka,
            "pixel_keys": KEYS.to_json(),
        }
        given.write_text(json.dumps(document))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.collector_process", str(given)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=REPOSITORY,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port), self.log.read_text()

    def kill(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def get(self, path: str) -> httpx.Response:
        """One GET."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=10)

    def stored(self) -> bool:
        """Whether events go straight to Kafka again."""
        return bool(self.get("/readyz").json() == {"ready": True, "spooling": False})


@pytest.fixture
def collector(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Process]:
    """A running collector with a folder of its own."""
    it = Process(folder=tmp_path / "collector", kafka=kafka.address.librdkafka(COLLECTOR))
    it.start()
    yield it
    if it.process is not None and it.process.poll() is None:
        it.kill(signal.SIGKILL)


@dataclass
class Traffic:
    """Forms sent by a thread until it is told to stop; what was acknowledged, and where it was kept."""

    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._threads = [threading.Thread(target=self._run) for _ in range(8)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        headers = {"authorization": "Bearer st_www_x"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=15, headers=headers
        ) as http:
            while not self._stop.is_set():
                try:
                    answer = http.post("/f/request-demo", json={"fields": {"email": CANARY}})
                except httpx.TransportError:
                    self.refused += 1
                    time.sleep(0.05)
                    continue
                assert answer.status_code == 202, answer.text
                body = answer.json()
                self.acknowledged[body["event_id"]] = body["stored"]
                time.sleep(0.005)

    def wait(self, more: int, stored: str) -> None:
        """Wait until so many more events have been kept there."""
        before = Counter(self.acknowledged.values())[stored]
        until(lambda: Counter(list(self.acknowledged.values()))[stored] >= before + more, 60)


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """First and next offset; a broker that has just started may not lead its partitions yet."""
    deadline = time.monotonic() + 30
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=20)
        except KafkaException:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return int(low), int(high)


def read_topic(kafka: EmbeddedKafka, topic: str) -> list[tuple[Any, dict[str, bytes]]]:
    """Every record of a topic with its headers, decoded."""
    settings = kafka.address.librdkafka(kafka.admin) | {"group.id": "test", "enable.auto.commit": "false"}
    consumer = Consumer(settings)
    found: list[tuple[Any, dict[str, bytes]]] = []
    with contextlib.closing(consumer):
        for partition in range(PARTITIONS):
            low, high = _bounds(consumer, TopicPartition(topic, partition))
            consumer.assign([TopicPartition(topic, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(20)
                assert message is not None
                assert message.error() is None, message.error()
                assert message.key() is None
                found.append((codec.decode(message.value()), dict(message.headers())))
                at = message.offset() + 1
    return found


def ids_in(kafka: EmbeddedKafka, topic: str) -> Counter[str]:
    """How often each event id lies on a topic."""
    return Counter(record.event_id.hex() for record, _ in read_topic(kafka, topic))


def bytes_under(folder: Path) -> bytes:
    """Everything in the files of a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_events_reach_kafka_before_they_are_acknowledged(kafka: EmbeddedKafka, collector: Process) -> None:
    """At 202 a form lies on the topic with its headers; an open follows its gif; SIGTERM ends with 0."""
    until(collector.stored)
    answer = httpx.post(
        f"http://127.0.0.1:{collector.port}/f/request-demo?k=sk_www",
        json={"fields": {"email": CANARY}, "consents": [{"purpose": "marketing_email", "granted": True}]},
        trust_env=False,
    )
    assert answer.json()["stored"] == "kafka"
    ((record, headers),) = read_topic(kafka, "intake.form")
    assert isinstance(record, FormSubmitted)
    assert record.event_id.hex() == answer.json()["event_id"]
    assert record.fields == {"email": CANARY}
    assert headers["ce_id"].decode() == answer.json()["event_id"]
    assert CANARY not in str(headers)
    day = time.time_ns() // 1000 // DAY + 7
    token = mint(KEYS, site="www", message_id=b"m" * 16, expires_day=day)
    assert len(collector.get(f"/o/{token}.gif").content) == 43
    assert collector.kill(signal.SIGTERM) == 0, "what is in flight is flushed"
    ((opened, _),) = read_topic(kafka, "intake.email-open")
    assert isinstance(opened, EmailOpened)
    assert opened.token == token
    assert not list((collector.folder / "spool").glob("*.seg"))


def test_a_broker_that_dies_and_returns_loses_nothing(kafka: EmbeddedKafka, collector: Process) -> None:
    """The broker is killed under traffic: events go to the sealed spool and all reach Kafka in the end."""
    with Traffic(collector.port) as traffic:
        traffic.wait(100, "kafka")
        pid = kafka.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: kafka.pid is None)
        traffic.wait(200, "spool")
        assert collector.get("/readyz").status_code == 200
        assert collector.get("/healthz").status_code == 200
        assert CANARY.encode() not in bytes_under(collector.folder)
        kafka.start()
        traffic.wait(100, "kafka")
    until(collector.stored)
    found = ids_in(kafka, "intake.form")
    assert set(traffic.acknowledged) <= set(found)
    assert list((collector.folder / "spool").glob("*.seg")) == []
    assert list((collector.folder / "keys").iterdir()) == []
    assert CANARY not in collector.log.read_text()


def test_a_collector_killed_with_a_full_spool_loses_nothing(kafka: EmbeddedKafka, collector: Process) -> None:
    """SIGKILL of the collector while the broker is away, a restart, the broker back: nothing is lost."""
    with Traffic(collector.port) as traffic:
        traffic.wait(50, "kafka")
        kafka.stop()
        traffic.wait(200, "spool")
        collector.kill(signal.SIGKILL)
        collector.start()
        traffic.wait(100, "spool")
        kafka.start()
        traffic.wait(50, "kafka")
    until(collector.stored)
    found = ids_in(kafka, "intake.form")
    assert set(traffic.acknowledged) <= set(found)
    assert list((collector.folder / "spool").glob("*.seg")) == []


def test_sigterm_under_traffic_and_without_a_broker_exits_in_order(
    kafka: EmbeddedKafka, collector: Process
) -> None:
    """Stopped while the broker is away it exits 0 in time, and the next process brings what it kept."""
    until(collector.stored)
    kafka.stop()
    with Traffic(collector.port) as traffic:
        traffic.wait(30, "spool")
        began = time.monotonic()
        assert collector.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 20
    assert list((collector.folder / "spool").glob("*.seg"))
    kafka.start()
    collector.start()
    until(collector.stored)
    assert set(traffic.acknowledged) <= set(ids_in(kafka, "intake.form"))


def test_the_client_publishes_straight_to_kafka(kafka: EmbeddedKafka) -> None:
    """The same call over Kafka: framed, with identifiers by the policy; a broker away is said."""
    plan = compile_plan(load((REPOSITORY / "policies" / "demo.yaml").read_text(), where="demo.yaml"))
    policy = Policy.from_json(msgspec.json.encode(summary(plan)))
    told: dict[bytes, Exception | None] = {}
    settings = kafka.address.librdkafka(COLLECTOR) | {"message.timeout.ms": "1000"}
    with Publisher.over_kafka(
        settings,
        site="www",
        policy=policy,
        rules=Rules(linger=0.05, retries=1),
        on_delivery=lambda event, error: told.update({event.event_id: error}),
    ) as publisher:
        ids = publisher.publish_many(
            [
                SentForm(form="request-demo", fields={"email": CANARY}),
                CookieObserved(name="view", url="https://www.demo.example/"),
                ConsentStated(
                    identifiers=[Identifier(kind="email", value=CANARY)],
                    consents=[Consent(purpose="marketing_email", granted=False)],
                ),
            ]
        )
        assert publisher.flush(30)
        assert told == {bytes.fromhex(each): None for each in ids}
        kafka.stop()
        lost = publisher.publish(SentForm(form="request-demo", fields={"email": CANARY}))
        assert publisher.flush(60)
        assert isinstance(told[bytes.fromhex(lost)], Undelivered)
    kafka.start()
    ((form, headers),) = read_topic(kafka, "intake.form")
    assert (form.event_id.hex(), form.site) == (ids[0], "www")
    assert [(each.kind, each.value) for each in form.identifiers] == [("email", CANARY)]
    assert headers["ce_id"].decode() == ids[0]
    assert [record.event_id.hex() for record, _ in read_topic(kafka, "intake.cookie")] == [ids[1]]
    assert [record.event_id.hex() for record, _ in read_topic(kafka, "intake.signal")] == [ids[2]]
