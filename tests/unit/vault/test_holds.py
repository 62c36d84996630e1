"""Legal holds: tables of cases, and the vault walked in step with model m4, a hold at every interleaving."""

import random
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.errors import Bug, NotFound, Unavailable
from schemas.ids import Micros, Period, SubjectNumber, Terms
from schemas.models import Cause
from tests.unit.vault.models import model
from tests.unit.vault.worlds import DAY, HOUR, START, Plan, World, bucket, open_world, wanted
from vault.ending import apply_statements, end_bucket, end_buckets, erase
from vault.handles import handle_key, make_handles
from vault.holds import place_hold, release_hold
from vault.keys import derive_k, new_key
from vault.opening import Ask, Usable, find, may_use
from vault.port import Tx
from vault.subjects import with_key
from vault.tables import ESCROW
from vault.transaction import destroying
from vault.values import AliasRow, BucketId, HeldPair, Statement

HOLD, SECOND = b"h" * 16, b"i" * 16
WITHDRAWN = Statement(purpose="news", granted=False, at=START)


def ks(world: World, hold: bytes) -> dict[HeldPair, bytes]:
    """What opens under a hold."""
    with world.read() as tx:
        return {key.pair: key.k for key in tx.hold_keys(hold)}


def held_person(world: World) -> tuple[SubjectNumber, HeldPair, bytes]:
    """A person with one bucket under hold; returns what must stay readable, and its K."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket())])
        k = derive_k(tx.bucket_keys([bucket()])[bucket()], state.purposes["news"].key or b"")
    with world.write() as tx:
        place_hold(tx, HOLD, [world.hash("a@x")], ["news"], reason="case 7")
    return state.number, HeldPair(bucket(), state.number, 1), k


def test_a_hold_survives_the_death_of_either_parent(world: World) -> None:
    """K is put aside when the bucket ends and when the person withdraws, and is the K that sealed."""
    number, pair, k = held_person(world)
    assert ks(world, HOLD) == {pair: k}
    with world.write() as tx:
        end_bucket(tx, bucket(), world.herald)
    assert ks(world, HOLD) == {pair: k}
    with world.write() as tx:
        apply_statements(tx, tx.subjects([number])[number], [WITHDRAWN], world.herald)
    assert ks(world, HOLD) == {pair: k}


def test_a_hold_keeps_of_many_ends_what_it_is_for(world: World) -> None:
    """Buckets of several purposes that end together leave each hold its own, and nobody else's keys."""
    ends = [bucket("news", 1), bucket("ads", 1), bucket("news", 2)]
    living = bucket("news", 3)
    with world.write() as tx:
        held = world.person(tx, "a@x", purposes=("news", "ads")).number
        world.person(tx, "b@x", purposes=("news", "ads"))
        tx.ensure_buckets([wanted(each) for each in (*ends, living)])
    with world.write() as tx:
        place_hold(tx, HOLD, [world.hash("a@x")], ["news"])
        place_hold(tx, SECOND, [world.hash("a@x")], ["news", "ads"])
    before = ks(world, HOLD), ks(world, SECOND)
    with world.write() as tx:
        causes: dict[BucketId, Cause] = dict.fromkeys((*ends, bucket("ads", 9)), "retention")
        assert end_buckets(tx, causes, world.herald) == ends
        assert end_buckets(tx, causes, world.herald) == []
    with world.write() as tx:
        aside = [{key.pair.bucket for key in destroying(tx).put_aside(hold)} for hold in (HOLD, SECOND)]
        assert [row.ended_at is None for row in tx.buckets([*ends, living]).values()].count(True) == 1
    assert aside == [{ends[0], ends[2]}, set(ends)]
    assert (ks(world, HOLD), ks(world, SECOND)) == before
    assert {pair.subject for pair in before[1]} == {held} and len(before[1]) == 4


def test_a_hold_survives_an_erasure(world: World) -> None:
    """Erasing the person puts K aside with their number; nothing else leads there."""
    number, pair, k = held_person(world)
    with world.write() as tx:
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
    assert ks(world, HOLD) == {pair: k} and pair.subject == number


def test_release_destroys_what_was_put_aside(world: World) -> None:
    """Nothing opens under a released hold, no row of it remains, and it cannot be released twice."""
    _, _, _ = held_person(world)
    with world.write() as tx:
        end_bucket(tx, bucket(), world.herald)
    with world.write() as tx:
        release_hold(tx, HOLD)
    with pytest.raises(NotFound):
        ks(world, HOLD)
    with world.store.begin(write=False) as rows:
        assert rows.count(ESCROW) == 0
    with world.read() as tx:
        (hold,) = tx.holds()
        assert (hold.on, hold.subjects, hold.links, hold.reason) == (False, (), (), "")
        assert hold.released_at == START
    for unknown in (HOLD, SECOND):
        with pytest.raises(NotFound), world.write() as tx:
            release_hold(tx, unknown)
    with world.write() as tx:
        destroying(tx).drop_hold(HOLD)
        destroying(tx).drop_hold(SECOND)


def test_a_hold_placed_too_late_says_what_is_gone(world: World) -> None:
    """What had been destroyed is listed; what still lives is not."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket(period=1)), wanted(bucket(period=2)), wanted(bucket("ads"))])
        end_bucket(tx, bucket(period=1), world.herald)
    world.drain()
    with world.write() as tx:
        hold = place_hold(tx, HOLD, [world.hash("a@x")], ["news"])
        assert hold.gone == (HeldPair(bucket(period=1), state.number, 1),)
        assert tx.holds() == [hold]
    assert set(ks(world, HOLD)) == {HeldPair(bucket(period=2), state.number, 1)}


def test_a_hold_waits_for_what_is_owed(world: World) -> None:
    """What it calls gone must stand on `lifecycle` first (model m6)."""
    with world.write() as tx:
        world.person(tx, "a@x")
        tx.put_outbox(kind="k", topic="lifecycle", partition=0, key=None, value=b"")
    with pytest.raises(Unavailable), world.write() as tx:
        place_hold(tx, HOLD, [world.hash("a@x")], ["news"])


def test_a_hold_does_not_wait_for_receipts(world: World) -> None:
    """They come all the time, and would keep every command behind the hold waiting."""
    with world.write() as tx:
        world.person(tx, "a@x")
        tx.put_outbox(kind="k", topic="receipts", partition=0, key=None, value=b"")
    with world.write() as tx:
        assert place_hold(tx, HOLD, [world.hash("a@x")], ["news"]).subjects


def test_a_second_hold_copies_what_the_first_put_aside(world: World) -> None:
    """Also for somebody erased meanwhile, whom the first hold still names; each dies alone."""
    _, pair, k = held_person(world)
    with world.write() as tx:
        end_bucket(tx, bucket(), world.herald)
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
    world.drain()
    with world.write() as tx:
        assert place_hold(tx, SECOND, [world.hash("a@x"), world.hash("b@x")], ["news"]).gone == ()
    with world.write() as tx:
        release_hold(tx, HOLD)
    assert ks(world, SECOND) == {pair: k}


def test_a_hold_on_nobody_holds_nothing(world: World) -> None:
    """An unknown identifier, or another purpose, puts nothing aside; an id is used once."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket())])
        assert place_hold(tx, HOLD, [world.hash("nobody@x")], ["news"]).subjects == ()
        place_hold(tx, SECOND, [world.hash("a@x")], ["ads"])
    with world.write() as tx:
        end_bucket(tx, bucket(), world.herald)
        apply_statements(tx, tx.subjects([state.number])[state.number], [WITHDRAWN], world.herald)
    assert ks(world, HOLD) == ks(world, SECOND) == {}
    world.drain()
    with pytest.raises(Bug), world.write() as tx:
        place_hold(tx, HOLD, [], ["news"])


# ---- in step with model m4 ---------------------------------------------------------------------------------
class _Walk:
    """One person and two periods, driven by the model's labels; says what opens, is gone, is put aside."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.world = open_world(kind, folder)
        self.ticks = 0
        self.gone: dict[int, set[tuple[int, int]]] = {}
        self.ks: dict[tuple[int, int], bytes] = {}
        with self.world.write() as tx:
            state = self.world.person(tx, "a@x")
            self.number = state.number
            said = Statement(purpose="news", granted=True, at=START)
            apply_statements(tx, state, [said], self.world.herald)
            self.ensure(tx, 0)

    def bucket(self, t: int) -> BucketId:
        return BucketId("news", Period(t), Terms(1))

    def ensure(self, tx: Tx, t: int) -> None:
        due = START + (2, 3)[t] * HOUR
        (row,) = tx.ensure_buckets([wanted(self.bucket(t), due)]).values()
        assert row.usable(tx.now)
        held = tx.subjects([self.number])[self.number].purpose("news")
        assert held.key is not None
        self.ks[t, held.generation] = derive_k(tx.bucket_keys([row.id])[row.id], held.key)

    def do(self, label: str) -> None:
        word = label.split()
        if word[0] == "clock":
            self.world.vault.clock.set_manual(Micros(START + int(word[1]) * HOUR))
        elif word[0] == "hold" and word[2] == "placed,":
            self.place(int(word[1]))
        else:
            with self.world.write() as tx:
                self.step(tx, label, word)

    def place(self, hold: int) -> None:
        self.world.drain()
        with self.world.write() as tx:
            placed = place_hold(tx, (HOLD, SECOND)[hold], [self.world.hash("a@x")], ["news"])
        self.gone[hold] = {(pair.bucket.period, pair.generation) for pair in placed.gone}

    def step(self, tx: Tx, label: str, word: list[str]) -> None:
        state = tx.subjects([self.number])[self.number]
        if word[0] == "hold":
            release_hold(tx, (HOLD, SECOND)[int(word[1])])
        elif label.startswith("policy"):
            tx.shorten_bucket(self.bucket(0), tx.now)
            tx.hide_bucket(self.bucket(0), "policy")
        elif label.startswith("expire destroys"):
            assert end_bucket(tx, self.bucket(int(word[-1])), self.world.herald)
        elif label.startswith("withdrawal"):
            self.say(tx, granted=False)
        elif label.startswith("new grant"):
            self.say(tx, granted=True)
            state = tx.subjects([self.number])[self.number]
            tx.put_subjects([with_key(state, "news", self.at(), new_key)])
            for t in (0, 1):
                self.remember(tx, t)
        elif label.startswith("tag commit"):
            self.ensure(tx, int(word[-1]))
        else:
            assert label.startswith(("tag produces", "an opener")), label

    def remember(self, tx: Tx, t: int) -> None:
        held = tx.subjects([self.number])[self.number].purpose("news")
        keys = destroying(tx).living_keys(["news"])
        if self.bucket(t) in keys and held.key is not None:
            self.ks[t, held.generation] = derive_k(keys[self.bucket(t)], held.key)

    def at(self) -> Micros:
        self.ticks += 1
        return Micros(START + self.ticks)

    def say(self, tx: Tx, *, granted: bool) -> None:
        state = tx.subjects([self.number])[self.number]
        said = Statement(purpose="news", granted=granted, at=self.at())
        apply_statements(tx, state, [said], self.world.herald)

    def agrees(self, s: Any) -> None:
        """Compare everything the model says with what the vault does."""
        with self.world.read() as tx:
            rows = tx.buckets([self.bucket(0), self.bucket(1)])
            for t in (0, 1):
                row = rows.get(self.bucket(t))
                if row is None:
                    assert s.bucket[t] == "none"
                    continue
                want = {"open": ("open", False), "hidden": ("hidden", False), "destroyed": ("hidden", True)}
                assert (row.state, row.ended_at is not None) == want[s.bucket[t]]
            held = tx.subjects([self.number])[self.number].purpose("news")
            assert (held.generation, held.last_generation) == (s.gen, s.last)
            for t, g in s.sealed:
                live = s.bucket[t] in ("open", "hidden") and s.gen == g
                assert self.opens(tx, t, g) == (live and s.bucket[t] == "open" and s.clock < s.due[t])
                for hold in (0, 1):
                    if s.hold[hold] == "on":
                        self.held(tx, s, hold, t, g)

    def opens(self, tx: Tx, t: int, g: int) -> bool:
        keys = destroying_keys(tx, self.bucket(t))
        handle = make_handles(handle_key(keys), [(self.number, g, bytes(16))])[0] if keys else bytes(16)
        (found,) = find(tx, [Ask(self.bucket(t), handle, bytes(16))])
        used = may_use(found, Plan(name="news"), tx.now)
        assert not isinstance(used, Usable) or used.k == self.ks[t, g]
        return isinstance(used, Usable)

    def held(self, tx: Tx, s: Any, hold: int, t: int, g: int) -> None:
        """Invariant 13: what a hold was not told is gone, it opens; what it was told, it does not."""
        opens = {
            (int(k.pair.bucket.period), k.pair.generation): k.k for k in tx.hold_keys((HOLD, SECOND)[hold])
        }
        told = (t, g) in self.gone[hold]
        assert ((t, g) in opens) is not told
        assert (t, g) not in opens or opens[t, g] == self.ks[t, g]
        if (t, g) in s.gone[hold] and not told:
            # The model's second hold is told "gone"; the design lets it copy what the first put aside.
            assert s.hold[1 - hold] in ("on", "off")


def destroying_keys(tx: Tx, id_: BucketId) -> bytes | None:
    """A bucket's key as long as it can be used."""
    return tx.bucket_keys([id_]).get(id_)


def walks(count: int, steps: int, seed: int) -> Iterable[list[tuple[str, Any]]]:
    """Random walks through the model as the design has it, each from its start; every label gets its turn."""
    m4 = model("m4_hold").Hold()
    dice, taken = random.Random(seed), dict[str, int]()
    for _ in range(count):
        state, path = m4.start(), []
        for _ in range(steps):
            moves = [(label, after) for label, after in m4.step(state) if after != state]
            if not moves:
                break
            least = min(taken.get(label.split(",")[0], 0) for label, _ in moves)
            rare = [m for m in moves if taken.get(m[0].split(",")[0], 0) <= least + 3]
            label, state = dice.choice(rare if dice.random() < 0.5 else moves)
            assert not m4.safe(state)
            taken[label.split(",")[0]] = taken.get(label.split(",")[0], 0) + 1
            path.append((label, state))
        yield path


@pytest.mark.parametrize(("kind", "count"), [("memory", 300), ("sqlite", 4), ("postgresql", 2)])
def test_the_vault_walks_in_step_with_the_model(kind: str, count: int, tmp_path: Path) -> None:
    """After every step of every walk the vault opens, hides and puts aside exactly what the model says."""
    labels = set()
    for n, path in enumerate(walks(count, 14, seed=4)):
        walk = _Walk(tmp_path / str(n), kind)
        for label, state in path:
            walk.do(label)
            walk.agrees(state)
            labels.add(label.split(":")[0].split(",")[0])
        walk.world.vault.close()
    assert kind != "memory" or len(labels) >= 18, sorted(labels)


def test_a_hold_at_every_moment_of_a_destroying_transaction_order(tmp_path: Path) -> None:
    """Hold, bucket end, withdrawal, erasure and release in every order: never a surprise for the hold."""
    for n, order in enumerate(permutations(["hold", "bucket", "withdraw", "erase", "release"])):
        world = open_world("memory", tmp_path / str(n))
        with world.write() as tx:
            state = world.person(tx, "a@x")
            tx.ensure_buckets([wanted(bucket(), START + DAY)])
            k = derive_k(tx.bucket_keys([bucket()])[bucket()], state.purposes["news"].key or b"")
        pair, gone, on = HeldPair(bucket(), state.number, 1), None, False
        for act in order:
            world.drain()
            with world.write() as tx:
                if act == "hold":
                    placed = place_hold(tx, HOLD, [world.hash("a@x")], ["news"])
                    gone, on = (pair in placed.gone or not placed.subjects), True
                elif act == "bucket":
                    end_bucket(tx, bucket(), world.herald)
                elif act == "withdraw":
                    apply_statements(tx, tx.subjects([state.number])[state.number], [WITHDRAWN], world.herald)
                elif act == "erase":
                    erase(tx, [world.hash("a@x")], tx.now, world.herald)
                elif on:
                    release_hold(tx, HOLD)
                    on = False
            if on:
                assert ks(world, HOLD) == ({} if gone else {pair: k}), order
        with world.store.begin(write=False) as rows:
            assert on or rows.count(ESCROW) == 0


def test_a_person_linked_later_is_not_under_the_hold(world: World) -> None:
    """A hold names the people its identifiers named when it was placed; a rebirth is somebody new."""
    held_person(world)
    with world.write() as tx:
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
        reborn = world.person(tx, "a@x")
        row = AliasRow(hash=world.hash("b@x"), subject=reborn.number, since=tx.now)
        tx.put_aliases([row, replace(row, hash=world.hash("c@x"))])
    assert all(pair.subject != reborn.number for pair in ks(world, HOLD))
