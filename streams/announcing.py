"""The one announcer: messages that committed transactions owe, produced in order, forgotten when
acknowledged.

A key is destroyed first and announced second; the outbox row, written by the transaction that destroyed it,
is what
makes sure of the second. A lease in the vault keeps two processes from announcing at once, and order with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from schemas.errors import Unavailable
from schemas.ids import Micros
from streams.faults import ANNOUNCED, Crash, never
from streams.ports import Outbound, Sink
from vault.port import Tx, Vault

LEASE = "lease/announcer"
LEASE_FOR = 15_000_000
"""Microseconds of wall time after which another process may take over; a send is given up sooner."""
SEND_WITHIN = 10.0
"""Seconds a batch may take; half a lease is left for what is already on the wire."""
BATCH = 500
"""Messages per batch."""


class Announcer:
    """Empties the outbox; `wall` is the machine's clock in microseconds, since a manual clock stands
    still.
    """

    def __init__(
        self, vault: Vault, sink: Sink, *, owner: bytes, wall: Callable[[], Micros], crash: Crash = never
    ) -> None:
        self._vault = vault
        self._sink = sink
        self._owner = owner
        self._wall = wall
        self._crash = crash

    async def announce(self) -> int:
        """Produce what is owed now; returns how many messages. 0 also where another process holds
        the lease.
        """
        done = 0
        while sent := await self._batch():
            done += sent
        return done

    async def _batch(self) -> int:
        with self._vault.transaction(write=False) as tx:
            if not tx.outbox_count():
                return 0
        with self._vault.transaction() as tx:
            if not take_lease(tx, LEASE, self._owner, self._wall(), LEASE_FOR):
                return 0
            rows = tx.outbox(BATCH)
        if not rows:
            return 0
        records = [Outbound(row.topic, row.partition, row.key, row.value) for row in rows]
        try:
            await asyncio.wait_for(self._sink.send(records), SEND_WITHIN)
        except TimeoutError:
            raise Unavailable("unavailable", "the broker does not take announcements", "outbox") from None
        self._crash(ANNOUNCED)
        with self._vault.transaction() as tx:
            tx.delete_outbox([row.id for row in rows])
        return len(rows)


def take_lease(tx: Tx, name: str, owner: bytes, now: Micros, span: int) -> bool:
    """Take or renew a lease in a write transaction; False while another owner's still runs."""
    held = tx.meta(name)
    if held is not None and held[8:] != owner and int.from_bytes(held[:8], "big") > now:
        return False
    tx.put_meta(name, (now + span).to_bytes(8, "big") + owner)
    return True


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
