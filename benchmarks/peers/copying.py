"""A peer of the tag and route workers: Kafka Streams (Java), which copies bytes and seals nothing.

It reads the very records our workers read, a topic for each kind, and writes for each as many records of as
many bytes as they do, decisions one by one where ours are packed: acks=all, at least once, a commit a second.
`streams/Copy.java` is compiled by Maven on first use, into a folder of the user's cache.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.hot import PARTITIONS, REFERENCE, yardstick
from benchmarks.peers.shapes import Shape
from benchmarks.traffic import KINDS, Kind
from lapse.broker import jars
from schemas.errors import Unavailable
from streams.engine import KafkaAccess

SOURCES = Path(__file__).with_name("streams")
EVENTS, WARM_UP = 220_000, 160_000
"""Of so many events so many are for the JVM's compilers to warm up: the others count."""
SECONDS = 120
MAIN = "Copy"
DO = "let Maven reach its repository once (Debian: apt install maven default-jdk-headless)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU microseconds of an event once warm, and of one over the whole process; how slow the machine was."""

    us: float
    whole: float
    slow: float


def build() -> Path:
    """The folder with classes and jars; raises `Unavailable` where they are not there and cannot be made."""
    parts = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()]
    version, name = jars.kafka_version(), sha256(b"".join(parts)).hexdigest()[:12]
    made = jars.default_libs(os.environ).with_name(f"streams-peer-{version}-{name}")
    if made.exists():
        return made
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("unavailable", "Maven, which compiles the peer, is missing", "PATH", DO)
    part = made.with_name(f"{made.name}.{os.getpid()}")
    command = [maven, "-q", "-B", "-f", str(SOURCES / "pom.xml"), "compile", "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-Dkafka.version={version}", f"-Dto={part}"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={part / 'libs'}"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        raise Unavailable("unavailable", f"Maven: {(done.stdout + done.stderr)[:600]}", str(made), DO)
    part.rename(made)
    return made


def topic_of(role: str, kind: Kind) -> str:
    """Where the peer of a role reads events of a kind."""
    return f"peer.{role}.{kind}"


def make_topics(access: KafkaAccess, names: Collection[str]) -> None:
    """Make topics that are not there yet."""
    admin = AdminClient(access.librdkafka())
    missing = sorted(set(names) - set(admin.list_topics(timeout=30).topics))
    if missing:
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in missing]).values():
            future.result()


def fill(access: KafkaAccess, role: str, shapes: Mapping[Kind, Shape]) -> None:
    """Make the peer's topics and publish the events of each kind in turn over the partitions."""
    names = {topic_of(role, kind) for kind in shapes}
    names |= {f"peer.{topic}" for shape in shapes.values() for topic, _ in shape.written}
    make_topics(access, names)
    producer = Producer(access.librdkafka() | {"linger.ms": 50, "queue.buffering.max.messages": 2_000_000})
    values = {kind: cycle(shapes[kind].read) for kind in KINDS}
    for n in range(EVENTS):
        kind, partition = KINDS[n % len(KINDS)], n // len(KINDS) % PARTITIONS
        producer.produce(topic_of(role, kind), next(values[kind]), partition=partition)
        producer.poll(0)
    producer.flush()


def settings(folder: Path, access: KafkaAccess, role: str, shapes: Mapping[Kind, Shape]) -> dict[str, str]:
    """Kafka Streams as it comes, but acks=all and a commit a second, as we do; and what Copy is to copy."""
    written = {kind: len(shape.written) for kind, shape in shapes.items()}
    every = sum(written[KINDS[n % len(KINDS)]] for n in range(EVENTS))
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    return {
        "application.id": f"copying.{role}",
        "bootstrap.servers": access.bootstrap,
        "security.protocol": access.protocol,
        "sasl.mechanism": access.mechanism,
        "sasl.jaas.config": f'{login} username="{access.username}" password="{access.password}";',
        "processing.guarantee": "at_least_once",
        "producer.acks": "all",
        "commit.interval.ms": "1000",
        "consumer.auto.offset.reset": "earliest",
        "state.dir": str(folder / "state"),
        "copy.inputs": ",".join(topic_of(role, kind) for kind in shapes),
        "copy.warm": str(every * WARM_UP // EVENTS),
        "copy.all": str(every),
    } | {
        f"copy.{topic_of(role, kind)}": ",".join(f"peer.{topic}:{size}" for topic, size in shape.written)
        for kind, shape in shapes.items()
    }


def measure(folder: Path, access: KafkaAccess, role: str, shapes: Mapping[Kind, Shape]) -> Cost:
    """Run the peer of a role over its topics; raises `Unavailable` where it cannot be built or fails."""
    built, java = build(), jars.find_java(os.environ)
    fill(access, role, shapes)
    file = folder / f"{role}.properties"
    file.write_text("".join(f"{k}={v}\n" for k, v in settings(folder, access, role, shapes).items()))
    paths = f"{built / 'classes'}{os.pathsep}{built / 'libs' / '*'}"
    command = [str(java), "-Xmx512m", "-XX:+UseSerialGC", "-cp", paths, MAIN, str(file)]
    slow, before = yardstick(), _children()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable("unavailable", f"Kafka Streams did not end in {SECONDS} s", role) from None
    used, slow = _children() - before, (slow + yardstick()) / 2 / REFERENCE
    if done.returncode:
        raise Unavailable("unavailable", f"Kafka Streams ended: {done.stderr[-600:]}", role)
    return Cost(us=float(done.stdout) / (EVENTS - WARM_UP) * 1e6, whole=used / EVENTS * 1e6, slow=slow)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
