"""What expire does besides destroying: residue, purging, expansion, checkpoints, forgetting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from schemas import codec, signing
from schemas.ids import Micros
from schemas.merkle import Frontier
from schemas.models import CellCounted, CheckpointSigned
from schemas.plan import Plans
from schemas.times import DAY, SECOND
from streams import metrics
from streams.announcing import LEASE_FOR, Gone, take_lease
from streams.expanding import Expander
from streams.housekeeping import Purge
from streams.leaves import fold, sweep
from streams.planbook import PlanBook
from streams.requests import closed_before
from streams.residue import period_of, settle
from streams.scan import Scan
from vault.port import Tx, Vault
from vault.values import BucketId, BucketRow

SEEN_FOR = 4 * DAY
"""How long event ids are remembered: intake keeps three days, so a redelivery is always recognised."""
COMMANDS_FOR = 45 * DAY
"""How long it is remembered which commands were carried out: those that count are younger."""
REQUESTS_FOR = 365 * 86_400 * SECOND
"""How long what became of a request is listed after it came; its proof stays on the log longer."""
EPOCH_FOR = 7 * DAY
"""How long an epoch lasts: what a backup older than this holds of destroyed keys opens nothing."""
EPOCH_FOR_COPIES = DAY
"""The same where the store keeps what it replaced (PostgreSQL): the destroyed is gone within a day."""
FOLD_FROM, FOLD_AFTER = 2_000, 10 * SECOND
"""Records from which on a bucket's root is worked out ahead, and how long nothing may have come to it."""
FOLD_AHEAD = 900 * SECOND
"""How long before its end the root of every bucket is worked out, however few its records."""
JOIN_AFTER, FOLD_MOST = DAY, 200
"""How long nothing came to a smaller bucket before its leaves become one row; how many at one look."""
BEGAN = "epoch/began"
"""Meta: when the first epoch was first seen."""
LEASE = "lease/upkeep"
LOOK_SECONDS = 5.0
"""How often a worker looks whose turn the chores are; two that do them would take each other's ticks in
intake for data, and sign each other's checkpoints.
"""
TREE = "lifecycle/tree"
"""Meta: how far `lifecycle` is in the tree, and the tree's peaks."""
EVERY: Mapping[str, float] = {
    "residue": 1.0,
    "expand": 0.5,
    "purge": 2.0,
    "checkpoint": 60.0,
    "fold": 5.0,
    "seen": 60.0,
    "epoch": 3600.0,
}
"""Seconds between two runs of a chore."""
Shuffle = Callable[[Sequence[CellCounted]], list[CellCounted]]


def publish_residue(tx: Tx, plans: Plans, shuffle: Shuffle) -> int:
    """Publish closed periods' cells with enough people, carry the others on; return how many went out."""
    plan = plans.today(tx.now).residue
    current, published = period_of(plan, tx.now), 0
    cells = tx.residue()
    for period in sorted({cell.period for cell in cells if cell.period < current}):
        done = settle(plan, period, [cell for cell in cells if cell.period == period], shuffle)
        if done.published is not None:
            tx.put_outbox(
                kind="ResidueCounted",
                topic="residue",
                partition=0,
                key=None,
                value=codec.encode(done.published),
            )
            for counted in done.published.cells:
                tx.drop_residue(period, counted.label)
            published += len(done.published.cells)
        for cell in done.carried:
            tx.carry_residue(period, cell.label, current)
    return published


class _Tree(msgspec.Struct, array_like=True):
    """The tree over `lifecycle` as stored."""

    size: int = 0
    peaks: list[bytes] = []


@dataclass(slots=True, kw_only=True)
class Checkpoints:
    """Signs the Merkle root over `lifecycle` (its values, in order, earlier checkpoints too)."""

    vault: Vault
    scan: Scan
    key_id: str
    key: bytes = field(repr=False)

    def read(self, tree: _Tree) -> _Tree:
        """Read `lifecycle` on from where the tree ends: offset and size are one, the topic has no holes."""
        frontier = Frontier(tree.size, tree.peaks)
        for batch in self.scan(["lifecycle"], start={("lifecycle", 0): tree.size}):
            for record in batch.records:
                frontier.append(record.value or b"")
        return _Tree(frontier.size, frontier.peaks)

    def stored(self) -> _Tree:
        """The tree as of the last checkpoint."""
        with self.vault.transaction(write=False) as tx:
            blob = tx.meta(TREE)
        return msgspec.msgpack.decode(blob, type=_Tree) if blob else _Tree()

    def sign(self, before: _Tree, tree: _Tree) -> bool:
        """Owe a checkpoint, unless nothing but the last checkpoint was added."""
        if tree.size <= before.size + 1:
            return False
        with self.vault.transaction() as tx:
            unsigned = CheckpointSigned(
                size=tree.size,
                root=Frontier(tree.size, tree.peaks).root(),
                at=tx.now,
                key_id=self.key_id,
                signature=b"",
            )
            value = codec.encode(signing.sign(unsigned, self.key))
            tx.put_outbox(kind="CheckpointSigned", topic="lifecycle", partition=0, key=None, value=value)
            tx.put_meta(TREE, msgspec.msgpack.encode(tree))
        return True


@dataclass(slots=True, kw_only=True)
class Turn:
    """Whose turn the chores are, where expire has several workers: a lease, looked at every few seconds."""

    vault: Vault
    owner: bytes
    wall: Callable[[], Micros]
    gone: Gone
    now: Callable[[], float]
    lease: str = LEASE
    _held: bool = False
    _look_at: float = 0.0

    def __call__(self) -> bool:
        """Whether this worker does them now."""
        if self.now() >= self._look_at:
            self._look_at = self.now() + LOOK_SECONDS
            with self.vault.transaction() as tx:
                self._held = take_lease(tx, self.lease, self.owner, self.wall(), LEASE_FOR, self.gone)
        return self._held


@dataclass(slots=True, kw_only=True)
class Upkeep:
    """Does each chore when its time has come; `now` is a steady clock in seconds, `work` runs what blocks."""

    vault: Vault
    plans: PlanBook
    purge: Purge | None
    expander: Expander
    checkpoints: Checkpoints
    shuffle: Shuffle
    work: Callable[..., Awaitable[object]]
    now: Callable[[], float]
    mine: Callable[[], bool]
    every: dict[str, float] = field(default_factory=lambda: dict(EVERY))
    _next: dict[str, float] = field(default_factory=dict)
    _folded: dict[BucketId, int] = field(default_factory=dict)

    async def run(self) -> int:
        """Do every chore whose time has come; there is never more to do at once."""
        for name in self.every:
            await self.do(name)
        return 0

    async def do(self, name: str) -> int:
        """Do one chore if its time has come and the chores are this worker's; none waits for another."""
        if self.now() >= self._next.get(name, 0.0) and self.mine():
            self._next[name] = self.now() + self.every[name]
            await self._chores[name]()
        return 0

    @property
    def _chores(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        return {
            "residue": self._residue,
            "expand": self._expand,
            "purge": self._purge,
            "checkpoint": self._checkpoint,
            "fold": self._fold,
            "seen": self._seen,
            "epoch": self._epoch,
        }

    async def _residue(self) -> None:
        plans = self.plans()
        with self.vault.transaction(write=False) as tx:
            if not len(plans) or not tx.residue():
                return
        with self.vault.transaction() as tx:
            publish_residue(tx, plans, self.shuffle)

    async def _expand(self) -> None:
        await self.expander.run(self.plans())

    async def _purge(self) -> None:
        if self.purge is not None:
            metrics.PURGED.inc(await self.purge.run())

    async def _checkpoint(self) -> None:
        before = self.checkpoints.stored()
        tree = await self.work(lambda: self.checkpoints.read(before))
        assert isinstance(tree, _Tree), "reading the log gives a tree"
        self.checkpoints.sign(before, tree)

    async def _fold(self) -> None:
        """Work out the roots of buckets nothing comes to any more and that are large or due soon.

        So their end takes no longer than an empty one's. The leaves of small ones are joined a day later,
        those of buckets that ended forgotten.
        """
        with self.vault.transaction(write=False) as tx:
            living = tx.all_buckets(state="open")
            waiting = [
                row
                for row in living
                if row.tally > 1
                and row.tally != self._folded.get(row.id)
                and tx.now - row.last_seen >= (FOLD_AFTER if _pressing(row, tx.now) else JOIN_AFTER)
            ][:FOLD_MOST]
            folding = [row for row in waiting if _pressing(row, tx.now) or tx.count_leaves(row.id) > 1]
        for some in _together(folding):
            await self.work(partial(fold, self.vault, [row.id for row in some]))
        self._folded |= {row.id: row.tally for row in waiting}
        self._folded = {row.id: self._folded[row.id] for row in living if row.id in self._folded}
        await self.work(partial(sweep, self.vault))

    async def _seen(self) -> None:
        with self.vault.transaction() as tx:
            tx.prune_seen(Micros(tx.now - SEEN_FOR))
            tx.prune_commands(Micros(tx.now - COMMANDS_FOR))
            for row in closed_before(tx, Micros(tx.now - REQUESTS_FOR)):
                tx.drop_request(row.request_id)

    async def _epoch(self) -> None:
        """Turn the key epoch when it is old; a manual clock says nothing about the age of backups."""
        if self.vault.clock.mode == "manual":
            return
        with self.vault.transaction() as tx:
            turns, began = tx.epoch_turns(), tx.meta(BEGAN)
            if began is None:
                tx.put_meta(BEGAN, tx.now.to_bytes(8, "big"))
            last = turns[-1][1] if turns else int.from_bytes(began or tx.now.to_bytes(8, "big"), "big")
            old = tx.now - last >= (EPOCH_FOR if self.vault.overwrites else EPOCH_FOR_COPIES)
        if old:
            await self.work(self.vault.turn_epoch)


def _pressing(row: BucketRow, now: Micros) -> bool:
    """Whether a bucket's root should be known before its end comes."""
    return row.tally >= FOLD_FROM or row.due - now <= FOLD_AHEAD


def _together(rows: Iterable[BucketRow]) -> Iterator[list[BucketRow]]:
    """Cut rows into runs of about `FOLD_FROM` records, each folded in one transaction."""
    some: list[BucketRow] = []
    for row in rows:
        some.append(row)
        if sum(each.tally for each in some) >= FOLD_FROM:
            yield some
            some = []
    if some:
        yield some
