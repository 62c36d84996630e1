"""Endings: what dies, who is told, what is owed to `control`; on every store."""

import pytest
from msgspec.structs import replace

from schemas import codec
from schemas.ids import Micros, RequestId
from schemas.models import BucketScope, Depersonalized, ProcessorScope, RequestDecided, SubjectScope
from tests.unit.vault.worlds import DAY, HOUR, START, Plan, World, bucket, wanted
from vault.ending import (
    apply_statements,
    end_bucket,
    end_purposes,
    erase,
    erase_scope,
    finish_buckets,
)
from vault.handles import handle_key, lifecycle_tag, make_handles, partition_of, slot_of, subject_ref
from vault.herald import announce_recall
from vault.keys import new_key
from vault.opening import Ask, find, may_use
from vault.subjects import resolve, with_key
from vault.tables import BUCKET
from vault.transaction import destroying
from vault.values import AliasRow, Closed, Statement


def said(granted: bool, at: int = START, purpose: str = "news", *, objection: bool = False) -> Statement:
    """A statement."""
    return Statement(purpose=purpose, granted=granted, at=Micros(at), objection=objection)


# ---- statements --------------------------------------------------------------------------------------------
def test_a_withdrawal_destroys_the_key_and_tells_everyone_told(world: World) -> None:
    """One lifecycle entry, one message per processor in the person's partition, with unlinkable names."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.tell_subjects([(state.number, "crm"), (state.number, "gone")])
        tx.set_control_offset(4)
    with world.write() as tx:
        state = apply_statements(tx, tx.subjects([state.number])[state.number], [said(False)], world.herald)
        seq = tx.seq
    assert world.state(state.number).purpose("news").key is None
    lapses = world.lapses()
    secrets, number = world.vault.secrets, state.number
    slot = slot_of(secrets.slot, number)
    assert [(topic, part) for topic, part, _ in lapses] == [
        ("lifecycle", 0),
        ("processor.crm", partition_of(slot, 4)),
        ("processor.gone", partition_of(slot, 4)),
    ]
    entry, crm, gone = (lapse for _, _, lapse in lapses)
    tag = lifecycle_tag(secrets.lifecycle, number, "news", 1)
    assert entry.scope == SubjectScope(subject_ref=tag, purposes=["news"])
    assert crm.scope == SubjectScope(
        subject_ref=subject_ref(secrets.processor("crm"), number), purposes=["news"]
    )
    assert len({entry.lapse_id, crm.lapse_id, gone.lapse_id}) == 3
    assert {x.cause for x in (entry, crm)} == {"withdrawal"}
    assert (crm.reaches, crm.control_offset, crm.effective_at) == (seq, 4, START)
    assert (entry.answer_by, crm.answer_by, gone.answer_by) == (None, START + DAY, START + 30 * DAY)


def test_a_withdrawal_goes_to_control_once_with_all_it_takes_to_repeat_it(world: World) -> None:
    """Alias hashes, purposes, generations and time are on `control`; the same words again owe nothing."""
    with world.write() as tx:
        state = world.person(tx, "a@x", "b@x")
    with world.write() as tx:
        state = apply_statements(
            tx, tx.subjects([state.number])[state.number], [said(False, START + 5)], world.herald
        )
    (decided,) = world.decisions()
    assert set(decided.alias_hashes) == {world.hash("a@x"), world.hash("b@x")}
    assert (decided.purposes, decided.generations, decided.until) == (["news"], [1], START + 5)
    assert (decided.right, decided.reason, decided.ordered_by, decided.key_id) == (
        "objection",
        "withdrawal",
        "lapse",
        "service",
    )
    with world.read() as tx:
        assert tx.command_judged(decided.command_id) is not None
    with world.write() as tx:
        apply_statements(
            tx, tx.subjects([state.number])[state.number], [said(False, START + 5)], world.herald
        )
        assert tx.outbox_count() == 0


def test_statements_of_one_form_are_applied_in_order(world: World) -> None:
    """A grant alone owes nothing; a denial of another purpose in the same form ends only that one."""
    with world.write() as tx:
        state = world.person(tx, "a@x", purposes=("news", "ads"))
        both = [said(True, purpose="news"), said(False, purpose="ads", objection=True)]
        state = apply_statements(tx, state, both, world.herald)
    assert world.state(state.number).purpose("news").granted
    held = world.state(state.number).purpose("ads")
    assert (held.key, held.objected) == (None, True)
    rows = world.drain()
    assert [row.kind for row in rows] == ["Depersonalized", "RequestDecided"]
    assert codec.decode_as(Depersonalized, rows[0].value).cause == "objection"


def test_a_withdrawal_by_somebody_unknown_is_kept(world: World) -> None:
    """The floor stands for whoever comes with this identifier later, and `control` carries it."""
    with world.write() as tx:
        state = tx.new_subject()
        tx.put_subjects([state])
        tx.put_aliases([AliasRow(hash=world.hash("a@x"), subject=state.number, since=tx.now)])
        apply_statements(tx, state, [said(False)], world.herald)
    assert world.state(state.number).purpose("news").floor == START
    assert [row.kind for row in world.drain()] == ["RequestDecided"]


def test_a_person_of_very_many_identifiers_fits_the_log(world: World) -> None:
    """Anyone can tie any number of them to somebody: a message too large would keep back all others."""
    hashes = [n.to_bytes(32, "big") for n in range(40_000)]
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.put_aliases([AliasRow(hash=hash_, subject=state.number, since=tx.now) for hash_ in hashes])
        apply_statements(tx, tx.subjects([state.number])[state.number], [said(False)], world.herald)
    rows = [row for row in world.drain() if row.topic == "control"]
    assert max(len(row.value) for row in rows) < 1_000_000
    decided = [codec.decode_as(RequestDecided, row.value) for row in rows]
    assert {hash_ for each in decided for hash_ in each.alias_hashes} >= set(hashes)
    assert len({each.request_id for each in decided}) == 1


# ---- anchored retention ------------------------------------------------------------------------------------
def test_an_anchored_purpose_ends_for_one_person(world: World) -> None:
    """The key dies as retention, others live; again, or for nobody, ends nothing."""
    with world.write() as tx:
        state = world.person(tx, "a@x", purposes=("news", "support"))
    with world.write() as tx:
        ended = end_purposes(tx, state.number, ["support", "none"], world.herald)
        assert [e.purpose for e in ended] == ["support"]
        assert end_purposes(tx, state.number, ["support"], world.herald) == ()
        assert end_purposes(tx, type(state.number)(9), ["support"], world.herald) == ()
    assert [lapse.cause for _, _, lapse in world.lapses()] == ["retention"]
    assert world.state(state.number).purpose("news").key is not None


# ---- buckets -----------------------------------------------------------------------------------------------
def test_a_bucket_ends_for_everybody_told_on_every_partition(world: World) -> None:
    """Hidden at once, key gone, tally on lifecycle, the told on all their partitions; destroyed later."""
    with world.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
        tx.add_tally({bucket(): 12})
        tx.tell_buckets([(bucket(), "crm")])
    with world.write() as tx:
        assert end_bucket(tx, bucket(), world.herald)
        assert not end_bucket(tx, bucket(), world.herald)
        assert not end_bucket(tx, bucket("none"), world.herald)
        assert tx.bucket_keys([bucket()]) == {}
    lapses = world.lapses()
    assert [(t, p) for t, p, _ in lapses] == [("lifecycle", 0), *(("processor.crm", p) for p in range(4))]
    assert len({lapse.lapse_id for _, _, lapse in lapses}) == 1
    assert lapses[0][2].scope == BucketScope(**bucket()._asdict())
    assert (lapses[0][2].records, lapses[0][2].cause) == (12, "retention")
    with world.read() as tx:
        row = tx.buckets([bucket()])[bucket()]
        assert (row.state, row.hidden_at, row.ended_at, row.destroyed_at) == ("hidden", START, START, None)
    world.vault.clock.set_manual(Micros(START + 9))
    assert world.finish() == (bucket(),)
    assert world.finish() == ()
    with world.read() as tx:
        row = tx.buckets([bucket()])[bucket()]
        assert (row.state, row.destroyed_at, row.reason) == ("destroyed", START + 9, "retention")
        assert tx.told_of_bucket(bucket()) == ()


def test_a_bucket_hidden_by_a_brake_keeps_its_key_until_it_is_ended(world: World) -> None:
    """`finish_buckets` destroys nothing by itself; ending keeps the time it was hidden."""
    with world.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
        tx.hide_bucket(bucket(), "policy")
    assert finish_buckets(world.vault) == ()
    world.vault.clock.set_manual(Micros(START + HOUR))
    with world.write() as tx:
        assert destroying(tx).living_keys(["news"])
        assert end_bucket(tx, bucket(), world.herald)
        row = tx.buckets([bucket()])[bucket()]
        assert (row.hidden_at, row.ended_at) == (START, START + HOUR)
        assert tx.ensure_buckets([wanted(bucket())])[bucket()].state == "hidden"


def test_hidden_becomes_destroyed_only_when_the_bytes_are_gone(on_disk: World) -> None:
    """While somebody reads old pages the checkpoint fails and the bucket stays hidden."""
    with on_disk.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
    with on_disk.store.begin(write=False) as old:
        assert old.count(BUCKET) == 1
        with on_disk.write() as tx:
            end_bucket(tx, bucket(), on_disk.herald)
        assert finish_buckets(on_disk.vault) == ()
    with on_disk.read() as tx:
        assert tx.buckets([bucket()])[bucket()].state == "hidden"
    assert finish_buckets(on_disk.vault) == (bucket(),)


def test_a_recall_asks_every_partition_for_everything(world: World) -> None:
    """One entry on lifecycle, one message per partition of the processor."""
    with world.write() as tx:
        announce_recall(destroying(tx), world.herald, "crm")
    lapses = world.lapses()
    assert len(lapses) == 5 and {lapse.cause for _, _, lapse in lapses} == {"recall"}
    assert lapses[0][2].scope == ProcessorScope()


# ---- erasure -----------------------------------------------------------------------------------------------
def test_erasure_ends_everything_and_closes_every_identifier(world: World) -> None:
    """Keys die, the row holds nothing, identifiers are closed, a later form starts somebody new."""
    with world.write() as tx:
        state = world.person(tx, "a@x", "b@x", purposes=("news", "ads"))
        tx.tell_subjects([(state.number, "crm")])
    with world.write() as tx:
        done = erase(tx, [world.hash("a@x")], tx.now, world.herald)
    assert done.subjects == (state.number,)
    assert done.ended == ((state.number, "ads"), (state.number, "news")) and done.kept == ()
    after = world.state(state.number)
    assert after.erased and after.purposes == {}
    lapses = world.lapses()
    assert [t for t, _, _ in lapses] == ["lifecycle", "lifecycle", "processor.crm"]
    assert {lapse.cause for _, _, lapse in lapses} == {"erasure"}
    with world.write() as tx:
        for name in ("a@x", "b@x"):
            (row,) = tx.aliases([world.hash(name)])[world.hash(name)]
            assert (row.subject, row.until) == (None, START)
        assert resolve([row], Micros(START)).closed and not resolve([row], Micros(START + DAY)).closed
        assert tx.told_of_subject(state.number) == () and tx.aliases_of([state.number])[state.number] == ()
        reborn = world.person(tx, "a@x")
        assert reborn.number != state.number
        found = resolve(tx.aliases([world.hash("a@x")])[world.hash("a@x")], Micros(START + DAY))
        assert found.subjects == (reborn.number,)


def test_erasure_closes_an_identifier_nobody_knows(world: World) -> None:
    """What arrives late from a person the vault never knew stays out; a second erasure never shortens it."""
    with world.write() as tx:
        assert erase(tx, [world.hash("a@x")], Micros(START + 5), world.herald).subjects == ()
        erase(tx, [world.hash("a@x")], START, world.herald)
        (row,) = tx.aliases([world.hash("a@x")])[world.hash("a@x")]
        assert (row.subject, row.until) == (None, START + 5)
        assert tx.outbox_count() == 0


def test_erasure_keeps_what_the_law_says_restricted(world: World) -> None:
    """Kept purposes are listed, restricted and still readable under a hold; everything else is gone."""
    with world.write() as tx:
        state = world.person(tx, "a@x", purposes=("billing", "news"))
        tx.tell_subjects([(state.number, "crm")])
    with world.write() as tx:
        done = erase(tx, [world.hash("a@x")], tx.now, world.herald, keep=["billing", "claims"])
        assert done.kept == ((state.number, "billing"),) and done.ended == ((state.number, "news"),)
        after = tx.subjects([state.number])[state.number]
        assert after.purpose("billing").restricted and after.purpose("billing").key is not None
        assert after.purpose("news").erased and after.purpose("news").key is None
        (row,) = [r for r in tx.aliases([world.hash("a@x")])[world.hash("a@x")] if r.subject is not None]
        assert (row.subject, row.until) == (state.number, START)
        assert tx.told_of_subject(state.number) == ("crm",)
        assert resolve(tx.aliases([world.hash("a@x")])[world.hash("a@x")], Micros(START + DAY)).subjects == ()
        again = erase(tx, [world.hash("a@x")], Micros(START + 7), world.herald, keep=["billing"])
        assert again.subjects == ()


def test_a_kept_link_is_closed_again_with_the_later_time(world: World) -> None:
    """Closing a person's links twice keeps the later `until`."""
    with world.write() as tx:
        state = world.person(tx, "a@x", purposes=("billing",))
        erase(tx, [world.hash("a@x")], Micros(START + 5), world.herald, keep=["billing"])
        destroying(tx).close_aliases(state.number, START, keep=True)
        rows = tx.aliases([world.hash("a@x")])[world.hash("a@x")]
        assert {row.until for row in rows} == {START + 5}


def test_what_is_shared_is_erased_on_any_request(world: World) -> None:
    """The scope follows shared identifiers to every person they name, and can be asked for beforehand."""
    with world.write() as tx:
        one = world.person(tx, "a@x", "desk@x")
        two = world.person(tx, "desk@x", "b@x")
        also = world.person(tx, "desk@x")
        three = world.person(tx, "c@x")
        people, hashes = erase_scope(tx, [world.hash("a@x")])
        assert people == tuple(sorted((one.number, two.number, also.number)))
        assert set(hashes) == {world.hash(n) for n in ("a@x", "desk@x", "b@x")}
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
    assert world.state(two.number).erased and not world.state(three.number).erased


def test_an_erasure_the_system_decided_is_on_control(world: World) -> None:
    """With a request's id the decision is owed to `control`, complete enough to be applied again."""
    with world.write() as tx:
        world.person(tx, "a@x", "b@x")
        erase(tx, [world.hash("a@x")], tx.now, world.herald, request_id=RequestId(b"r" * 16))
    (decided,) = world.decisions()
    assert set(decided.alias_hashes) == {world.hash("a@x"), world.hash("b@x")}
    assert (decided.right, decided.request_id, decided.purposes, decided.until) == (
        "erasure",
        b"r" * 16,
        ["news"],
        START,
    )


def test_after_erasure_a_handle_leads_to_nothing(world: World) -> None:
    """The bucket still inverts the handle, and what it leads to answers as if it were unknown."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket())])
        key = tx.bucket_keys([bucket()])[bucket()]
        (handle,) = make_handles(handle_key(key), [(state.number, 1, b"r" * 16)])
    ask = Ask(bucket(), handle, b"r" * 16)
    with world.write() as tx:
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
        (found,) = find(tx, [ask])
        assert found.number == state.number
        erased = may_use(found, Plan(name="news"), tx.now)
        (tampered,) = find(tx, [ask._replace(handle=bytes(16))])
        assert erased == may_use(tampered, Plan(name="news"), tx.now) == Closed(code="unknown")


def test_only_a_transaction_that_writes_destroys(world: World) -> None:
    """Endings refuse a read transaction."""
    with pytest.raises(AssertionError), world.read() as tx:
        end_bucket(tx, bucket(), world.herald)


def test_a_key_made_and_ended_in_one_transaction_is_still_announced(world: World) -> None:
    """A generation born and ended in one chunk is told: what the chunk planned under it must be expired."""
    with world.write() as tx:
        state = with_key(tx.new_subject(), "news", tx.now, new_key)
        tx.put_subjects([state])
        state = apply_statements(tx, state, [said(False, START + 1)], world.herald)
        assert state.purpose("news").key is None
    assert [t for t, _, _ in world.lapses()] == ["lifecycle"]
    assert replace(world.state(state.number), version=0) == state
