"""`make bench-memory`: how much memory a worker holds in half a million events at full rate.

    python -m benchmarks.memory [--events 500000] [--subjects 1000000] [--kept FOLDER] [-o json]

A vault gets a million people: half of them by a form, each with a mail, half by a cookie with consent.
Then an embedded Kafka with 12 partitions a topic gets all events, a third each of forms, mail opens and
cookies of people drawn from all, before a tag worker and after it a route worker do them, each with
everything a deployed role is born with. What counts is the kernel's VmHWM at the end. With `--kept` the
vault is made there, or found there: it takes many minutes to make.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.figures import Figure, show
from benchmarks.hot import CHUNK, Bench
from benchmarks.traffic import KINDS, Kind, Traffic
from benchmarks.worker import TOPICS, Task, access_to, make_topics, measure
from schemas.ids import Micros
from streams.collecting import collect_less
from streams.engine import KafkaAccess
from tests.support.broker import new_embedded
from vault.epochs import FileEpochKeys
from vault.handles import alias_hash
from vault.tokens import PixelKeys
from vault.values import AliasRow

PARTITIONS = 12
GOAL_MB = 200
LOOKS = 20
"""How often a worker looks at its memory on the way."""
VAULT = ("vault.db", "pixel.json", "keys", "backup")
SECONDS = 3600


# ---- the people --------------------------------------------------------------------------------------------
def populate(folder: Path, subjects: int) -> None:
    """Make a vault with so many subjects by tagging what made them; leaves out what there is already."""
    if (folder / "pixel.json").exists():
        return
    bench = Bench(folder, None, FileEpochKeys(folder / "keys", folder / "backup"))
    people = range(subjects // 2)
    for start in range(0, len(people), CHUNK):
        some = people[start : start + CHUNK]
        bench.tag(bench.events("form", some))
        bench.tag(bench.events("cookie", some, first=True))
        mail(bench, some)
        bench.sink.take()
        if start % 50_000 == 0:
            say(f"{2 * start:,} subjects")
    bench.vault.close()
    (folder / "pixel.json").write_text(bench.pixels.to_json())


def mail(bench: Bench, people: Sequence[int]) -> None:
    """Let everybody have got a mail, whose id leads to them: `Bench.mail` with one look-up for all."""
    key = bench.vault.secrets.alias
    hashes = {n: alias_hash(key, "email", f"person.{n}@company-{n % 997}.example") for n in people}
    with bench.vault.transaction() as tx:
        known = tx.aliases(hashes.values())
        tx.put_aliases(
            AliasRow(
                hash=alias_hash(key, "token", bench.traffic.message_id(n).hex()),
                subject=known[email][0].subject,
                since=bench.now,
            )
            for n, email in hashes.items()
        )


# ---- the events --------------------------------------------------------------------------------------------
def fill(access: KafkaAccess, traffic: Traffic, events: int, people: int) -> None:
    """Make the topics and publish the events of each kind in turn over the partitions."""
    make_topics(access, PARTITIONS)
    producer, dice = Producer(access.librdkafka() | {"linger.ms": 50}), random.Random(1)
    for n in range(events):
        kind: Kind = KINDS[n % len(KINDS)]
        value = traffic.event(kind, dice.randrange(people))
        producer.produce(f"intake.{kind}", value, partition=n // len(KINDS) % PARTITIONS)
        if n % 1000 == 0:
            producer.flush()
    producer.flush()


def run(folder: Path, events: int, subjects: int) -> dict[str, dict[str, Any]]:
    """One broker, and one worker of each role after the other; what each measured."""
    with new_embedded(folder / "kafka") as kafka:
        access = access_to(kafka)
        keys = PixelKeys.from_json((folder / "pixel.json").read_text())
        say(f"publishing {events:,} events")
        fill(access, Traffic(Micros(time.time_ns() // 1000), keys), events, subjects // 2)
        found = {}
        for role in TOPICS:
            say(f"{role} ...")
            task = Task(
                role=role,
                events=events,
                access=access,
                partitions=PARTITIONS,
                look=events // LOOKS,
                seconds=SECONDS,
            )
            found[role] = measure(folder, task)
            say(f"{role}: {found[role]['held']}")
        return found


# ---- the figures -------------------------------------------------------------------------------------------
def figures(found: dict[str, dict[str, Any]]) -> Iterator[Figure]:
    """Of each role: the most it held, with its goal, and what it held on the way."""
    for role, result in found.items():
        held = result["held"]
        last = held[-1]
        yield Figure(
            of="memory",
            what=f"{role} worker at most in {last['events']:,} events",
            figure=last["peak_mb"],
            unit="MB",
            goal=GOAL_MB,
            at_most=True,
        )
        yield Figure(
            of="memory", what=f"{role} worker before its first event", figure=held[0]["now_mb"], unit="MB"
        )
        for share in (0.2, 0.6, 1.0):
            at = next(each for each in held if each["events"] >= share * last["events"])
            what = f"{role} worker at most until event {at['events']:,}"
            yield Figure(of="memory", what=what, figure=at["peak_mb"], unit="MB")


def say(what: str) -> None:
    """How far it is, for whoever waits."""
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--subjects", type=int, default=1_000_000)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("-o", choices=("table", "json"), default="table", dest="output")
    chosen = parser.parse_args()
    collect_less()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = chosen.kept or folder
        kept.mkdir(exist_ok=True)
        populate(kept, chosen.subjects)
        for each in VAULT if chosen.kept else ():
            copy = shutil.copytree if (kept / each).is_dir() else shutil.copy
            copy(kept / each, folder / each)
        show(list(figures(run(folder, chosen.events, chosen.subjects))), json=chosen.output == "json")


if __name__ == "__main__":
    main()
