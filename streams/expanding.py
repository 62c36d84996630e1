"""The expander: one depersonalization per delivery, for processors that cannot follow a whole bucket's.

It reads `decisions` by append time, from when the bucket was first used; the job is kept in the vault until
all its lapses are on the processor's topic, so a crash only makes it say something twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import msgspec

from schemas.decided import DecisionReader, Run, runs
from schemas.errors import Unavailable
from schemas.frames import LapseFrame
from schemas.ids import DeliveryId, LapseId, Micros, Period, Sequence, Slot, Terms
from schemas.models import Depersonalized, RecordDecided, RecordScope
from schemas.plan import MEMO, Plans
from streams.faults import EXPANDED, Crash, never
from streams.out import Out
from streams.ports import Outbound
from streams.scan import Scan, Start, Time
from streams.stage import Blocking
from vault.handles import delivery_names
from vault.keys import ID_BYTES
from vault.port import Tx, Vault
from vault.values import BucketId, BucketRow

JOBS = "expand/jobs"
"""Meta: what is to be expanded."""
AT_ONCE = 5_000
"""Lapses that are kept in hand before they are sent."""
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


def ask_expansion(tx: Tx, rows: Collection[BucketRow], plans: Plans) -> None:
    """In the transaction that ends buckets: note which processors want their lapses per delivery."""
    wanting = {p.name for plan in plans for p in plan.processors if p.lapse == "per_delivery"}
    told = tx.told_of_buckets([row.id for row in rows]) if wanting else {}
    jobs = [
        Job(name, *row.id, row.first_seen, tx.now, tx.seq, tx.control_offset)
        for row in rows
        for name in told[row.id]
        if name in wanting
    ]
    if jobs:
        tx.put_meta(JOBS, msgspec.msgpack.encode([*pending(tx), *jobs]))


def pending(tx: Tx) -> list[Job]:
    """Jobs not done yet."""
    blob = tx.meta(JOBS)
    return msgspec.msgpack.decode(blob, type=list[Job]) if blob else []


class Lapses:
    """The lapse of every delivery under the buckets of one processor's jobs.

    Pure; what entries alike share is judged once.
    """

    def __init__(self, jobs: Iterable[Job], secret: bytes, plans: Plans) -> None:
        self._plans = plans
        self._names = delivery_names(secret)
        self._told = [(job, repr(tuple(job.bucket)).encode(), _frame(job, plans)) for job in jobs]
        self._judged: dict[int, tuple[RecordDecided, list[tuple[bytes, LapseFrame]]]] = {}

    def of(self, runs: Iterable[Run]) -> Iterator[tuple[Slot, bytes]]:
        """The lapses that these entries of `decisions` ask for, framed, with the slot each goes to."""
        name = self._names.digest
        for like, each in runs:
            known = self._judged.get(id(like))
            if known is None:
                if len(self._judged) >= MEMO:
                    self._judged.clear()
                known = self._judged[id(like)] = like, self._wanted(like)
            for bucket, frame in known[1]:
                for record_id, slot in each:
                    delivery = name(record_id)[:ID_BYTES]
                    lapse = sha256(_EXPANDED + delivery + bucket).digest()[:ID_BYTES]
                    yield slot, frame.encode(lapse, delivery)

    def _wanted(self, entry: RecordDecided) -> list[tuple[bytes, LapseFrame]]:
        if entry.outcome != "routed":
            return []
        return [(bucket, frame) for job, bucket, frame in self._told if _granted(job, entry, self._plans)]


def _frame(job: Job, plans: Plans) -> LapseFrame:
    within = [p.erase_within for plan in plans for p in plan.processors if p.name == job.processor]
    return LapseFrame(
        Depersonalized(
            lapse_id=LapseId(bytes(ID_BYTES)),
            cause="retention",
            scope=RecordScope(delivery_id=DeliveryId(bytes(ID_BYTES)), purposes=[job.purpose]),
            reaches=job.reaches,
            control_offset=job.control_offset,
            effective_at=job.ended_at,
            records=1,
            answer_by=Micros(job.ended_at + within[-1]) if within else None,
        )
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
    """Does the jobs, a processor at a time: its buckets are looked for in one pass over the log.

    `work` runs what blocks without stalling the loop, a piece at a time, so that others have their turn.
    """

    vault: Vault
    out: Out
    scan: Scan
    work: Blocking
    crash: Crash = never

    async def run(self, plans: Plans) -> int:
        """Do every job that is pending; returns how many lapses were sent.

        One processor's topic that is away keeps no other from hearing; `Unavailable` is raised at the end.
        """
        with self.vault.transaction(write=False) as tx:
            jobs = pending(tx)
        sent, away = 0, None
        for name in dict.fromkeys(job.processor for job in jobs):
            try:
                sent += await self._tell(name, [job for job in jobs if job.processor == name], plans)
            except Unavailable as error:
                away = error
        if away is not None:
            raise away
        return sent

    async def _tell(self, processor: str, jobs: list[Job], plans: Plans) -> int:
        sent, found = 0, self._found(processor, jobs, plans)
        while (records := await self.work(partial(next, found, None))) is not None:
            await self.out.send(records)
            sent += len(records)
        self.crash(EXPANDED)
        with self.vault.transaction() as tx:
            rest = [each for each in pending(tx) if each not in jobs]
            tx.put_meta(JOBS, msgspec.msgpack.encode(rest) if rest else None)
        return sent

    def _found(self, processor: str, jobs: list[Job], plans: Plans) -> Iterator[list[Outbound]]:
        """The lapses in pieces of about `AT_ONCE`, some of them empty."""
        # A manual clock says nothing about when records were appended.
        since = max(0, min(job.since for job in jobs) // 1000 - SLACK_MS)
        start: Start = Time(since) if self.vault.clock.mode == "system" else "beginning"
        topic = f"processor.{processor}"
        lapses = Lapses(jobs, self.vault.secrets.processor(processor), plans)
        reader, places = DecisionReader(), self.out.places(topic)
        for batch in self.scan(["decisions"], start=start):
            piece: list[Outbound] = []
            for record in batch.records:
                told = lapses.of(runs(reader, record.value or b""))
                piece += [Outbound(topic, places[slot], None, value) for slot, value in told]
                if len(piece) >= AT_ONCE:
                    yield piece
                    piece = []
            yield piece
