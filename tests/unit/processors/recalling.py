"""A recipient with many objects that is asked for all of them back: shared by the test and the long run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from processors.answers import Answer, Done
from processors.backoff import seconds
from processors.calls import Call, Erase
from processors.connector import Connector, Limits, Surroundings
from processors.values import Timing
from schemas.codec import decode_as, encode
from schemas.ids import LapseId, Micros
from schemas.ids import Sequence as Seq
from schemas.models import Depersonalized, ProcessorScope, ReceiptGiven, RecordDelivered
from streams.ports import Chunk, Inbound
from streams.receipts import settle
from tests.unit.processors.kit import NAME, Keys, Vendor, Wall, delivery, ledger
from vault.port import Vault
from vault.tasks import Task

RECALL = LapseId(b"recall----------")
TIMING = Timing(call=seconds(5), lease=seconds(6))
LIMITS = Limits(in_flight=16, batch=200, poll=0.001)
DAYS = Micros(30 * 86_400_000_000)


class Killed(Exception):
    """The worker died in the middle of a call."""


@dataclass
class Shelf(Vendor):
    """A recipient that remembers keys alone, and at whose n-th erasure the worker dies."""

    there: set[str] = field(default_factory=set)
    erasures: int = 0
    dies_at: int = -1

    async def call(self, call: Call) -> Answer:
        """Keep the key, or let it go."""
        await asyncio.sleep(0)
        if not isinstance(call, Erase):
            self.there.add(call.key)
            return Done(outcome="delivered")
        self.erasures += 1
        self.there.discard(call.key)
        if self.erasures == self.dies_at:
            raise Killed
        return Done(outcome="completed", evidence=hashlib.sha256(call.key.encode()).digest())


@dataclass
class Recalling:
    """One recipient on a vault, its connector, and the chunks of its topic."""

    vault: Vault
    shelf: Shelf = field(default_factory=Shelf)
    wall: Wall = field(default_factory=Wall)
    offset: int = 0

    def connector(self) -> Connector:
        """A worker's connector."""
        return Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.shelf,
            ledger=ledger(self.shelf, Keys(), TIMING),
            around=Surroundings(wall=self.wall),
            call_deadline=seconds(5),
            limits=LIMITS,
        )

    def chunk(self, records: Sequence[RecordDelivered | Depersonalized]) -> Chunk:
        """The next chunk of the topic."""
        start, self.offset = self.offset, self.offset + len(records)
        return Chunk(
            topic=f"processor.{NAME}",
            topic_id=b"t" * 16,
            partition=0,
            records=[
                Inbound(offset=start + n, timestamp_ms=0, key=None, value=encode(r))
                for n, r in enumerate(records)
            ],
        )

    async def fill(self, count: int, *, at_a_time: int = 500) -> None:
        """Deliver to this many objects."""
        worker = self.connector()
        for start in range(0, count, at_a_time):
            names = range(start, min(count, start + at_a_time))
            made = [delivery(f"d{n}", subject=f"s{n}", parts=[({"email": "x"}, ["p"])]) for n in names]
            assert await worker.handle(self.chunk(made)) is None

    def order(self) -> Chunk:
        """Enter the recall as govern does, and return the chunk it comes in."""
        with self.vault.transaction() as tx:
            task = Task(
                processor=NAME,
                about=RECALL,
                due=Micros(tx.now + DAYS),
                since=tx.now,
                cause="recall",
                reason="a leak",
                held=tuple(tx.held(NAME)),
                objects=tx.count_objects(NAME),
            )
            tx.put_tasks([task])
            recall = Depersonalized(
                lapse_id=RECALL,
                cause="recall",
                scope=ProcessorScope(),
                reaches=Seq(10**9),
                control_offset=0,
                effective_at=tx.now,
                records=0,
                answer_by=task.due,
            )
        return self.chunk([recall])

    async def go_on(self) -> None:
        """Let a new worker's loop work until nothing is left, as after a restart."""
        worker = self.connector()
        while worker.waiting():
            if not await worker.tick():
                self.wall.pass_(1.0)

    def fold(self) -> None:
        """Let govern read the receipts that are owed."""
        with self.vault.transaction() as tx:
            rows = [row for row in tx.outbox(1_000_000) if row.topic == "receipts"]
            settle(tx, [decode_as(ReceiptGiven, row.value) for row in rows], {})
            tx.delete_outbox(row.id for row in rows)


def as_text(document: object) -> str:
    """A report as it is written."""
    return json.dumps(document)
