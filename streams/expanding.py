"""The expander: one depersonalization per delivery, for processors that cannot follow a whole bucket's.

It reads `decisions` by append time, from when the bucket was first used; the job is kept in the vault until
all its lapses are on the processor's topic, so a crash only makes it say something twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import msgspec

from schemas.decided import DecisionReader, Run, runs
from schemas.frames import LapseFrame
from schemas.ids import SLOTS, DeliveryId, LapseId, Micros, Period, Sequence, Slot, Terms
from schemas.models import Depersonalized, RecordDecided, RecordScope
from schemas.plan import MEMO, Plans
from streams.faults import EXPANDED, Crash, never
from streams.out import Out
from streams.ports import Outbound
from streams.scan import Scan, Start, Time
from vault.handles import delivery_names, partition_of
from vault.keys import ID_BYTES
from vault.port import Tx, Vault
from vault.values import BucketId, BucketRow

JOBS = "expand/jobs"
"""Meta: what is to be expanded."""
SLACK_MS = 60_000
"""How much earlier than the bucket's first use the reading begins: the broker has a clock of its own."""
_EXPANDED = b"lapse/v1/expanded"


class Job(msgspec.Struct, frozen=True, array_like=True):
    """A bucket's lapse that one processor wants per delivery."""

    processor: str
    purpose: str
    period: Period
    terms: Terms
    since: Micros
    ended_at: Micros
    reaches: Sequence
    control_offset: int

    @property
    def bucket(self) -> BucketId:
        """The bucket that ended."""
        return BucketId(self.purpose, self.period, self.terms)


def ask_expansion(tx: Tx, row: BucketRow, plans: Plans) -> None:
    """In the transaction that ends a bucket: note which processors want its lapse per delivery."""
    wanting = {p.name for plan in plans for p in plan.processors if p.lapse == "per_delivery"}
    jobs = [
        Job(name, *row.id, row.first_seen, tx.now, tx.seq, tx.control_offset)
        for name in tx.told_of_bucket(row.id)
        if name in wanting
    ]
    if jobs:
        tx.put_meta(JOBS, msgspec.msgpack.encode([*pending(tx), *jobs]))


def pending(tx: Tx) -> list[Job]:
    """Jobs not done yet."""
    blob = tx.meta(JOBS)
    return msgspec.msgpack.decode(blob, type=list[Job]) if blob else []


class Lapses:
    """The lapse of every delivery of a job's bucket. Pure; what entries alike share is judged once."""

    def __init__(self, job: Job, secret: bytes, plans: Plans) -> None:
        self._job, self._plans = job, plans
        self._names = delivery_names(secret)
        self._bucket = repr(tuple(job.bucket)).encode()
        self._judged: dict[int, tuple[RecordDecided, bool]] = {}
        self._frame = LapseFrame(self._lapse(bytes(16), bytes(16)))

    def of(self, runs: Iterable[Run]) -> Iterator[tuple[Slot, bytes]]:
        """The lapses that these entries of `decisions` ask for, framed, with the slot each goes to."""
        name, frame, bucket = self._names.digest, self._frame.encode, self._bucket
        for like, each in runs:
            known = self._judged.get(id(like))
            if known is None:
                if len(self._judged) >= MEMO:
                    self._judged.clear()
                known = self._judged[id(like)] = like, self._wanted(like)
            if known[1]:
                for record_id, slot in each:
                    delivery = name(record_id)[:ID_BYTES]
                    lapse = sha256(_EXPANDED + delivery + bucket).digest()[:ID_BYTES]
                    yield slot, frame(lapse, delivery)

    def _wanted(self, entry: RecordDecided) -> bool:
        return entry.outcome == "routed" and _granted(self._job, entry, self._plans)

    def _lapse(self, lapse: bytes, delivery: bytes) -> Depersonalized:
        job = self._job
        within = [p.erase_within for plan in self._plans for p in plan.processors if p.name == job.processor]
        return Depersonalized(
            lapse_id=LapseId(lapse),
            cause="retention",
            scope=RecordScope(delivery_id=DeliveryId(delivery), purposes=[job.purpose]),
            reaches=job.reaches,
            control_offset=job.control_offset,
            effective_at=job.ended_at,
            records=1,
            answer_by=Micros(job.ended_at + within[-1]) if within else None,
        )


def _granted(job: Job, entry: RecordDecided, plans: Plans) -> bool:
    policy = plans.version(entry.policy)
    for verdict in entry.verdicts:
        if policy.processors[verdict.processor].name != job.processor:
            continue
        for grant in verdict.grants:
            link = entry.links[grant.link]
            if BucketId(policy.purposes[link.purpose].name, link.period, link.terms) == job.bucket:
                return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expander:
    """Does the jobs; `work` runs a blocking function without stalling the loop."""

    vault: Vault
    out: Out
    scan: Scan
    work: Callable[[Callable[[], list[Outbound]]], Awaitable[list[Outbound]]]
    crash: Crash = never

    async def run(self, plans: Plans) -> int:
        """Do every job that is pending; returns how many lapses were sent."""
        with self.vault.transaction(write=False) as tx:
            jobs = pending(tx)
        sent = 0
        for job in jobs:
            secret = self.vault.secrets.processor(job.processor)
            records = await self.work(partial(self._read, job, secret, plans))
            await self.out.send(records)
            sent += len(records)
            self.crash(EXPANDED)
            with self.vault.transaction() as tx:
                rest = [each for each in pending(tx) if each != job]
                tx.put_meta(JOBS, msgspec.msgpack.encode(rest) if rest else None)
        return sent

    def _read(self, job: Job, secret: bytes, plans: Plans) -> list[Outbound]:
        by_time = (
            self.vault.clock.mode == "system"
        )  # a manual clock says nothing about when records were appended
        start: Start = Time(max(0, job.since // 1000 - SLACK_MS)) if by_time else "beginning"
        topic = f"processor.{job.processor}"
        lapses, reader, partitions = Lapses(job, secret, plans), DecisionReader(), self.out.partitions(topic)
        places = [partition_of(Slot(slot), partitions) for slot in range(SLOTS)]
        return [
            Outbound(topic, places[slot], None, value)
            for batch in self.scan(["decisions"], start=start)
            for record in batch.records
            for slot, value in lapses.of(runs(reader, record.value or b""))
        ]
