"""What the expire role shows of itself, what of it moves when something is wrong, and what it tidies up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from schemas.errors import Unavailable
from schemas.merkle import root
from streams import agents, metrics
from streams.announcing import Announcer
from streams.housekeeping import Unread
from streams.leaves import FOLDED, leaf, take_roots
from streams.memory import MemorySink
from streams.ports import Outbound, Placed
from streams.upkeep import FOLD_AFTER, FOLD_AHEAD, JOIN_AFTER
from tests.unit.stages.world import SECOND, World
from vault.values import BucketId

TICKED, OVERDUE = "lapse_expiry_last_tick_timestamp_seconds", "lapse_expiry_overdue_seconds"


def figure(name: str) -> float:
    """A gauge's value."""
    return metrics.REGISTRY.get_sample_value(name) or 0.0


async def with_a_record() -> World:
    """A flow with one person's form routed."""
    world = World()
    await world.settle()
    world.publish(world.form(), "intake.form")
    await world.settle()
    return world


async def test_each_look_at_the_clock_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead man's handle moves with every tick that gets through, and with no other."""
    world = await with_a_record()
    expiry = world.expire.expiry
    now = [100.0]
    expiry.host = lambda: now[0]
    expiry.tick()
    assert figure(TICKED) == 100.0
    now[0] = 200.0
    expiry.tick()
    assert figure(TICKED) == 200.0

    def closed() -> bool:
        raise Unavailable("unavailable", "the vault does not answer")

    now[0] = 300.0
    monkeypatch.setattr(type(expiry), "_look", lambda _self: closed())
    with pytest.raises(Unavailable):
        expiry.tick()
    assert figure(TICKED) == 200.0


async def test_a_key_that_a_brake_keeps_alive_is_shown_overdue() -> None:
    """While a brake holds the loop lives and says how late the oldest key is; 0 once it is gone."""
    world = await with_a_record()
    bucket = BucketId("answer", *next(iter(_open(world)))[1:])
    with world.vault.transaction(write=False) as tx:
        due = tx.buckets([bucket])[bucket].due
        state = tx.clock_state()
    with world.vault.transaction() as tx:
        tx.put_clock_state(type(state)(brake="held by a test", since=tx.now))
    world.vault.clock.set_manual(type(due)(due + 7 * SECOND))
    world.expire.expiry.tick()
    assert figure(OVERDUE) == 7.0
    with world.vault.transaction() as tx:
        tx.put_clock_state(state)
    world.expire.expiry.tick()
    world.expire.expiry.tick()
    assert figure(OVERDUE) == 0.0


def _open(world: World) -> list[BucketId]:
    with world.vault.transaction(write=False) as tx:
        return [row.id for row in tx.all_buckets(state="open") if row.id.purpose == "answer"]


async def test_the_oldest_message_owed_is_shown_with_its_age() -> None:
    """An announcer that cannot send shows how long the oldest message waits; 0 when nothing is owed."""
    world = await with_a_record()

    class Away(MemorySink):
        async def send(self, records: Sequence[Outbound]) -> list[Placed]:
            raise Unavailable("unavailable", "away")

    with world.vault.transaction() as tx:
        tx.put_outbox(kind="X", topic="lifecycle", partition=0, key=None, value=b"x")
        now = tx.now
    world.vault.clock.set_manual(type(now)(now + 5 * SECOND))
    announcer = Announcer(world.vault, Away(world.log), owner=b"mine", wall=lambda: type(now)(0))
    with pytest.raises(Unavailable):
        await announcer.announce()
    assert figure("lapse_outbox_oldest_seconds") == 5.0
    await world.expire.announcer.announce()
    await world.expire.announcer.announce()
    assert figure("lapse_outbox_oldest_seconds") == 0.0


def test_how_long_something_is_unread_is_never_overstated() -> None:
    """What came by a look counts from that look until it is read; new arrivals do not make it younger."""
    unread = Unread()
    assert unread.look(done=5, end=5, now=10) == 0
    assert unread.look(done=5, end=8, now=20) == 0, "seen for the first time"
    assert unread.look(done=5, end=9, now=30) == 10
    assert unread.look(done=7, end=12, now=50) == 30, "the oldest of that look is still there"
    assert unread.look(done=8, end=12, now=60) == 0, "what came later counts from now"
    assert unread.look(done=8, end=12, now=75) == 15
    assert unread.look(done=12, end=12, now=80) == 0


async def test_whoever_waits_says_for_what_and_says_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop notes what is away in one line, and takes it back once it got through."""
    answers: Iterator[Unavailable | int] = iter([Unavailable("unavailable", "away", "vault.db"), 0])
    said: list[tuple[str, str | None]] = []

    async def act() -> int:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    async def nap(_seconds: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", nap)
    with pytest.raises(RuntimeError):
        await agents.repeat("expiry", act, 0.02, lambda who, what: said.append((who, what)))
    assert said == [("expiry", "away (vault.db)"), ("expiry", None)]


async def test_the_root_of_a_small_bucket_is_known_before_its_end() -> None:
    """A thousand small buckets may be due at once: once one is quiet and its end is near, it is folded."""
    world = World()
    await world.settle()
    for number in range(3):
        world.publish(world.form(email=f"p{number}@example.com"), "intake.form")
        await world.settle()
    with world.vault.transaction(write=False) as tx:
        (row,) = tx.all_buckets(purpose="answer", state="open")
    assert FOLD_AFTER < row.due - row.last_seen < FOLD_AHEAD
    for quiet, known in ((FOLD_AFTER - 1, False), (FOLD_AFTER, True)):
        world.vault.clock.set_manual(type(row.due)(row.last_seen + quiet))
        await world.expire.upkeep._fold()  # noqa: SLF001 - the chore itself, not its turn
        with world.vault.transaction(write=False) as tx:
            assert bool(tx.metas(FOLDED)) is known
    with world.vault.transaction() as tx:
        assert tx.count_leaves(row.id) == 1
        named = take_roots(tx, [row.id])[row.id]
    assert named == (3, root(sorted(leaf(e.record_id, e.revision) for e in world.entries() if e.links)))


async def test_a_small_buckets_leaves_become_one_row_when_nothing_comes_any_more() -> None:
    """A row for each chunk while records come; a day after the last one row, and the root is still theirs."""
    world = World()
    await world.settle()
    for number in range(5):
        world.publish(world.form(email=f"p{number}@example.com", consents={"news": True}), "intake.form")
        await world.settle()
    with world.vault.transaction(write=False) as tx:
        bucket = next(row.id for row in tx.all_buckets(state="open") if row.id.purpose == "news")
        assert tx.count_leaves(bucket) == 5
    upkeep = world.expire.upkeep
    await upkeep._fold()  # noqa: SLF001 - the chore itself, not its turn
    with world.vault.transaction(write=False) as tx:
        assert tx.count_leaves(bucket) == 5, "something may still come"
        (row,) = tx.buckets([bucket]).values()
    world.vault.clock.set_manual(type(row.due)(row.last_seen + JOIN_AFTER))
    for _ in range(2):
        await upkeep._fold()  # noqa: SLF001 - as above
    with world.vault.transaction(write=False) as tx:
        assert tx.count_leaves(bucket) == 1
    with world.vault.transaction() as tx:
        named = take_roots(tx, [bucket])[bucket]
    found = {leaf(e.record_id, e.revision) for e in world.entries() if e.links}
    assert named == (5, root(sorted(found)))


@dataclass(slots=True)
class Chore:
    """Stands for the expander, which never ends or fails, or for the purge, which says that it ran."""

    fails: bool = False
    ran: asyncio.Event | None = None

    async def run(self, *_: object) -> int:
        """Run."""
        if self.fails:
            raise Unavailable("unavailable", "the broker sends nothing", "scan")
        if self.ran is None:
            await asyncio.Event().wait()
        else:
            self.ran.set()
        return 0


@pytest.mark.parametrize("fails", [False, True])
async def test_a_chore_keeps_no_other_from_its_turn(*, fails: bool) -> None:
    """While the expander reads a large log, or fails each time, intake is purged all the same."""
    upkeep, purged = (world := World()).expire.upkeep, asyncio.Event()
    upkeep.every = {"expand": 0.0, "purge": 0.0}
    upkeep.expander, upkeep.purge = cast(Any, Chore(fails)), cast(Any, Chore(ran=purged))
    chores = asyncio.create_task(world.expire.keep_up())
    await asyncio.wait_for(purged.wait(), 30)
    chores.cancel()
