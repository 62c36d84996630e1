"""The clock, the brakes and the chores of the expire role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from schemas import signing
from schemas.errors import Unavailable
from schemas.ids import Micros, Period
from schemas.merkle import root
from schemas.models import (
    BucketScope,
    CheckpointSigned,
    ProcessorApproved,
    RecordScope,
    ResidueCounted,
)
from streams import agents, building, metrics
from streams.announcing import LEASE, LEASE_FOR, LEASE_LEFT, Announcer, lease_left, take_lease
from streams.clockrules import Reading
from streams.expanding import JOBS, pending
from streams.expiring import TOO_MANY, confirm, read_clocks
from streams.housekeeping import Purge
from streams.leaves import fold, leaf, sweep, take_back, take_roots
from streams.memory import MemorySink
from streams.ports import Outbound, Placed
from streams.scan import ScannedBatch, scan_memory
from streams.upkeep import Turn
from tests.unit.stages.test_flow import opened
from tests.unit.stages.world import POLICY, SECOND, START, World
from vault.epochs import MemoryEpochKeys
from vault.memory import MemoryStore
from vault.values import BucketId, BucketWanted, PolicyRow
from vault.vaults import StoreVault


@pytest.fixture
async def world() -> World:
    """A flow whose processors are approved, with one person's form routed."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    return made


def states(world: World) -> dict[str, str]:
    """State of the bucket of every purpose."""
    with world.vault.transaction(write=False) as tx:
        return {row.id.purpose: row.state for row in tx.all_buckets()}


# ---- lapses ------------------------------------------------------------------------------------------------
async def test_a_key_dies_at_its_due_instant_and_everyone_is_told(world: World) -> None:
    """Not a microsecond before the period's start plus the retention, and at once then."""
    with world.vault.transaction(write=False) as tx:
        due = next(row.due for row in tx.all_buckets() if row.id.purpose == "answer")
    world.vault.clock.set_manual(Micros(due - 1))
    await world.settle()
    assert states(world)["answer"] == "open"
    world.vault.clock.set_manual(due)
    await world.settle()
    assert states(world)["answer"] == "destroyed"
    (told,) = [lapse for lapse in world.lapses("lifecycle") if isinstance(lapse.scope, BucketScope)]
    assert (told.records, told.effective_at, told.cause) == (1, due, "retention")


async def test_per_delivery_processors_hear_of_each_delivery(world: World) -> None:
    """The expander says for every delivery of an ended bucket that it lapsed; a crash says it again."""
    world.publish(world.form(email="bob@example.com", consents={"news": True}), "intake.form")
    await world.settle()
    await world.later(41)
    scopes = [
        lapse.scope for lapse in world.lapses("processor.mailer") if isinstance(lapse.scope, RecordScope)
    ]
    assert {scope.delivery_id for scope in scopes} == {d.delivery_id for d in world.deliveries("mailer")}
    assert {tuple(scope.purposes) for scope in scopes} == {("news",)}
    assert not [lapse for lapse in world.lapses("processor.crm") if isinstance(lapse.scope, RecordScope)]


async def test_buckets_that_end_together_are_told_per_delivery_in_one_pass(world: World) -> None:
    """Each job's deliveries hear once, however many jobs there are; a job added meanwhile stays."""
    for day in range(3):
        world.publish(world.form(email=f"p{day}@example.com", consents={"news": True}), "intake.form")
        await world.settle()
        await world.later(6)
    passes: list[list[str]] = []
    scan = world.expire.upkeep.expander.scan

    def counted(topics: Iterable[str], **bounds: Any) -> Iterator[ScannedBatch]:
        passes.append(list(topics))
        with world.vault.transaction() as tx:
            (job, *_) = jobs = pending(tx)
            if len(passes) == 1:
                tx.put_meta(JOBS, msgspec.msgpack.encode([*jobs, msgspec.structs.replace(job, reaches=0)]))
        return scan(topics, **bounds)

    world.expire.upkeep.expander = replace(world.expire.upkeep.expander, scan=counted)
    world.vault.clock.set_manual(Micros(world.vault.clock.now() + 60 * SECOND))
    await world.expire.tick()
    with world.vault.transaction(write=False) as tx:
        assert len(pending(tx)) > 1
    await world.expire.upkeep.expander.run(world.expire.upkeep.plans())
    assert passes == [["decisions"]]
    told = [
        each.scope.delivery_id
        for each in world.lapses("processor.mailer")
        if isinstance(each.scope, RecordScope)
    ]
    assert sorted(told) == sorted({d.delivery_id for d in world.deliveries("mailer")})
    with world.vault.transaction(write=False) as tx:
        (left,) = pending(tx)
    assert left.reaches == 0


async def test_an_assurance_that_ends_suspends_by_itself(world: World) -> None:
    """From the hour on the processor opens nothing; its lapses still come."""
    until = Micros(world.vault.clock.now() + SECOND)
    world.command(ProcessorApproved(processor="crm", assurance_until=until, **world.head()))
    await world.settle()
    assert {"email": "ann@example.com"} in opened(world, "crm")
    await world.later(2)
    assert set(map(str, opened(world, "crm"))) == {"suspended"}
    assert ("assurance ended", "crm", 1) in world.findings


# ---- brakes ------------------------------------------------------------------------------------------------
async def test_a_tick_destroys_no_more_than_planned() -> None:
    """More than the policy's number of buckets at once waits for somebody to confirm."""
    text = POLICY.read_text(encoding="utf-8") + "brakes: {destroy_per_tick: 2}\n"
    world = World(policy=text)
    await world.settle()
    world.publish(world.form(consents={"news": True}), "intake.form")
    await world.settle()
    world.vault.clock.set_manual(Micros(START + 100 * SECOND))
    await world.settle()
    assert set(states(world).values()) == {"open"}
    assert (TOO_MANY, "expiry", 3) in world.findings
    assert set(map(str, opened(world, "crm"))) == {"expired"}, "use has ended all the same"
    with world.vault.transaction() as tx:
        assert tx.clock_state().brake == TOO_MANY
        confirm(tx)
    await world.settle()
    assert set(states(world).values()) == {"destroyed"}


async def test_one_confirmation_lets_a_whole_backlog_go() -> None:
    """After a long outage what is due by then goes, in as many ticks as it takes; later ones brake again."""
    world = World(policy=POLICY.read_text(encoding="utf-8") + "brakes: {destroy_per_tick: 2}\n")
    await world.settle()
    purpose, due = world.plan.purpose("answer"), Micros(START + 50 * SECOND)
    with world.vault.transaction() as tx:
        tx.ensure_buckets(
            BucketWanted(id=BucketId(purpose.name, Period(n), purpose.terms), due=due) for n in range(10)
        )
    world.vault.clock.set_manual(Micros(START + 60 * SECOND))
    await world.settle()
    with world.vault.transaction() as tx:
        assert tx.clock_state().brake == TOO_MANY
        confirm(tx)
        later = Micros(tx.now + SECOND)
        tx.ensure_buckets(
            BucketWanted(id=BucketId(purpose.name, Period(n), purpose.terms), due=later)
            for n in range(20, 25)
        )
    for _ in range(9):
        await world.settle()
    with world.vault.transaction(write=False) as tx:
        assert [row.id.period for row in tx.all_buckets(state="open")] == [20, 21, 22, 23, 24]
        assert tx.clock_state().brake is None
    world.vault.clock.set_manual(later)
    await world.settle()
    with world.vault.transaction(write=False) as tx:
        assert tx.clock_state().brake == TOO_MANY, "what was not there to be looked at was not confirmed"


async def test_removing_bytes_leaves_writers_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads old pages, every attempt keeps writers waiting: it is not made at each tick."""
    steady, attempts = [0.0], []

    def waits(_vault: object, _crash: object) -> tuple[()]:
        attempts.append(steady[0])
        steady[0] += 1.0
        return ()

    monkeypatch.setattr("streams.expiring.finish_buckets", waits)
    world.expire.expiry.steady = lambda: steady[0]
    with world.vault.transaction(write=False) as tx:
        due = next(row.due for row in tx.all_buckets())
    world.vault.clock.set_manual(due)
    for _ in range(100):
        world.expire.expiry.tick()
        steady[0] += 0.2
    assert len(attempts) in (2, 3)


class Clocks:
    """A wall clock and a steady one that a test moves apart."""

    def __init__(self) -> None:
        self.wall, self.steady, self.boot = int(START), 0, "one"

    def now(self) -> Micros:
        """The wall clock."""
        return Micros(self.wall)

    def read(self, now: Micros) -> Reading:
        """Both."""
        return Reading(wall=now, steady=self.steady, boot=self.boot)

    def passes(self, seconds: float) -> None:
        """Time passes as it should."""
        self.wall += int(seconds * SECOND)
        self.steady += int(seconds * SECOND)


def on_system_clock(clocks: Clocks) -> World:
    """A flow whose vault runs on the host's clock, which the test moves."""
    world = World()
    vault = StoreVault(MemoryStore(), MemoryEpochKeys(), mode="system", clock=clocks.now)
    with vault.transaction() as tx:
        tx.put_policy(
            PolicyRow(version=1, effective=world.plan.effective, sha256=world.plan.sha256, body=world.text)
        )
    world.vault = vault
    world.around = replace(world.around, vault=vault)
    world.expire = building.expire(world.around, scan=partial(scan_memory, world.log))
    world.expire.expiry.clocks = clocks.read
    world.handles = {name: world.handle(name) for name in world.handles}
    return world


@pytest.mark.parametrize("jump", [-3600.0, 3600.0 * 24 * 30])
async def test_a_clock_that_jumps_destroys_nothing(jump: float) -> None:
    """Expiry stops until somebody confirms, whichever way the clock moved."""
    clocks = Clocks()
    world = on_system_clock(clocks)
    await world.settle()
    world.publish(world.form(), "intake.form")
    await world.settle()
    clocks.passes(1)
    await world.settle()
    clocks.wall += int(jump * SECOND)
    await world.settle()
    assert set(states(world).values()) == {"open"}
    clocks.passes(60)
    await world.settle()
    assert set(states(world).values()) == {"open"}, "the brake holds"
    assert len([f for f in world.findings if f[0].startswith("the clock")]) == 1
    with world.vault.transaction() as tx:
        confirm(tx)
    clocks.passes(30)
    await world.settle()
    assert (set(states(world).values()) == {"open"}) == (jump < 0)


async def test_time_that_passes_as_it_should_ends_what_is_due() -> None:
    """On the host's clock, across a restart that kept its last reading."""
    clocks = Clocks()
    world = on_system_clock(clocks)
    await world.settle()
    world.publish(world.form(), "intake.form")
    await world.settle()
    clocks.passes(2)
    await world.settle()
    clocks.passes(30)
    world.expire = building.expire(world.around, scan=partial(scan_memory, world.log))
    world.expire.expiry.clocks = clocks.read
    await world.settle()
    assert states(world)["answer"] == "destroyed"
    assert world.findings == []


def test_the_machine_has_both_clocks() -> None:
    """A reading of this machine has a boot and a steady clock that goes on."""
    first, second = read_clocks(Micros(1)), read_clocks(Micros(2))
    assert first.boot == second.boot
    assert second.steady >= first.steady


# ---- the announcer -----------------------------------------------------------------------------------------
async def test_two_announcers_never_announce_at_once(world: World) -> None:
    """Who holds the lease announces; the other one waits until it has run out."""
    with world.vault.transaction() as tx:
        tx.put_outbox(kind="x", topic="lifecycle", partition=0, key=None, value=b"1")
        assert take_lease(tx, LEASE, b"other", Micros(0), 10)
    mine = Announcer(world.vault, MemorySink(world.log), owner=b"mine", wall=lambda: Micros(5))
    assert await mine.announce() == 0
    later = Announcer(world.vault, MemorySink(world.log), owner=b"mine", wall=lambda: Micros(10))
    assert await later.announce() == 1
    assert await later.announce() == 0


async def test_a_lease_is_renewed_in_time_and_not_before(world: World) -> None:
    """Each send begins with most of a lease before it; a clock that was set back is no lease."""
    now = 10**12
    mine = Announcer(world.vault, MemorySink(world.log), owner=b"mine", wall=lambda: Micros(now))
    for passed in (0, 1, LEASE_FOR - LEASE_LEFT + 1, LEASE_FOR, -(10**9)):
        now += passed
        with world.vault.transaction() as tx:
            tx.put_outbox(kind="x", topic="lifecycle", partition=0, key=None, value=b"1")
        assert await mine.announce() == 1
        with world.vault.transaction() as tx:
            assert lease_left(tx, LEASE, b"mine", Micros(now), LEASE_FOR) >= LEASE_LEFT
            assert not take_lease(tx, LEASE, b"other", Micros(now), LEASE_FOR)


async def test_the_lease_of_the_dead_is_taken_at_once(world: World) -> None:
    """Who was killed announces nothing more: what is owed does not wait for the lease to run out."""
    with world.vault.transaction() as tx:
        tx.put_outbox(kind="x", topic="lifecycle", partition=0, key=None, value=b"1")
        assert take_lease(tx, LEASE, b"dead", Micros(0), 10)
        assert not take_lease(tx, LEASE, b"mine", Micros(5), 10, lambda owner: owner == b"another")
    mine = Announcer(
        world.vault,
        MemorySink(world.log),
        owner=b"mine",
        wall=lambda: Micros(5),
        gone=lambda owner: owner == b"dead",
    )
    assert await mine.announce() == 1


async def test_of_two_workers_one_does_the_chores(world: World) -> None:
    """Both would take each other's ticks for data; the other one goes on when the first has died."""
    dead, now = set[bytes](), [0.0]

    def turn(owner: bytes) -> Turn:
        return Turn(
            vault=world.vault,
            owner=owner,
            wall=lambda: Micros(int(now[0] * SECOND)),
            gone=dead.__contains__,
            now=lambda: now[0],
        )

    first, second = turn(b"first"), turn(b"second")
    assert (first(), second()) == (True, False)
    now[0] = 6.0
    assert (first(), second()) == (True, False)
    dead.add(b"first")
    assert not second(), "it looks every few seconds"
    now[0] = 12.0
    assert second()


async def test_what_the_broker_does_not_take_stays_owed(world: World) -> None:
    """A failed or endless send leaves the rows; they are produced in order afterwards."""
    with world.vault.transaction() as tx:
        for n in range(3):
            tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=bytes([n]))
    sink = MemorySink(world.log)
    sink.outage, sink.outage_after = Unavailable("unavailable", "away", "broker"), 1
    announcer = Announcer(world.vault, sink, owner=b"mine", wall=lambda: Micros(0))
    with pytest.raises(Unavailable):
        await announcer.announce()
    await announcer.announce()
    assert [record.value for record in world.log.read("residue", 0, 0)] == [b"\0", b"\0", b"\1", b"\2"]


async def test_a_topic_that_is_away_keeps_back_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one topic does not take stays owed; what is owed to the others is said, and once."""

    class Gone(MemorySink):
        async def send(self, records: Sequence[Outbound]) -> list[Placed]:
            if any(record.topic == "processor.crm" for record in records):
                raise Unavailable("unavailable", "no such topic", "processor.crm")
            return await super().send(records)

    monkeypatch.setattr("streams.announcing.BATCH", 2)
    with world.vault.transaction() as tx:
        for n in range(4):
            tx.put_outbox(kind="x", topic="processor.crm", partition=0, key=None, value=bytes([n]))
        for n in range(3):
            tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=bytes([n]))
    announcer = Announcer(world.vault, Gone(world.log), owner=b"mine", wall=lambda: Micros(0))
    for _ in range(6):
        with pytest.raises(Unavailable):
            await announcer.announce()
    assert [record.value for record in world.log.read("residue", 0, 0)] == [b"\0", b"\1", b"\2"]
    with world.vault.transaction(write=False) as tx:
        assert {row.topic for row in tx.outbox(9)} == {"processor.crm"}


async def test_a_steady_stream_does_not_keep_the_announcer(world: World) -> None:
    """What comes to be owed while it announces is for the next time: buckets fall due meanwhile."""

    class Busy(MemorySink):
        async def send(self, records: Sequence[Outbound]) -> list[Placed]:
            with world.vault.transaction() as tx:
                tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=b"more")
            return await super().send(records)

    with world.vault.transaction() as tx:
        tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=b"1")
    announcer = Announcer(world.vault, Busy(world.log), owner=b"mine", wall=lambda: Micros(0))
    assert await asyncio.wait_for(announcer.announce(), 5) == 1


async def test_a_lease_of_a_clock_that_was_set_back_since_binds_nobody(world: World) -> None:
    """The announcer would else rest until the old time comes again."""
    with world.vault.transaction() as tx:
        assert take_lease(tx, LEASE, b"dead", Micros(10**12), 10)
        assert take_lease(tx, LEASE, b"mine", Micros(5), 10)


async def test_a_send_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease must not run out under a send: it is given up sooner, as unavailable."""

    class Stuck:
        async def send(self, records: Sequence[Outbound]) -> list[object]:
            await asyncio.sleep(60)
            return [records]

    monkeypatch.setattr("streams.announcing.SEND_WITHIN", 0.01)
    with world.vault.transaction() as tx:
        tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=b"1")
    announcer = Announcer(world.vault, Stuck(), owner=b"mine", wall=lambda: Micros(0))  # type: ignore[arg-type]  # a sink
    with pytest.raises(Unavailable):
        await announcer.announce()


async def test_keys_die_while_the_broker_takes_no_announcement(world: World) -> None:
    """Destroying comes first and waits for nobody: a send that hangs holds no due date up."""
    hangs = asyncio.Event()

    class Stuck:
        async def send(self, records: Sequence[Outbound]) -> list[Placed]:
            hangs.set()
            await asyncio.sleep(60)
            return [Placed(record.topic, 0, 0) for record in records]

    stuck = Announcer(world.vault, Stuck(), owner=b"mine", wall=lambda: Micros(0))
    expire = replace(world.expire, announcer=stuck)
    with world.vault.transaction() as tx:
        tx.put_outbox(kind="x", topic="residue", partition=0, key=None, value=b"1")
        due = next(row.due for row in tx.all_buckets() if row.id.purpose == "answer")
    running = asyncio.create_task(expire.run())
    await hangs.wait()
    world.vault.clock.set_manual(due)
    async with asyncio.timeout(5):
        while states(world)["answer"] == "open":  # noqa: ASYNC110 the store has no event to wait for
            await asyncio.sleep(0.01)
    running.cancel()


async def test_the_loop_waits_for_what_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something unavailable is asked again later, and more and more seldom."""
    pauses: list[float] = []
    away = Unavailable("unavailable", "away")
    answers: Iterator[Unavailable | int] = iter([away, away, 1, 0])

    async def act() -> int:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    async def nap(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", nap)
    with pytest.raises(RuntimeError):
        await agents.repeat("test", act, 0.02)
    assert pauses == [0.1, 0.2, 0, 0.02]


# ---- residue -----------------------------------------------------------------------------------------------
async def test_residue_is_published_by_ten_and_carried_below(world: World) -> None:
    """A period's cell with ten people is published, shuffled; nine are carried on until they are ten."""
    for n in range(9):
        world.publish(world.form(email=f"p{n}@example.com"), "intake.form")
    order = world.form(form="order", site="shop", email="p0@example.com")
    world.publish(order, "intake.form")
    await world.settle()
    await world.later(86_400)
    (counted,) = [r for _, _, r in world.read("residue") if isinstance(r, ResidueCounted)]
    assert [(cell.label, cell.events, cell.people) for cell in counted.cells] == [
        ("source=form/contact", 10, 10)
    ]
    with world.vault.transaction(write=False) as tx:
        assert [(cell.events, cell.people) for cell in tx.residue()] == [(1, 1)]
    for n in range(9):
        world.publish(world.form(form="order", site="shop", email=f"q{n}@example.com"), "intake.form")
    await world.settle()
    await world.later(86_400)
    published = [c for _, _, r in world.read("residue") if isinstance(r, ResidueCounted) for c in r.cells]
    assert sum(cell.events for cell in published) == 20
    with world.vault.transaction(write=False) as tx:
        assert tx.residue() == []


# ---- checkpoints -------------------------------------------------------------------------------------------
async def test_checkpoints_sign_the_root_over_lifecycle(world: World) -> None:
    """A checkpoint's root is that of everything before it, and nothing new makes no new one."""
    chores = world.expire.upkeep
    await world.later(41)
    chores._next.clear()  # noqa: SLF001  # every chore's time has come
    await chores.run()
    await world.settle()
    entries = [record.value or b"" for record in world.log.read("lifecycle", 0, 0)]
    signed = [r for _, _, r in world.read("lifecycle") if isinstance(r, CheckpointSigned)]
    assert signed
    for checkpoint in signed:
        assert checkpoint.root == root(entries[: checkpoint.size])
        key = signing.public_key(world.around.service_key)
        assert signing.verify(checkpoint, {"service": key})
    chores._next.clear()  # noqa: SLF001  # and again
    await chores.run()
    await world.settle()
    assert len([r for _, _, r in world.read("lifecycle") if isinstance(r, CheckpointSigned)]) == len(signed)


# ---- purging -----------------------------------------------------------------------------------------------
class Care:
    """The broker's administration over the log in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deleted: dict[tuple[str, int], int] = {}

    def offsets(self, topics: Iterable[str], *, earliest: bool = False) -> Mapping[tuple[str, int], int]:
        """Starts or ends."""
        log = self.world.log
        places = [(t, p) for t in topics for p in range(log.topics()[t])]
        return {place: log.bounds(*place)[0 if earliest else 1] for place in places}

    def committed(self, groups: Sequence[str]) -> Mapping[str, Mapping[tuple[str, int], int]]:
        """What the roles' sources have committed; groups here are named by their role."""
        log = self.world.log
        places = [(t, p) for t, n in log.topics().items() for p in range(n)]
        found = {g: {place: log.committed(g, *place) for place in places} for g in groups}
        return {g: {k: v for k, v in offsets.items() if v is not None} for g, offsets in found.items()}

    def delete_records(self, before: Mapping[tuple[str, int], int]) -> object:
        """Move log starts."""
        self.deleted.update(before)
        for (topic, partition), offset in before.items():
            self.world.log.delete_records(topic, partition, offset)
        return None


async def test_intake_is_purged_behind_the_commit(world: World) -> None:
    """What is committed goes, what is not stays; ticks follow until every segment has rolled, then stop."""
    now = [0]
    purge = Purge(
        care=Care(world),
        sink=MemorySink(world.log),
        groups={"tag": agents.GROUPS["tag"], "signals": ("intake.signal",)},
        finding=world.around.finding,
        now=lambda: now[0],
        segment=10 * SECOND,
        tick_every=5 * SECOND,
    )
    now[0] = 100 * SECOND
    assert await purge.run() == 1
    assert world.log.bounds("intake.form", 0)[0] == 1
    world.publish(world.form(email="new@example.com"), "intake.form")
    await purge.run()
    assert world.log.bounds("intake.form", 0)[0] == 1, "not committed yet"
    for _ in range(12):
        now[0] += 5 * SECOND
        await world.settle()
        await purge.run()
    ends = world.log.bounds("intake.form", 0)[1], world.log.bounds("intake.cookie", 0)[1]
    for _ in range(3):
        now[0] += 5 * SECOND
        await world.settle()
        await purge.run()
    assert (world.log.bounds("intake.form", 0)[1], world.log.bounds("intake.cookie", 0)[1]) == ends
    left = world.log.read("intake.form", 0, 0)
    assert all(record.value is None for record in left), "only ticks are left"
    assert world.findings == []


async def test_what_the_cap_took_is_a_finding(world: World) -> None:
    """Records the broker removed before they were read are counted."""
    world.publish(world.form(email="lost@example.com"), "intake.form")
    world.log.delete_records("intake.form", 0, 2)
    purge = Purge(
        care=Care(world),
        sink=MemorySink(world.log),
        groups={"tag": agents.GROUPS["tag"]},
        finding=world.around.finding,
        now=lambda: 0,
    )
    await purge.run()
    assert ("intake was lost before it was read", "intake.form/0", 1) in world.findings
    later = world.form(email="later@example.com")
    world.publish(later, "intake.form")
    await world.settle()
    assert world.outcome(later) == ("routed", None)
    assert world.findings[-1][0] == "offsets missing from the log"


async def test_the_epoch_turns_weekly() -> None:
    """Old backups of keys open nothing for longer than a week; on a manual clock nothing turns by itself."""
    clocks = Clocks()
    world = on_system_clock(clocks)

    async def look() -> int:
        world.expire.upkeep._next.clear()  # noqa: SLF001  # every chore's time has come
        await world.expire.upkeep.run()
        with world.vault.transaction(write=False) as tx:
            return len(tx.epoch_turns())

    assert await look() == 0
    clocks.passes(6 * 86_400)
    assert await look() == 0
    clocks.passes(86_400)
    assert await look() == 1
    assert await look() == 1
    clocks.passes(7 * 86_400)
    assert await look() == 2
    manual = World()
    await manual.settle()
    await manual.later(30 * 86_400)
    with manual.vault.transaction(write=False) as tx:
        assert tx.epoch_turns() == []


async def test_a_lapse_states_the_root_over_its_records(world: World) -> None:
    """Whoever holds `decisions` rebuilds the root of a bucket's lapse; what it was made of is forgotten."""
    forms = [world.form(email=f"p{n}@example.com") for n in range(5)]
    for form in forms:
        world.publish(form, "intake.form")
    await world.settle()
    await world.later(21)
    (lapse,) = [each for each in world.lapses("lifecycle") if isinstance(each.scope, BucketScope)]
    found = {leaf(e.record_id, e.revision) for e in world.entries() if e.links}
    assert lapse.records == len(found) == 6
    assert lapse.root == root(sorted(found))
    assert {each.root for each in world.lapses("processor.crm")} == {lapse.root}
    with world.vault.transaction() as tx:
        bucket = next(row.id for row in tx.all_buckets(purpose="answer"))
        assert tx.leaves(bucket) == {}


async def test_a_root_worked_out_ahead_is_the_root() -> None:
    """A large bucket's leaves are folded while it is quiet, and what comes later is not missed.

    At the end there is nothing left to read.
    """
    world = World()
    await world.settle()
    for n in range(4):
        world.publish(world.form(email=f"p{n}@example.com"), "intake.form")
    await world.settle()
    with world.vault.transaction(write=False) as tx:
        (bucket,) = [row.id for row in tx.all_buckets(purpose="answer")]
        blobs = tx.leaves(bucket)
    fold(world.vault, [bucket])
    with world.vault.transaction(write=False) as tx:
        assert tx.count_leaves(bucket) == 1 and tx.leaves(bucket).keys().isdisjoint(blobs)
    for late in (True, False):
        if late:
            world.publish(world.form(email="late@example.com"), "intake.form")
            await world.settle()
        fold(world.vault, [bucket])
    await world.later(21)
    (lapse,) = [each for each in world.lapses("lifecycle") if isinstance(each.scope, BucketScope)]
    found = sorted({leaf(e.record_id, e.revision) for e in world.entries() if e.links})
    assert (lapse.records, lapse.root) == (5, root(found))
    sweep(world.vault)
    with world.vault.transaction(write=False) as tx:
        assert tx.leaves(bucket) == {} and tx.metas(f"folded/{bucket.purpose}/") == {}


async def test_a_leaf_taken_back_after_the_end_leaves_nothing_behind() -> None:
    """What was to be swept is swept, whoever looked at it in between."""
    world = World()
    await world.settle()
    for email in ("a@example.com", "b@example.com"):
        world.publish(world.form(email=email), "intake.form")
    await world.settle()
    with world.vault.transaction(write=False) as tx:
        (bucket,) = [row.id for row in tx.all_buckets(purpose="answer")]
    fold(world.vault, [bucket])
    with world.vault.transaction() as tx:
        assert take_roots(tx, [bucket])[bucket].records == 2
        take_back(tx, bucket, leaf(world.entries()[0].record_id, 1))
    sweep(world.vault)
    with world.vault.transaction(write=False) as tx:
        assert tx.leaves(bucket) == {}


async def test_a_leaf_after_the_fold_is_not_missed() -> None:
    """The bucket ends right after something was added to it."""
    world = World()
    await world.settle()
    for email in ("a@example.com", "b@example.com"):
        world.publish(world.form(email=email), "intake.form")
        await world.settle()
        with world.vault.transaction(write=False) as tx:
            (bucket,) = [row.id for row in tx.all_buckets(purpose="answer")]
        if email.startswith("a"):
            fold(world.vault, [bucket])
    await world.later(21)
    (lapse,) = [each for each in world.lapses("lifecycle") if isinstance(each.scope, BucketScope)]
    assert (lapse.records, lapse.root) == (2, root(sorted(leaf(e.record_id, 1) for e in world.entries())))
    assert sweep(world.vault) == 0


async def test_metrics_move() -> None:
    """What a worker counts can be read off its registry."""
    world = World()
    await world.settle()
    world.publish(world.form(form="nowhere"), "intake.form")
    await world.settle()
    value = metrics.REGISTRY.get_sample_value
    assert value("lapse_outcomes_total", {"outcome": "discarded", "code": "unknown_form"})
    assert value("lapse_chunks_total", {"role": "tag"})
    assert value("lapse_chunk_seconds_count", {"role": "tag"})
