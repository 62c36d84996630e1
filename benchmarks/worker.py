"""What one event costs the whole worker process: Kafka client, engine, stage and vault, on a real broker.

    python -m benchmarks.worker [--events 20000] [--rounds 1]

An embedded broker is filled with a third each of forms, mail opens and cookies of known people, a hundred
in turn; then a tag worker and after it a route worker run until all is done. CPU seconds are those of the
worker by getrusage, from its first chunk to its last, divided by the records it has done.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.hot import PARTITIONS, REFERENCE, Bench, cpu, yardstick
from benchmarks.traffic import KINDS, POLICY, Kind, Traffic
from lapse.broker.embedded import EmbeddedKafka
from lapse.cradle import COMMON
from schemas.policy import compile_plan, load
from schemas.topics import topic_plan
from streams import building
from streams.agents import GROUPS
from streams.engine import Engine, KafkaAccess
from streams.ports import Outcome, Sheaf
from streams.surroundings import Surroundings
from streams.worker import run
from tests.support.broker import new_embedded
from vault.epochs import FileEpochKeys
from vault.factory import open_vault
from vault.tokens import PixelKeys

PEOPLE = 100
TOPICS: Mapping[str, tuple[str, ...]] = {
    "tag": GROUPS["tag"],
    "route": ("records.season", "records.decade"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is to do: its role, for how many records; it looks at its memory every `look` of them."""

    role: str
    events: int
    access: KafkaAccess
    partitions: int = PARTITIONS
    look: int = 1_000_000_000
    seconds: int = 600
    """It is given up after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The memory of this process after so many records, in MB: resident now, and at most so far."""

    events: int
    now_mb: float
    peak_mb: float

    @classmethod
    def now(cls, events: int) -> Held:
        """Look; a peak that getrusage would say may be that of the process that started this one."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        resident, most = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        return cls(events=events, now_mb=resident, peak_mb=most)


# ---- the worker --------------------------------------------------------------------------------------------
def worker(file: Path) -> int:
    """Run one role until `events` records are done; the result is written beside the plan."""
    for module in COMMON:
        import_module(module)  # as a role of a deployed system is born with
    plan: dict[str, Any] = json.loads(file.read_text())
    folder, role = Path(plan["folder"]), plan["role"]
    vault = open_vault(f"sqlite:///{folder / 'vault.db'}", FileEpochKeys(folder / "keys", folder / "backup"))

    def build() -> Engine:
        engine = Engine(
            group=f"lapse.{role}",
            access=KafkaAccess(**plan["access"]),
            workdir=folder,
            now=lambda: time.time_ns() // 1000,
        )
        around = Surroundings(
            vault=vault,
            sink=engine.sink,
            partitions=lambda _topic: plan["partitions"],
            service_key=bytes(32),
            pixel_keys=PixelKeys.from_json((folder / "pixel.json").read_text()),
            work=engine.work,
        )
        stage = building.tag(around) if role == "tag" else building.route(around)
        began, done, slow, held = 0.0, 0, 0.0, [Held.now(0)]

        async def counted(sheaf: Sheaf) -> Sequence[Outcome]:
            nonlocal began, done, slow
            if not done:
                slow, began = yardstick(), cpu()
            outcomes = await stage.together(sheaf)
            done += sum(map(len, sheaf))
            if done >= held[-1].events + plan["look"]:
                held.append(Held.now(done))
            if done >= plan["events"]:
                used = cpu() - began
                result = {
                    "us": used / done * 1e6,
                    "slow": (slow + yardstick()) / 2 / REFERENCE,
                    "chunk": sum(map(len, sheaf)),
                    "held": [asdict(each) for each in [*held, Held.now(done)]],
                }
                file.with_suffix(".result").write_text(json.dumps(result))
                signal.raise_signal(signal.SIGTERM)
            return outcomes

        engine.sheaf_agent(*TOPICS[role], name=role)(counted)
        return engine

    return run(build)


# ---- around it ---------------------------------------------------------------------------------------------
def prepare(folder: Path) -> tuple[FileEpochKeys, PixelKeys, Traffic]:
    """A vault that knows the policy and everybody who is going to do something."""
    keys = FileEpochKeys(folder / "keys", folder / "backup")
    bench, people = Bench(folder, None, keys), range(PEOPLE)
    (folder / "pixel.json").write_text(bench.pixels.to_json())
    bench.tag(bench.events("form", people))
    bench.tag(bench.events("cookie", people, first=True))
    bench.mail(people)
    bench.vault.close()
    return keys, bench.pixels, bench.traffic


def make_topics(access: KafkaAccess, partitions: int) -> None:
    """Make the topics of the policy."""
    admin = AdminClient(access.librdkafka())
    plan = compile_plan(load(POLICY.read_text(encoding="utf-8"), where=POLICY.name))
    topics = [NewTopic(t.name, partitions, 1) for t in topic_plan(plan, partitions=partitions)]
    for future in admin.create_topics(topics).values():
        future.result()


def fill(access: KafkaAccess, traffic: Traffic, events: int) -> None:
    """Make the topics and publish the events of each kind in turn over the partitions."""
    make_topics(access, PARTITIONS)
    producer = Producer(access.librdkafka() | {"linger.ms": 50, "queue.buffering.max.messages": 2_000_000})
    for n in range(events):
        kind: Kind = KINDS[n % len(KINDS)]
        value = traffic.event(kind, n // len(KINDS) % PEOPLE)
        producer.produce(f"intake.{kind}", value, partition=n // len(KINDS) % PARTITIONS)
        producer.poll(0)
    producer.flush()


def measure(folder: Path, task: Task, *, module: str = "benchmarks.worker") -> dict[str, Any]:
    """Run a worker of this role in a process of its own, or a peer's; returns what it measured."""
    role, file = task.role, folder / f"{task.role}.json"
    file.write_text(json.dumps({"folder": str(folder), **asdict(task)}))
    with (folder / f"{role}.log").open("wb") as log:
        command = [sys.executable, "-m", module, "--worker", str(file)]
        done = subprocess.run(command, stdout=log, stderr=log, timeout=task.seconds, check=False)
    result = file.with_suffix(".result")
    if done.returncode or not result.exists():
        raise SystemExit(
            f"the {role} worker ended with {done.returncode}: {(folder / f'{role}.log').read_text()[-2000:]}"
        )
    found: dict[str, Any] = json.loads(result.read_text())
    result.unlink()
    return found


def access_to(kafka: EmbeddedKafka) -> KafkaAccess:
    """Where a running broker is, as its super user."""
    return KafkaAccess(
        bootstrap=kafka.address.bootstrap,
        protocol="SASL_PLAINTEXT",
        username=kafka.admin.username,
        password=kafka.admin.password,
    )


def once(events: int) -> dict[str, dict[str, Any]]:
    """One broker, one vault, one run of each role."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, _, traffic = prepare(folder)
        with new_embedded(folder / "kafka") as kafka:
            access = access_to(kafka)
            fill(access, traffic, events)
            return {role: measure(folder, Task(role=role, events=events, access=access)) for role in TOPICS}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.exit(worker(arguments.worker))
    rounds = [once(arguments.events) for _ in range(arguments.rounds)]
    print(f"{'worker':<10}{'us CPU':>10}{'slow':>8}{'corrected':>11}{'per CPU-s':>11}")
    for role in TOPICS:
        us = statistics.median(each[role]["us"] for each in rounds)
        slow = statistics.median(each[role]["slow"] for each in rounds)
        fair = statistics.median(each[role]["us"] / each[role]["slow"] for each in rounds)
        print(f"{role:<10}{us:>10.1f}{slow:>8.2f}{fair:>11.1f}{1e6 / fair:>11.0f}")


if __name__ == "__main__":
    main()
