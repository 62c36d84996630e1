"""What the end of a bucket costs: a million records beside a thousand, and how soon nobody can open them.

    python -m benchmarks.expire [-o json]

Leaves lie in the vault as the tag stage leaves them (SQLite, a blob per chunk of 2,000 records); `folded` is
what upkeep makes of a large bucket nothing comes to any more. Timed is what the expire role does when the
instant comes: destroy, hide, remove the bytes, and publish, to a log in memory: what Kafka adds is the same
for a small bucket and a large one. The key endpoint runs in a process of its own, over HTTPS.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import keys
from benchmarks.child import Child
from benchmarks.figures import Figure, Meter, run
from benchmarks.hot import CHUNK, PARTITIONS, Bench, ListSink
from benchmarks.load import Server
from benchmarks.traffic import POLICY
from schemas.ids import Micros, Period, Sequence, Terms
from schemas.policy import compile_plan, load
from streams import building
from streams.agents import TICK_SECONDS, Expire
from streams.expanding import JOBS, Expander, Job
from streams.leaves import LEAF_BYTES, fold
from streams.memory import MemoryLog, MemorySink
from streams.out import Out
from streams.planbook import PlanBook
from streams.ports import Outbound
from streams.scan import scan_memory
from streams.stage import inline
from streams.surroundings import Surroundings
from vault.ending import end_bucket
from vault.epochs import MemoryEpochKeys
from vault.factory import open_vault
from vault.port import Vault
from vault.values import BucketId, BucketWanted, PolicyRow

SMALL, LARGE, ROUNDS = 1_000, 1_000_000, 3
DAYS = 10
"""Buckets that are ended while their deliveries are asked for."""
MANY = 1_000
"""Buckets of a thousand records that are due in one tick."""
EXPANDED = 8_000
"""Decisions the expander reads."""
DUE = Micros(2_000_000_000_000_000)
PROCESSOR = "crm"


class Ending:
    """The expire role on a vault of its own, whose clock stands still until a bucket is due."""

    def __init__(self, folder: Path) -> None:
        start = Micros(DUE - 3_600_000_000)
        url = f"sqlite:///{folder / 'vault.db'}"
        self.vault: Vault = open_vault(url, MemoryEpochKeys(), clock="manual", start=start)
        text = POLICY.read_text(encoding="utf-8")
        plan = compile_plan(load(text, where=POLICY.name))
        row = PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=text)
        with self.vault.transaction() as tx:
            tx.put_policy(row)
        log = MemoryLog(lambda: time.time_ns() // 1_000_000)
        for topic in ("lifecycle", "decisions", f"processor.{PROCESSOR}"):
            log.create_topic(topic, PARTITIONS)
        around = Surroundings(
            vault=self.vault,
            sink=MemorySink(log),
            partitions=lambda _topic: PARTITIONS,
            service_key=bytes(32),
        )
        self.role: Expire = building.expire(around, scan=partial(scan_memory, log))
        self._number = 0
        self.tick()  # it takes note of the policy, once

    def bucket(self, records: int, due: Micros) -> BucketId:
        """One more bucket, with the leaves of so many records."""
        self._number += 1
        made = BucketId("answer_request", Period(self._number), Terms(0))
        with self.vault.transaction() as tx:
            tx.ensure_buckets([BucketWanted(id=made, due=due)])
            tx.tell_buckets([(made, PROCESSOR)])
            for done in range(0, records, CHUNK):
                leaves = min(CHUNK, records - done)
                tx.add_leaves({made: os.urandom(LEAF_BYTES * leaves)})
                tx.add_tally({made: leaves})
        return made

    def tick(self) -> int:
        """What the expiry loop does, then the announcer."""
        ended = self.role.expiry.tick()
        asyncio.run(self.role.announcer.announce())
        return ended


def ended(records: int, *, folded: bool) -> Meter:
    """What it costs to end a bucket of so many records."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        ending = Ending(Path(folder))
        for n in range(ROUNDS):
            due = Micros(DUE + n)
            bucket = ending.bucket(records, due)
            if folded:
                fold(ending.vault, [bucket])
            ending.vault.clock.set_manual(due)
            with meter.round():
                assert ending.tick() == 1, "the bucket must end"
    return meter


def late(records: int, buckets: int, *, folded: bool) -> float:
    """Seconds after the instant until the last of the buckets due then is ended and told."""
    with tempfile.TemporaryDirectory() as folder:
        ending = Ending(Path(folder))
        for _ in range(buckets):
            bucket = ending.bucket(records, DUE)
            if folded:
                fold(ending.vault, [bucket])
        ending.vault.clock.set_manual(DUE)
        began = time.perf_counter()
        assert ending.tick() == buckets, "every bucket must end"
        return time.perf_counter() - began + TICK_SECONDS


def expander() -> Iterator[Figure]:
    """How many decisions a CPU second is enough for, read, judged and told."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.tag(bench.events("form", range(EXPANDED)))
        for (topic, partition), records in bench.sink.take().items():
            if topic.startswith("records."):
                bench.route(bench.inbound(topic, partition, records))
        log = MemoryLog(lambda: time.time_ns() // 1_000_000)
        for topic in ("decisions", f"processor.{PROCESSOR}"):
            log.create_topic(topic, PARTITIONS)
        for (topic, partition), records in bench.sink.take().items():
            for record in records if topic == "decisions" else ():
                log.append(Outbound(topic, partition, None, record.value))
        with bench.vault.transaction(write=False) as tx:
            (row, *_) = tx.all_buckets(purpose="answer_request")
        others = BucketId("answer_request", Period(1), Terms(0))
        yield _expanded(bench.vault, log, row.id, "every one of the bucket", EXPANDED)
        yield _expanded(bench.vault, log, others, "none of the bucket", 0)


def _expanded(vault: Vault, log: MemoryLog, bucket: BucketId, what: str, wanted: int) -> Figure:
    job = Job(PROCESSOR, *bucket, Micros(0), Micros(0), Sequence(0), 0)

    out = Out(sink=ListSink(), partitions=lambda _topic: PARTITIONS)
    expander = Expander(vault=vault, out=out, scan=partial(scan_memory, log), work=inline)
    plans, meter = PlanBook(vault)(), Meter()
    for _ in range(ROUNDS):
        with vault.transaction() as tx:
            tx.put_meta(JOBS, msgspec.msgpack.encode([job]))
        with meter.round(EXPANDED):
            sent = asyncio.run(expander.run(plans))
        assert sent == wanted, sent
    what = f"expander: decisions per CPU second, {what}"
    return Figure(of="expire", what=what, figure=meter.rate, unit="/s", goal=300_000)


async def refused(vault: Vault, server: Server, days: list[list[dict[str, Any]]]) -> list[float]:
    """Seconds from the commit that destroys a day's buckets until the endpoint first refuses their keys."""
    role = Surroundings(
        vault=vault,
        sink=MemorySink(MemoryLog(lambda: 0)),
        partitions=lambda _topic: PARTITIONS,
        service_key=bytes(32),
    )
    herald, plans, waits = role.herald(PlanBook(vault)()), PlanBook(vault), []
    assert len(plans())
    connection = await server.connect()
    for deliveries in days:
        question = keys.question(deliveries[:1])
        assert keys.keys_in((await connection.ask(question))[1]), "it must open before"
        gone = {
            BucketId(w["purpose"], w["period"], w["terms"])
            for part in deliveries[0]["compartments"]
            for w in part["wraps"]
        }
        with vault.transaction() as tx:
            for bucket in gone:
                assert end_bucket(tx, bucket, herald)
        committed = time.perf_counter()
        while keys.keys_in((await connection.ask(question))[1]):
            pass
        waits.append(time.perf_counter() - committed)
    connection.close()
    return waits


def measure() -> list[Figure]:
    """All figures."""
    found = list(_ends())
    found += expander()
    with tempfile.TemporaryDirectory() as name, Child(keys.serve, Path(name), DAYS) as child:
        vault = keys.bench(Path(name)).vault
        waits = asyncio.run(refused(vault, keys.target(child, Path(name)), child.said[1]))
    what = f"destroyed to first refusal at the key endpoint, slowest of {DAYS}"
    found.append(Figure(of="expire", what=what, figure=max(waits) * 1000, unit="ms", goal=1000, at_most=True))
    return found


def _ends() -> Iterator[Figure]:
    small = ended(SMALL, folded=False)
    for folded in (True, False):
        large = ended(LARGE, folded=folded)
        how = "folded" if folded else "not folded"
        yield Figure(
            of="expire",
            what=f"bucket of {LARGE:,}, {how}: destroy, hide, publish",
            figure=large.cost * 1000,
            unit="ms CPU",
            goal=1.2 * small.cost * 1000 if folded else None,
            at_most=True,
            peer=f"bucket of {SMALL:,}",
            peer_figure=small.cost * 1000,
        )
    for records, buckets, folded in (
        (LARGE, 1, True),
        (LARGE // MANY, MANY, True),
        (LARGE // MANY, MANY, False),
    ):
        how = "" if folded else ", not folded"
        yield Figure(
            of="expire",
            what=f"lateness of the last of {buckets:,} buckets of {records:,} due in one tick{how}",
            figure=late(records, buckets, folded=folded),
            unit="s",
            goal=1.0 if folded else None,
            at_most=True,
        )


if __name__ == "__main__":
    run(measure, __doc__)
