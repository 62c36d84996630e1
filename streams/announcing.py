"""The one announcer: what committed transactions owe, produced in order, forgotten when acknowledged.

A key is destroyed first and announced second; the outbox row, written by the transaction that destroyed it,
is what makes sure of the second. A lease in the vault keeps two processes from announcing at once, and order
with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from schemas.errors import LapseError, Unavailable
from schemas.ids import Micros
from streams import metrics
from streams.faults import ANNOUNCED, LEASED, Crash, never
from streams.ports import Outbound, Sink
from vault.port import Tx, Vault
from vault.values import OutboxRow

LEASE = "lease/announcer"
LEASE_FOR = 20_000_000
"""Microseconds of wall time after which another process may take over."""
LEASE_LEFT = 15_000_000
"""Microseconds that must be left of a lease when a send begins, which is given up sooner."""
SEND_WITHIN = 10.0
"""Seconds a batch may take; a quarter of a lease is left for what is already on the wire."""
BATCH = 500
"""Messages per batch."""
MOST_STUCK = 50_000
"""How many messages of topics that are away are read past."""

Gone = Callable[[bytes], bool]
"""Whether the owner of a lease is known to be dead; who is not known to be may only be slow."""


def nobody(_owner: bytes) -> bool:
    """Know of nobody that they are dead."""
    return False


class Announcer:
    """Empties the outbox; `wall` is the machine's clock (microseconds), since a manual one stands still."""

    def __init__(
        self,
        vault: Vault,
        sink: Sink,
        *,
        owner: bytes,
        wall: Callable[[], Micros],
        crash: Crash = never,
        gone: Gone = nobody,
    ) -> None:
        self._vault = vault
        self._sink = sink
        self._owner, self._gone = owner, gone
        self._wall = wall
        self._crash = crash
        self._stuck = 0

    async def announce(self) -> int:
        """Produce what was owed when this began; return how many. 0 also while another process has the lease.

        What comes to be owed meanwhile is for the next call: a steady stream must not keep the caller here.
        """
        with self._vault.transaction(write=False) as tx:
            owed, now = tx.outbox_count(), tx.now
            oldest = tx.outbox(1) if owed else []
        metrics.OUTBOX.set(owed)
        metrics.OUTBOX_AGE.set((now - oldest[0].written_at) / 1e6 if oldest else 0.0)
        done = 0
        while done < owed and (sent := await self._batch()):
            done += sent
        return done

    async def _batch(self) -> int:
        rows = self._taken()
        if not rows:
            return 0
        self._crash(LEASED)
        topics: dict[str, list[OutboxRow]] = {}
        for row in rows:
            topics.setdefault(row.topic, []).append(row)
        answers = await asyncio.gather(*map(self._send, topics.values()), return_exceptions=True)
        failed = [answer for answer in answers if answer is not None]
        for error in failed:
            if not isinstance(error, LapseError):
                raise error
        self._crash(ANNOUNCED)
        told = zip(topics.values(), answers, strict=True)
        sent = [row.id for owed, answer in told if answer is None for row in owed]
        with self._vault.transaction() as tx:
            tx.delete_outbox(sent)
            take_lease(tx, LEASE, self._owner, self._wall(), LEASE_FOR, self._gone)
        # What a topic does not take stays ahead of everything younger: it is read past the next time.
        self._stuck = min(len(rows) - len(sent), MOST_STUCK)
        for error in failed:
            raise error
        return len(rows)

    def _taken(self) -> Sequence[OutboxRow]:
        """What is owed, if it is ours to send; the lease is written anew only where little of it is left."""
        most = BATCH + self._stuck
        with self._vault.transaction(write=False) as tx:
            if lease_left(tx, LEASE, self._owner, self._wall(), LEASE_FOR) >= LEASE_LEFT:
                return tx.outbox(most)
        with self._vault.transaction() as tx:
            ours = take_lease(tx, LEASE, self._owner, self._wall(), LEASE_FOR, self._gone)
            return tx.outbox(most) if ours else ()

    async def _send(self, rows: Sequence[OutboxRow]) -> None:
        """Produce one topic's messages, so that a topic that is away keeps back nobody else's."""
        records = [Outbound(row.topic, row.partition, row.key, row.value) for row in rows]
        try:
            await asyncio.wait_for(self._sink.send(records), SEND_WITHIN)
        except TimeoutError:
            raise Unavailable("unavailable", "the broker does not take announcements", "outbox") from None


def take_lease(tx: Tx, name: str, owner: bytes, now: Micros, span: int, gone: Gone = nobody) -> bool:
    """Take or renew a lease in a write transaction; False while another owner's still runs who is not gone.

    One that ends later than any lease taken now would is of a wall clock that was set back since.
    """
    held = tx.meta(name)
    if held is not None and held[8:] != owner:
        runs = now < int.from_bytes(held[:8], "big") <= now + span
        if runs and not gone(held[8:]):
            return False
    tx.put_meta(name, (now + span).to_bytes(8, "big") + owner)
    return True


def lease_left(tx: Tx, name: str, owner: bytes, now: Micros, span: int) -> int:
    """How long an owner still has a lease (microseconds); 0 where others may take it, see `take_lease`."""
    held = tx.meta(name)
    if held is None or held[8:] != owner:
        return 0
    left = int.from_bytes(held[:8], "big") - now
    return left if 0 < left <= span else 0


async def drained(vault: Vault, nap: Callable[[], Awaitable[None]], patience: int = 200) -> None:
    """Return once everything owed at this moment is on the log; a Kafka commit waits for this.

    `Unavailable` after `patience` naps: the chunk is then done again, unless the worker has to stop
    meanwhile.
    """
    with vault.transaction(write=False) as tx:
        rows = tx.outbox(1_000_000)
    if not rows:
        return
    last = rows[-1].id
    for _ in range(patience):
        with vault.transaction(write=False) as tx:
            oldest = tx.outbox(1)
        if not oldest or oldest[0].id > last:
            return
        await nap()
    raise Unavailable("unavailable", "messages are still owed to the log", "outbox", "is expire running?")
