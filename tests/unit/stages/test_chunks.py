"""The chunk protocol: fence, plan, and the record that breaks a stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pytest

from schemas.errors import Bug
from schemas.ids import Micros, RecordId, Slot
from schemas.models import FormSubmitted, RecordDecided
from streams.alike import Alike
from streams.chunks import Chunks
from streams.intake import Arrived
from streams.out import BATCH_BYTES, decision_batches
from streams.ports import Chunk, Done, Inbound, Outbound, Seek
from streams.stage import Given, Judged, Part
from streams.tagplan import Entry
from tests.unit.stages.world import World
from vault import sealing
from vault.deliverymoulds import DeliveryMould
from vault.factory import memory_vault
from vault.handles import delivery_id
from vault.port import Tx

TOPIC = bytes(16)


@dataclass
class Echo:
    """A stage that plans every offset, produces them into a list, and counts what it settles."""

    entry: Any = int
    silent: bool = False
    judged: list[tuple[int, ...]] = field(default_factory=list)
    repeated: list[tuple[int, ...]] = field(default_factory=list)
    produced: list[int] = field(default_factory=list)
    settled_: list[int] = field(default_factory=list)
    spoilt: set[int] = field(default_factory=set)
    breaks_on: set[int] = field(default_factory=set)
    always: bool = False
    fail_produce: int = 0

    def read(self, parts: Sequence[Part], spoilt: frozenset[int]) -> list[None]:
        """Break on an offset that is not set aside."""
        for record in chain.from_iterable(part.records for part in parts):
            if record.offset in self.breaks_on and (self.always or record.offset not in spoilt):
                raise KeyError(record.offset)
        self.spoilt |= spoilt
        return [None for _ in parts]

    def judge(self, tx: Tx, given: Sequence[Given[None]], planned: Mapping[int, int] | None) -> Judged:
        """Plan the offsets, or repeat them."""
        offsets = [tuple(record.offset for record in part.records) for part, _ in given]
        (self.judged if planned is None else self.repeated).append(tuple(chain.from_iterable(offsets)))
        return Judged(seq=tx.seq, planned=[{each: each for each in own} for own in offsets])

    async def produce(self, _: Part, work: Judged) -> None:
        """Fail as often as asked."""
        if self.fail_produce:
            self.fail_produce -= 1
            raise ConnectionError
        self.produced += chain.from_iterable(work.planned)

    def settle(self, _: Tx, work: Judged) -> None:
        """Count."""
        self.settled_ += chain.from_iterable(work.planned)

    async def settled(self, _: Judged) -> None:
        """Nothing is owed."""

    async def done_before(self) -> None:
        """Nor before."""


class Bench:
    """A stage on a vault in memory."""

    def __init__(self, **stage: Any) -> None:
        self.vault = memory_vault(start=Micros(0))
        self.stage = Echo(**stage)
        self.findings: list[str] = []
        self.spent = 0
        self.chunks = self.again()

    def again(self) -> Chunks[Any]:
        """Another worker, or the same after a restart."""
        return Chunks(
            self.vault,
            self.stage,
            name="echo",
            finding=lambda what, *_: self.findings.append(what),
            spend=self.spend,
        )

    def spend(self) -> None:
        """Count offenders; the third one stops."""
        self.spent += 1
        if self.spent > 2:
            raise Bug("bug", "too many")

    def overtake(self, other: Chunk) -> None:
        """Let another worker do a chunk between the commits of the next one."""

        async def overtaken(_: Part, __: Judged) -> None:
            self.stage.produce = Echo.produce.__get__(self.stage)  # type: ignore[method-assign]  # only once
            assert await self.chunks(other) == Done()

        self.stage.produce = overtaken  # type: ignore[method-assign, assignment]  # the other is faster

    def progress(self, partition: int = 0) -> int | None:
        """Where the vault is."""
        with self.vault.transaction(write=False) as tx:
            return tx.progress(TOPIC.hex(), partition)


def chunk(*offsets: int, position: int | None = None, partition: int = 0) -> Chunk:
    """A chunk of these offsets."""
    records = [Inbound(offset, 0, None, b"x") for offset in offsets]
    return Chunk(topic="t", topic_id=TOPIC, partition=partition, records=records, position=position)


async def test_a_chunk_is_done_once() -> None:
    """Done again it has no effect; overlapping, only its new part has."""
    bench = Bench()
    assert await bench.chunks(chunk(0, 1, 2, position=0)) == Done()
    assert await bench.chunks(chunk(0, 1, 2, position=0)) == Done()
    assert await bench.chunks(chunk(1, 2, 3, 4, position=1)) == Done()
    assert bench.stage.settled_ == [0, 1, 2, 3, 4]
    assert bench.progress() == 5


async def test_a_worker_that_is_ahead_seeks() -> None:
    """A chunk beyond the vault's offset is not accepted unless the log itself has a hole there."""
    bench = Bench()
    assert await bench.chunks(chunk(5, 6, position=5)) == Seek(0)
    assert await bench.chunks(chunk(5, 6)) == Seek(0)
    assert bench.stage.judged == []
    assert await bench.chunks(chunk(5, 6, position=0)) == Done()
    assert bench.findings == ["offsets missing from the log"]
    assert await bench.chunks(chunk(7, 9, position=7)) == Done()
    assert bench.stage.settled_ == [5, 6, 7, 9]


async def test_a_zombie_is_fenced_at_commit_2() -> None:
    """Who lost the partition between the commits drops its chunk and seeks."""
    bench = Bench()
    zombie = bench.again()
    bench.overtake(chunk(0, 1, 2, position=0))
    assert await zombie(chunk(0, 1, 2, 3, position=0)) == Seek(3)
    assert bench.stage.settled_ == [0, 1, 2]


@pytest.mark.parametrize("again", [(0, 1), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5)])
async def test_a_redelivery_repeats_the_plan(again: tuple[int, ...]) -> None:
    """However the records are cut the second time, what was planned is repeated and the rest judged anew."""
    bench = Bench(fail_produce=1)
    with pytest.raises(ConnectionError):
        await bench.chunks(chunk(0, 1, 2, 3, position=0))
    assert await bench.again()(chunk(*again, position=0)) == Done()
    rest = tuple(range(len(again), 4))
    if rest:
        assert await bench.again()(chunk(*rest, position=len(again))) == Done()
    assert sorted(bench.stage.settled_) == sorted({0, 1, 2, 3, *again})
    assert all(offset < 4 for offsets in bench.stage.repeated for offset in offsets)
    assert bench.stage.judged[0] == (0, 1, 2, 3)
    with bench.vault.transaction(write=False) as tx:
        assert tx.plan(TOPIC.hex(), 0) is None


async def test_a_plan_the_log_has_lost_is_dropped() -> None:
    """If the planned records are gone from the log, what follows is judged anew."""
    bench = Bench(fail_produce=1)
    with pytest.raises(ConnectionError):
        await bench.chunks(chunk(0, 1, position=0))
    assert await bench.chunks(chunk(7, position=0)) == Done()
    assert bench.stage.repeated == []
    assert bench.stage.settled_ == [7]


async def test_the_record_that_breaks_a_stage_is_set_aside_alone() -> None:
    """The chunk is halved down to the offender, which is done as spoilt; all others are done as ever."""
    bench = Bench(breaks_on={5, 11})
    assert await bench.chunks(chunk(*range(20), position=0)) == Done()
    assert sorted(bench.stage.settled_) == list(range(20))
    assert bench.stage.spoilt == {5, 11}
    assert bench.findings == ["bug", "bug"]
    assert bench.spent == 2


async def test_too_many_offenders_stop_the_worker() -> None:
    """A real bug must not eat a topic."""
    bench = Bench(breaks_on={1, 2, 3})
    with pytest.raises(Bug):
        await bench.chunks(chunk(*range(5), position=0))
    assert bench.progress() == 3


async def test_a_record_that_cannot_even_be_set_aside_stops_the_worker() -> None:
    """A second failure on the same record is ours, not the record's."""
    bench = Bench(breaks_on={1}, always=True)
    with pytest.raises(Bug):
        await bench.chunks(chunk(0, 1, position=0))


async def test_a_silent_stage_has_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent between judging and counting, so both are one transaction."""
    bench = Bench(silent=True, entry=None)
    begun, original = list[bool](), bench.vault.beside

    def beside(do: Callable[[Tx], Any], *, counts: bool = False) -> Any:
        begun.append(counts)
        return original(do, counts=counts)

    monkeypatch.setattr(bench.vault, "beside", beside)
    assert await bench.chunks.together([chunk(0, 1), chunk(0, partition=1)]) == [Done(), Done()]
    assert begun == [False]
    assert bench.stage.settled_ == [0, 1, 0]
    assert bench.stage.produced == []
    assert [bench.progress(n) for n in range(2)] == [2, 1]


# ---- chunks of several partitions --------------------------------------------------------------------------
async def test_partitions_share_their_commits() -> None:
    """Three chunks are judged, produced and settled as one, and each partition has moved on."""
    bench = Bench()
    sheaf = [chunk(0, 1, partition=0), chunk(0, partition=1), chunk(0, 1, 2, partition=2)]
    assert await bench.chunks.together(sheaf) == [Done()] * 3
    assert bench.stage.judged == [(0, 1, 0, 0, 1, 2)]
    assert [bench.progress(n) for n in range(3)] == [2, 1, 3]
    with bench.vault.transaction(write=False) as tx:
        assert [tx.plan(TOPIC.hex(), n) for n in range(3)] == [None] * 3


async def test_who_is_ahead_or_behind_keeps_nobody_else() -> None:
    """A partition that is done already, half done or too far is told so; the others are done."""
    bench = Bench()
    await bench.chunks(chunk(0, 1, 2, partition=0))
    await bench.chunks(chunk(0, partition=1))
    sheaf = [
        chunk(0, 1, 2, partition=0),
        chunk(0, 1, partition=1),
        chunk(5, 6, partition=2),
        chunk(0, partition=3),
    ]
    assert await bench.chunks.together(sheaf) == [Done(), Done(), Seek(0), Done()]
    assert bench.stage.judged[2:] == [(1, 0)]
    assert [bench.progress(n) for n in range(4)] == [3, 2, None, 1]


async def test_what_was_planned_before_is_repeated_by_itself() -> None:
    """After a kill every partition's plan is repeated, cut as it comes; what is new is judged."""
    bench = Bench(fail_produce=1)
    with pytest.raises(ConnectionError):
        await bench.chunks.together([chunk(0, 1, partition=0), chunk(0, partition=1)])
    sheaf = [chunk(0, 1, 2, partition=0), chunk(0, partition=1), chunk(0, partition=2)]
    assert await bench.again().together(sheaf) == [Done()] * 3
    assert bench.stage.repeated == [(0, 1), (0,)]
    assert bench.stage.judged == [(0, 1, 0), (0,), (2,)]
    assert sorted(bench.stage.settled_) == [0, 0, 0, 1, 2]


async def test_an_overtaken_partition_counts_for_nobody_and_the_rest_is_repeated() -> None:
    """One zombie partition among several: its records count once, those of the others too."""
    bench = Bench()
    zombie = bench.again()
    bench.overtake(chunk(0, 1, 2, partition=1))
    sheaf = [chunk(0, 1, partition=0), chunk(0, 1, 2, 3, partition=1)]
    assert await zombie.together(sheaf) == [Done(), Seek(3)]
    assert sorted(bench.stage.settled_) == [0, 0, 1, 1, 2]
    assert bench.stage.repeated[-1] == (0, 1)


async def test_what_breaks_only_together_is_done_alone_and_found() -> None:
    """Nothing is set aside for it, but a person is told: it costs the commits of each."""
    bench = Bench()
    judge = bench.stage.judge

    def alone(tx: Tx, given: Sequence[Given[None]], planned: Mapping[int, int] | None) -> Judged:
        if len(given) > 1:
            raise KeyError("together")
        return judge(tx, given, planned)

    bench.stage.judge = alone  # type: ignore[method-assign]  # a fault of the stage's
    assert await bench.chunks.together([chunk(0, 1), chunk(0, partition=1)]) == [Done(), Done()]
    assert bench.findings == ["chunks break together and not alone"]
    assert bench.spent == 0
    assert bench.stage.settled_ == [0, 1, 0]


async def test_a_record_that_breaks_one_partition_is_set_aside_there() -> None:
    """Together they fail; alone, the offender is found and all others are done."""
    bench = Bench(breaks_on={11})
    sheaf = [chunk(*range(3), partition=0), chunk(*range(8, 13), partition=1, position=0)]
    assert await bench.chunks.together(sheaf) == [Done(), Done()]
    assert sorted(bench.stage.settled_) == [0, 1, 2, 8, 9, 10, 11, 12]
    assert bench.stage.spoilt == {11}
    assert bench.spent == 1
    assert bench.findings == ["offsets missing from the log", "bug"]


def test_decisions_are_packed_into_as_few_messages_as_fit() -> None:
    """None for none, one for few, and each under the limit for many."""
    entry = RecordDecided(
        record_id=RecordId(bytes(16)),
        revision=1,
        source="form/contact",
        policy=1,
        control_offset=0,
        state=0,
        decided_at=Micros(0),
        outcome="discarded",
        code="no_basis",
        slot=Slot(0),
        links=[],
        verdicts=[],
    )
    assert list(decision_batches([])) == []
    assert len(list(decision_batches([entry] * 10))) == 1
    many = list(decision_batches([entry] * 20_000))
    assert len(many) == 2
    assert all(len(batch) <= BATCH_BYTES for batch in many)


async def test_a_poisoned_event_is_quarantined_under_its_own_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug while judging one event quarantines that one, as `bug`, and routes its neighbours."""
    world = World()
    await world.settle()
    forms = [world.form(email=f"p{n}@example.com") for n in range(5)]
    original = Alike.entry

    def broken(self: Alike, each: Arrived) -> Entry | None:
        if isinstance(each.event, FormSubmitted) and each.event.event_id == forms[2].event_id:
            raise ZeroDivisionError
        return original(self, each)

    monkeypatch.setattr(Alike, "entry", broken)
    for form in forms:
        world.publish(form, "intake.form")
    await world.settle()
    assert [world.outcome(form) for form in forms] == [
        ("quarantined", "bug") if n == 2 else ("routed", None) for n in range(5)
    ]
    assert len(world.read("quarantine")) == 1


async def test_an_event_that_breaks_while_it_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug after the plan was kept overrules it: the event is quarantined under the id it was planned as."""
    world = World()
    await world.settle()
    forms = [world.form(email=f"p{n}@example.com") for n in range(3)]
    original = sealing.encode_fields

    def broken(values: Any) -> bytes:
        if "p1@example.com" in values:
            raise TypeError
        return original(values)

    monkeypatch.setattr("streams.tagout.encode_fields", broken)
    for form in forms:
        world.publish(form, "intake.form")
    await world.settle()
    assert [world.outcome(form) for form in forms] == [
        ("routed", None),
        ("quarantined", "bug"),
        ("routed", None),
    ]


async def test_a_record_that_breaks_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of ours that cannot be routed is quarantined with an entry; unreadable bytes are too."""
    world = World()
    await world.settle()
    forms = [world.form(email=f"p{n}@example.com") for n in range(3)]
    original = DeliveryMould.seal
    broken_id = world.record_id(forms[1])

    def broken(mould: DeliveryMould, deliveries: Sequence[bytes], *rest: Any) -> Any:
        if delivery_id(world.vault.secrets.processor("crm"), broken_id) in deliveries:
            raise IndexError
        return original(mould, deliveries, *rest)

    monkeypatch.setattr(DeliveryMould, "seal", broken)
    for form in forms:
        world.publish(form, "intake.form")
    world.log.append(Outbound("records.short", 0, None, os.urandom(20)))
    await world.settle()
    assert world.outcome(forms[0]) == ("routed", None)
    assert world.outcome(forms[2]) == ("routed", None)
    outcomes = [entry.outcome for entry in world.entries() if entry.code == "bug"]
    assert outcomes == ["quarantined", "quarantined"]
    assert len(world.deliveries("crm")) >= 2


async def test_a_commit_waits_for_what_is_owed() -> None:
    """Until somebody announces, a chunk that destroyed something is never acknowledged, however it comes."""
    world = World()
    await world.settle()
    world.publish(world.form(consents={"news": True}), "intake.form")
    await world.settle()

    async def nobody() -> None:
        """No announcer runs."""

    world.around = replace(world.around, nap=nobody)
    world.handles["tag"] = world.handle("tag")
    world.publish(world.form(consents={"news": False}), "intake.form")
    for _ in range(2):
        assert not await world.step("tag"), "unavailable"
    assert world.sources["tag"].lag() == 1
    await world.expire.announcer.announce()
    await world.settle()
    assert world.sources["tag"].lag() == 0
