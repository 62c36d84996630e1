"""`make bench`: what one event costs in the tag and route stages, in CPU time of this process.

    python -m benchmarks.hot [--events 4000] [--rounds 5] [--profile tag|route] [--plain]

The stages run as in production, on a real SQLite vault; Kafka is replaced by lists, so this is what the
product does itself. Chunks hold 2000 events of one kind, as the engine gives them. Rows of people: `repeat`
draws a chunk from 100 known people, `known` has everybody once, read from SQLite, `new` has only people never
seen.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import hmac
import os
import pstats
import random
import resource
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.traffic import KINDS, POLICY, Kind, Traffic
from schemas import framing
from schemas.policy import compile_plan, load
from streams import building
from streams.chunks import Chunks
from streams.collecting import collect_less
from streams.ports import Chunk, Done, Inbound, Outbound, Placed
from streams.surroundings import Surroundings
from vault import columns
from vault.epochs import MemoryEpochKeys
from vault.factory import open_vault
from vault.handles import alias_hash
from vault.port import EpochKeys, Vault
from vault.tokens import PixelKeys
from vault.values import AliasRow, PolicyRow, ProcessorState

CHUNK = 2000
PARTITIONS = 4
REPEATED = 100
"""People in a chunk whose people repeat."""
GOALS = {"repeat": 45_000, "known": 35_000, "new": 25_000, "route": 40_000}
SIZES: dict[Kind, float] = {"form": 1.5, "email-open": 1.9, "cookie": 1.8}
"""Bytes in records and decisions for each byte of Avro body on intake, at most."""


class ListSink:
    """Keeps what is sent, by topic and partition."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, int], list[Outbound]] = defaultdict(list)

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Take everything."""
        for record in records:
            self.sent[record.topic, record.partition].append(record)
        return [Placed(record.topic, record.partition, 0) for record in records]

    def take(self) -> dict[tuple[str, int], list[Outbound]]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, defaultdict(list)
        return sent


class Bench:
    """Both stages on one vault: SQLite in the folder, where no `url` names another."""

    def __init__(self, folder: Path, url: str | None = None, keys: EpochKeys | None = None) -> None:
        place = url or f"sqlite:///{folder / 'vault.db'}"
        self.vault: Vault = open_vault(place, keys or MemoryEpochKeys())
        self.sink, self.offsets = ListSink(), Counter[tuple[str, int]]()
        pixels = self.pixels = PixelKeys.generate(os.urandom)
        self.now = self.vault.clock.now()
        self.traffic = Traffic(self.now, pixels)
        self._publish()
        around = Surroundings(
            vault=self.vault,
            sink=self.sink,
            partitions=lambda _topic: PARTITIONS,
            service_key=bytes(32),
            pixel_keys=pixels,
        )
        self._tag, self._route = building.tag(around), building.route(around)

    def _publish(self) -> None:
        text = POLICY.read_text(encoding="utf-8")
        plan = compile_plan(load(text, where=POLICY.name))
        row = PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=text)
        with self.vault.transaction() as tx:
            tx.put_policy(row)
            for processor in plan.processors:
                tx.put_processor(ProcessorState(name=processor.name, approved=True, since=tx.now))

    def inbound(self, topic: str, partition: int, values: Sequence[Outbound | bytes]) -> list[Chunk]:
        """Chunks of what was sent or published, as the engine reads them."""
        first = self.offsets[topic, partition]
        self.offsets[topic, partition] += len(values)
        stamp = time.time_ns() // 1_000_000
        records = [
            Inbound(first + n, stamp, None, value, ())
            if isinstance(value, bytes)
            else Inbound(first + n, stamp, value.key, value.value, tuple(value.headers))
            for n, value in enumerate(values)
        ]
        topic_id = topic.encode().ljust(16)[:16]
        return [
            Chunk(topic=topic, topic_id=topic_id, partition=partition, records=records[at : at + CHUNK])
            for at in range(0, len(records), CHUNK)
        ]

    def events(self, kind: Kind, people: Sequence[int], *, first: bool = False) -> list[Chunk]:
        """Chunks of one event of each of these people."""
        values = [self.traffic.event(kind, person, first=first) for person in people]
        return self.inbound(f"intake.{kind}", 0, values)

    def tag(self, chunks: Sequence[Chunk]) -> None:
        """Run the tag stage."""
        asyncio.run(self._all(self._tag, chunks))

    def route(self, chunks: Sequence[Chunk]) -> None:
        """Run the route stage."""
        asyncio.run(self._all(self._route, chunks))

    async def _all(self, stage: Chunks[Any], chunks: Sequence[Chunk]) -> None:
        for sheaf in sheaves(chunks):
            assert await stage.together(sheaf) == [Done()] * len(sheaf)

    def mail(self, people: Sequence[int]) -> None:
        """Let everybody have got a mail, whose id leads to them."""
        key = self.vault.secrets.alias
        with self.vault.transaction() as tx:
            for person in people:
                email = alias_hash(key, "email", f"person.{person}@company-{person % 997}.example")
                (row,) = tx.aliases([email])[email]
                token = alias_hash(key, "token", self.traffic.message_id(person).hex())
                tx.put_aliases([AliasRow(hash=token, subject=row.subject, since=self.now)])


def sheaves(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """What the engine hands out together: a chunk of each partition, no more records than one may have."""
    sheaf: list[Chunk] = []
    for chunk in chunks:
        places = {(each.topic, each.partition) for each in sheaf}
        if (chunk.topic, chunk.partition) in places or sum(map(len, [*sheaf, chunk])) > CHUNK:
            yield sheaf
            sheaf = []
        sheaf.append(chunk)
    yield sheaf


REFERENCE = 1.41
"""Microseconds `yardstick` took on the quiet machine on which the goals were set."""


def yardstick(rounds: int = 4000) -> float:
    """CPU microseconds of one HMAC-SHA256: what a crowded machine makes dearer, it makes dearer here too."""
    key, text = bytes(32), bytes(60)
    before = time.process_time()
    for _ in range(rounds):
        hmac.digest(key, text, "sha256")
    return (time.process_time() - before) / rounds * 1e6


def cpu() -> float:
    """CPU seconds of this process so far, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Run:
    """All rounds of one benchmark, and what they measured: microseconds per event by (row, kind)."""

    def __init__(self, bench: Bench, events: int, profile: str | None) -> None:
        self.bench, self.events = bench, events
        self.times: dict[tuple[str, Kind], list[float]] = defaultdict(list)
        self.slowness: list[float] = []
        self.sizes: dict[Kind, float] = {}
        self.deliveries = Counter[Kind]()
        self._known = 0
        self._dice = random.Random(1)
        self._profiler = {name: cProfile.Profile() for name in (profile,) if name}

    def round(self) -> None:
        """Measure everything once, with new people."""
        bench, people = self.bench, list(range(self._known, self._known + self.events))
        self._known += self.events
        self._timed("new", "form", bench.events("form", people))
        self._timed("new", "cookie", bench.events("cookie", people, first=True))
        for start in range(0, len(people), CHUNK):
            bench.mail(people[start : start + CHUNK])
        bench.sink.take()
        few = people[:REPEATED]
        for kind in KINDS:
            shuffled = self._dice.sample(people, len(people))
            self._tag_and_route("known", kind, shuffled)
            self._tag_and_route("repeat", kind, [self._dice.choice(few) for _ in people])

    def _tag_and_route(self, row: str, kind: Kind, people: Sequence[int]) -> None:
        chunks = self.bench.events(kind, people)
        self._timed(row, kind, chunks)
        tagged = self.bench.sink.take()
        written = sum(len(record.value or b"") for records in tagged.values() for record in records)
        flow = [
            chunk
            for (topic, partition), records in tagged.items()
            if topic.startswith("records.")
            for chunk in self.bench.inbound(topic, partition, records)
        ]
        assert sum(map(len, flow)) == len(people), "every event must be tagged"
        self._timed(f"route {row}", kind, flow)
        sent = self.bench.sink.take()
        written += sum(len(r.value or b"") for (t, _), rs in sent.items() if t == "decisions" for r in rs)
        read = sum(len(r.value or b"") - framing.HEADER for chunk in chunks for r in chunk.records)
        self.sizes[kind] = written / read
        self.deliveries[kind] = sum(len(rs) for (t, _), rs in sent.items() if t.startswith("processor."))

    def _timed(self, row: str, kind: Kind, chunks: Sequence[Chunk]) -> None:
        route = row.startswith("route")
        stage = self.bench.route if route else self.bench.tag
        profiler = self._profiler.get("route" if route else "tag")
        if profiler:
            profiler.enable()
        slow = yardstick()
        before = cpu()
        stage(chunks)
        cost = (cpu() - before) / sum(map(len, chunks)) * 1e6
        slow = (slow + yardstick()) / 2
        self.slowness.append(slow / REFERENCE)
        self.times[row, kind].append(cost * REFERENCE / slow)
        if profiler:
            profiler.disable()

    def report(self) -> Iterator[str]:
        """The table."""
        slow = statistics.median(self.slowness)
        yield f"sealing {columns.in_use()}"
        yield f"this machine now: {slow:.2f} times as slow as the reference; times below are divided by that"
        yield (
            f"{'us CPU per event':<18}"
            + "".join(f"{kind:>12}" for kind in KINDS)
            + "        mean   per CPU-s    goal"
        )
        for row in ("repeat", "known", "new", "route repeat", "route known"):
            found = {
                kind: statistics.median(self.times[row, kind]) for kind in KINDS if (row, kind) in self.times
            }
            mean = statistics.mean(found.values())
            cells = "".join(f"{found[kind]:>12.1f}" if kind in found else f"{'-':>12}" for kind in KINDS)
            goal = GOALS[row.split()[0]]
            yield f"{row:<18}{cells}{mean:>12.1f}{1e6 / mean:>12.0f}{goal:>8}"
        sizes = "".join(f"{self.sizes[kind]:>12.2f}" for kind in KINDS)
        yield f"{'bytes per byte':<18}{sizes}{'at most ' + ', '.join(map(str, SIZES.values())):>32}"
        deliveries = "".join(f"{self.deliveries[kind] / self.events:>12.1f}" for kind in KINDS)
        yield f"{'deliveries':<18}{deliveries}"
        for name, profiler in self._profiler.items():
            yield f"profile of {name}:"
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=4000, help="of each kind, in each row and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", choices=("tag", "route"))
    parser.add_argument("--plain", action="store_true", help="seal and open in plain Python, not in C")
    arguments = parser.parse_args()
    columns.use(native=not arguments.plain)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Bench(Path(folder)), arguments.events, arguments.profile)
        collect_less()
        for _ in range(arguments.rounds):
            run.round()
        for line in run.report():
            print(line)


if __name__ == "__main__":
    main()
