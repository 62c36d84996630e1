"""One processor's connector: chunks of its topic in, calls within a budget out, a loop for what waits.

A chunk is done once everything in it is entered in the vault and was attempted once; what the recipient did
not take waits there, object by object, and blocks nobody. Only when very much waits does a chunk wait too,
so that the rest stays in Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from processors import metrics
from processors.answers import Answer
from processors.backoff import seconds
from processors.calling import Calling
from processors.faults import ANSWERED, CLAIMED, DONE, ENTERED, FINISHED, MARKED
from processors.following import Following
from processors.gate import Gate
from processors.ledger import Ledger
from processors.pieces import ChunkLike, pieces
from processors.recipient import Recipient
from processors.values import Answered, Claim, Place
from schemas.errors import Unavailable
from schemas.ids import Micros
from schemas.models import Depersonalized, RecordDelivered
from vault.faults import Crash, never
from vault.port import Tx, Vault

log = logging.getLogger(__name__)

ASK = 5
"""Looks at what waits for each look at what was accepted: that hurries less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a connector does at once."""

    in_flight: int = 16
    """Calls under way: the budget a recipient grants us."""
    batch: int = 200
    """Deliveries entered by one transaction."""
    waiting: int = 10_000
    """Objects that may wait before chunks do."""
    gather: float = 0.005
    """Seconds an answer waits for others, because entering one costs as much as entering all."""
    poll: float = 0.2
    """Seconds between two looks at what waits."""
    look_again: Micros = seconds(30)
    """How soon objects are looked at again while nothing may be called."""


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What a connector takes from outside: the wall clock and randomness."""

    wall: Callable[[], Micros]
    random: random.Random = field(default_factory=random.SystemRandom)


class _Overtaken(Exception):
    """Another worker has moved the partition on: nothing of this chunk may be entered any more."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Connector:
    """Runs one recipient. `handle` and `run` may go side by side; leases keep attempts on an object apart."""

    def __init__(
        self,
        *,
        name: str,
        vault: Vault,
        recipient: Recipient,
        ledger: Ledger,
        around: Surroundings,
        call_deadline: Micros,
        limits: Limits | None = None,
        gate: Gate | None = None,
        crash: Crash = never,
    ) -> None:
        self._name, self._vault, self._recipient, self._ledger = name, vault, recipient, ledger
        self._around = around
        self._limits = limits or Limits()
        self.gate = gate or Gate()
        self._crash = crash
        self._slots = asyncio.Semaphore(self._limits.in_flight)
        self._calling = Calling(
            name=name,
            recipient=recipient,
            gate=self.gate,
            wall=around.wall,
            deadline=call_deadline / 1_000_000,
            slots=self._slots,
            look_again=self._limits.look_again,
            crash=crash,
        )
        self.following = Following(
            name=name,
            vault=vault,
            recipient=recipient,
            reports=ledger.reports,
            ask=self._calling.follow,
            wall=around.wall,
            draw=around.random.random,
            timing=ledger.timing,
        )

    # ---- the topic -----------------------------------------------------------------------------------------
    async def handle(self, chunk: ChunkLike) -> int | None:
        """Do one chunk; None when everything is durable, else the offset at which another worker has gone on.

        Raises Unavailable when the vault is away and Rejected for a record that is not of this topic; the
        chunk is then to be done again.
        """
        place, topic = Place(topic_id=chunk.topic_id, partition=chunk.partition), chunk.topic_id.hex()
        with self._vault.transaction(write=False) as tx:
            start = tx.progress(topic, chunk.partition)
        records = [r for r in chunk.records if start is None or r.offset >= start]
        if not records:
            return None
        await self._room()
        try:
            for piece in pieces(records, self._limits.batch):
                if isinstance(piece, Depersonalized):
                    await self._lapse(piece, place, start)
                else:
                    await self.attempt(self._register(piece, place, start))
            with self._fenced(place, start) as tx:
                tx.set_progress(topic, chunk.partition, records[-1].offset + 1)
            self._crash(DONE)
        except _Overtaken as overtaken:
            return overtaken.at
        return None

    @contextmanager
    def _fenced(self, place: Place, start: int | None) -> Iterator[Tx]:
        """Begin a write that happens only while nobody else has moved this partition on."""
        with self._vault.transaction() as tx:
            now = tx.progress(place.topic_id.hex(), place.partition)
            if now is not None and now != start:
                raise _Overtaken(now)
            yield tx

    async def _room(self) -> None:
        while True:
            if self.waiting() < self._limits.waiting:
                return
            await asyncio.sleep(self._limits.poll)

    def waiting(self) -> int:
        """Return how many objects have still something to be done for them at the recipient."""
        with self._vault.transaction(write=False) as tx:
            return tx.objects_waiting(self._name)

    def _register(
        self, deliveries: Sequence[tuple[RecordDelivered, bytes]], place: Place, start: int | None
    ) -> list[bytes]:
        with self._fenced(place, start) as tx:
            refs = self._ledger.register(tx, deliveries, self._around.wall())
        self._crash(ENTERED)
        return refs

    async def _lapse(self, lapse: Depersonalized, place: Place, start: int | None) -> None:
        after: bytes | None = b""
        refs: list[bytes] = []
        while after is not None:
            with self._fenced(place, start) as tx:
                page, after = self._ledger.mark(tx, lapse, place, after, self._around.wall())
            refs += page[: self._limits.batch - len(refs)]
            await asyncio.sleep(0)  # a bucket of a million objects must not starve the loop
        self._crash(MARKED)
        await self.attempt(refs)  # the rest of a large lapse waits for the loop, entered as due

    # ---- what waits ----------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Attempt for ever what is due, and ask about what was accepted; cancel it to stop."""
        poll = self._limits.poll
        await asyncio.gather(self._repeat(self.tick, poll), self._repeat(self.following.tick, ASK * poll))

    async def _repeat(self, look: Callable[[], Awaitable[int]], pause: float) -> None:
        while True:
            try:
                busy = await look()
            except Unavailable as error:
                log.warning(
                    "connector waits for the vault", extra={"processor": self._name, "code": error.code}
                )
                busy = 0
            if not busy:
                await asyncio.sleep(pause)

    async def tick(self) -> int:
        """Attempt what is due now, once; return how many objects were looked at."""
        with self._vault.transaction(write=False) as tx:
            any_due = self._ledger.any_due(tx, self._around.wall())
        metrics.WAITING.labels(self._name).set(self.waiting())
        metrics.PAUSED.labels(self._name).set(self.gate.opens_at(self._around.wall()) > self._around.wall())
        if not any_due:
            return 0
        with self._vault.transaction() as tx:
            refs = self._ledger.due(tx, self._around.wall(), self._limits.batch)
        await self.attempt(refs)
        return len(refs)

    # ---- attempts ------------------------------------------------------------------------------------------
    async def attempt(self, refs: Collection[bytes]) -> None:
        """Attempt each object once, as many at a time as the budget allows."""
        queue, running = deque(dict.fromkeys(refs)), dict[asyncio.Task[Answer], Claim]()
        try:
            while queue or running:
                slots = await self._take(len(queue), wait=not running)
                finished = [t for t in running if t.done()]
                answered = [self._answered(running.pop(t), t.result()) for t in finished]
                claims: list[Claim] = []
                try:
                    claims = self._step(queue, slots, answered)
                finally:  # also where the vault did not answer: a slot that is lost would be lost for ever
                    self._give_back(len(finished) + slots - len(claims))
                running |= {asyncio.create_task(self._call(claim)): claim for claim in claims}
                if running:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    if len(running) > 1:  # answers that come close together share a transaction
                        await asyncio.sleep(self._limits.gather)
        finally:
            for task in running:
                task.cancel()
            self._give_back(len(running))

    async def _take(self, want: int, *, wait: bool) -> int:
        """Take up to `want` free slots of the budget; with `wait` at least one."""
        taken = 0
        while taken < want and (not self._slots.locked() or (wait and not taken)):
            await self._slots.acquire()
            taken += 1
        return taken

    def _give_back(self, slots: int) -> None:
        for _ in range(slots):
            self._slots.release()

    def _step(self, queue: deque[bytes], slots: int, answered: list[Answered]) -> list[Claim]:
        """In one transaction enter the answers that came and claim as many objects as there are slots."""
        wall = self._around.wall()
        opens_at = self._opens_at(wall)
        take, postponed = [], []
        if opens_at > wall:
            postponed = list(queue)
            queue.clear()
        else:
            take = [queue.popleft() for _ in range(slots)]
        if not (take or answered or postponed):
            return []
        if answered:
            self._crash(ANSWERED)
        with self._vault.transaction() as tx:
            again = self._ledger.finish(tx, answered, wall)
            self._ledger.postpone(tx, postponed, opens_at)
            claims = self._ledger.claim(tx, take, wall, self._owners()) if take else []
        if answered:
            self._crash(FINISHED)
        if claims:
            self._crash(CLAIMED)
        queue.extend(again)
        return claims

    def _opens_at(self, wall: Micros) -> Micros:
        """When to look again; a connector disabled for good is looked at too, in case somebody enables it."""
        return min(self.gate.opens_at(wall), Micros(wall + self._limits.look_again))

    def _owners(self) -> Iterator[bytes]:
        while True:
            yield self._around.random.randbytes(16)

    def _answered(self, claim: Claim, answer: Answer) -> Answered:
        opens_at = self._opens_at(self._around.wall())
        return Answered(claim=claim, answer=answer, draw=self._around.random.random(), opens_at=opens_at)

    async def _call(self, claim: Claim) -> Answer:
        call = claim.attempt.call
        assert call is not None
        return await self._calling.call(call)

    async def close(self) -> None:
        """Release the recipient's connections."""
        await self._recipient.close()
