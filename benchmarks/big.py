"""`make bench-big`: how the price of tagging a form grows with the number of people the vault knows.

    python -m benchmarks.big [--subjects 10000,100000,1000000] [--events 20000]

Each row is CPU time of this process per event (getrusage), with every form's person already known, read
from SQLite in random order; the ratio is to the first row of the same run. Kafka is replaced by the in-memory
log: this measures the stage and the vault, not the broker.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from schemas import codec
from schemas.ids import EventId, Micros
from schemas.models import ConsentStatement, FormSubmitted, Identifier
from schemas.policy import compile_plan, load
from streams import building
from streams.chunks import Chunks
from streams.memory import MemoryLog, MemorySink
from streams.ports import Chunk, Done, Inbound
from streams.surroundings import Surroundings
from vault.epochs import MemoryEpochKeys
from vault.factory import open_vault
from vault.port import Vault
from vault.tokens import PixelKeys
from vault.values import PolicyRow

POLICY = Path(__file__).parents[1] / "policies" / "demo.yaml"
CHUNK = 2000
PARTITIONS = 4
TOPIC_ID = bytes(16)


class Bench:
    """The tag stage on a SQLite vault, fed with forms directly."""

    def __init__(self, folder: Path) -> None:
        self.now = Micros(time.time_ns() // 1000)
        url = f"sqlite:///{folder / 'vault.db'}"
        self.vault: Vault = open_vault(url, MemoryEpochKeys(), clock="manual", start=self.now)
        text = POLICY.read_text(encoding="utf-8")
        plan = compile_plan(load(text, where=POLICY.name))
        row = PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=text)
        with self.vault.transaction() as tx:
            tx.put_policy(row)
        self._topics = [f"records.{horizon.name}" for horizon in plan.horizons] + ["decisions", "quarantine"]
        self.offset = 0

    def tag(self, people: Sequence[int]) -> None:
        """Tag one form of each of these people, in chunks; what is sent is thrown away with its log."""
        for start in range(0, len(people), CHUNK):
            records = list(self._forms(people[start : start + CHUNK]))
            chunk = Chunk(topic="intake.form", topic_id=TOPIC_ID, partition=0, records=records)
            assert asyncio.run(self._stage()(chunk)) == Done()

    def _stage(self) -> Chunks[Any]:
        log = MemoryLog(lambda: self.now // 1000)
        for topic in self._topics:
            log.create_topic(topic, PARTITIONS)
        around = Surroundings(
            vault=self.vault,
            sink=MemorySink(log),
            partitions=lambda _topic: PARTITIONS,
            service_key=bytes(32),
            pixel_keys=PixelKeys.generate(os.urandom),
        )
        return building.tag(around)

    def _forms(self, people: Sequence[int]) -> Iterator[Inbound]:
        for person in people:
            email = f"person.{person}@example.org"
            form = FormSubmitted(
                event_id=EventId(os.urandom(16)),
                collected_at=self.now,
                site="www",
                form="request-demo",
                identifiers=[Identifier(kind="email", value=email)],
                fields={
                    "email": email,
                    "name": f"Person {person}",
                    "country": "DE",
                    "message": "Please call me.",
                },
                consents=[ConsentStatement(purpose="marketing_email", granted=True)],
                notice="demo-1",
            )
            yield Inbound(self.offset, self.now // 1000, None, codec.encode(form))
            self.offset += 1


def cpu() -> float:
    """CPU seconds of this process so far, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default="10000,100000,1000000")
    parser.add_argument("--events", type=int, default=20_000)
    arguments = parser.parse_args()
    sizes = sorted(int(size) for size in arguments.subjects.split(","))
    dice, first, known = random.Random(1), 0.0, 0
    print(f"{'subjects':>10} {'us/event':>9} {'ratio':>6} {'vault MB':>9} {'peak RSS MB':>12}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for size in sizes:
            bench.tag(range(known, size))
            known = size
            people = [dice.randrange(size) for _ in range(arguments.events)]
            before = cpu()
            bench.tag(people)
            cost = (cpu() - before) / arguments.events * 1e6
            first = first or cost
            disk = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{size:>10} {cost:>9.1f} {cost / first:>6.2f} {disk:>9.1f} {peak:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
