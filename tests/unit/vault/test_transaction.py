"""What a transaction promises, on every store."""

import threading
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from schemas.errors import Bug, Conflict, Refused, Unavailable
from schemas.ids import (
    CommandId,
    DeliveryId,
    Micros,
    RecordId,
    RequestId,
    Sequence,
    SubjectNumber,
    SubjectRef,
)
from tests.unit.vault.worlds import DAY, HOUR, START, World, bucket, wanted
from vault.keys import new_key
from vault.pgrows import PostgresRows
from vault.pgsql import sequence
from vault.port import Tx
from vault.residue import ACCEPTED
from vault.restored import CLOSED, close, is_closed
from vault.subjects import with_key
from vault.tables import COUNTER
from vault.tasks import Task
from vault.transaction import destroying
from vault.values import (
    AliasRow,
    BucketWanted,
    ClockState,
    Holding,
    PolicyRow,
    ProcessorState,
    RequestState,
    ResidueCell,
    ResidueEntry,
    RetentionOrder,
    SubjectState,
    VendorObject,
)
from vault.vaults import StoreVault


def ids(*numbers: int) -> list[RecordId]:
    """Record ids that differ."""
    return [RecordId(bytes(12) + n.to_bytes(4, "big")) for n in numbers]


# ---- sequence, nesting, failure ----------------------------------------------------------------------------
def test_a_write_takes_a_fresh_sequence_number_and_a_read_the_latest(world: World) -> None:
    """Numbers grow with every commit and never fall back to those of a rolled-back one."""
    seen = []
    for _ in range(3):
        with world.write() as tx:
            seen.append(tx.seq)
    assert seen == sorted(set(seen))
    with world.read() as tx:
        assert tx.seq == seen[-1]


def test_a_transaction_inside_another_is_a_bug(world: World) -> None:
    """Transactions do not nest; the outer one is not harmed."""
    with world.write() as tx:
        tx.put_meta("a", b"1")
        with pytest.raises(Bug), world.read():
            pass
    with world.read() as tx:
        assert tx.meta("a") == b"1"


def test_nothing_of_a_failed_transaction_stays(world: World) -> None:
    """Subjects, aliases and buckets of a block that raised are gone, also from this process."""
    with world.write() as tx:
        known = world.person(tx, "a@x")
    with pytest.raises(ZeroDivisionError), world.write() as tx:
        world.person(tx, "b@x")
        tx.put_subjects([replace(known, version=1, shared=True)])
        tx.ensure_buckets([wanted(bucket())])
        raise ZeroDivisionError
    with world.read() as tx:
        assert tx.aliases([world.hash("b@x")]) == {}
        assert not tx.subjects([known.number])[known.number].shared
        assert tx.all_buckets() == []


def test_writers_wait_for_one_another(world: World) -> None:
    """Increments by two threads are all there: transactions are serializable."""

    def work() -> None:
        for _ in range(25):
            with world.write() as tx:
                at = tx.progress("t", 0) or 0
                tx.set_progress("t", 0, at + 1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with world.read() as tx:
        assert tx.progress("t", 0) == 75


# ---- progress, plan, seen ----------------------------------------------------------------------------------
def test_progress_and_plan_are_per_topic_and_partition(world: World) -> None:
    """The fence and the plan of one partition touch no other."""
    with world.write() as tx:
        assert tx.progress("t", 0) is None
        assert tx.plan("t", 0) is None
        tx.set_progress("t", 0, 5)
        tx.put_plan("t", 0, b"plan")
        tx.put_plan("t", 1, b"other")
        tx.drop_plan("t", 0)
    with world.read() as tx:
        assert (tx.progress("t", 0), tx.progress("t", 1), tx.progress("u", 0)) == (5, None, None)
        assert (tx.plan("t", 0), tx.plan("t", 1)) == (None, b"other")


def test_what_was_seen_is_told_by_its_content_until_it_is_pruned(world: World) -> None:
    """A digest is keyed, repeats for the same content only, and is forgotten after its day."""
    digest = world.vault.content_digest(b"content")
    assert len(digest) == 16 and digest != world.vault.content_digest(b"other")
    one, two = ids(1, 2)
    with world.write() as tx:
        tx.put_seen({one: digest})
    with world.write() as tx:
        assert tx.seen([one, two]) == {one: digest}
        assert tx.prune_seen(Micros(START)) == 0
        assert tx.prune_seen(Micros(START + DAY)) == 1
        assert tx.seen([one]) == {}


def test_a_record_that_shares_its_narrow_key_is_not_taken_for_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two record ids that collide in 64 bits are told apart by 64 more."""
    one, two = ids(1, 2)
    with world.write() as tx:
        tx.put_seen({one: bytes(16)})
        names = type(tx)._seen_names  # type: ignore[attr-defined]  # noqa: SLF001
        narrow, _ = names(tx, [one])[one]

        def collide(own: Tx, records: Iterable[RecordId]) -> dict[RecordId, tuple[int, bytes]]:
            return {record: (narrow, check) for record, (_, check) in names(own, records).items()}

        monkeypatch.setattr(type(tx), "_seen_names", collide)
        assert tx.seen([one, two]) == {one: bytes(16)}


# ---- people ------------------------------------------------------------------------------------------------
def test_a_person_is_read_as_written_and_leads_from_every_identifier(world: World) -> None:
    """State, keys and links survive; the version counts the commits."""
    with world.write() as tx:
        state = world.person(tx, "a@x", "b@x")
        assert tx.subjects([state.number]) == {state.number: state}
    with world.read() as tx:
        stored = tx.subjects([state.number])[state.number]
        assert replace(stored, version=0) == state and stored.version == 1
        rows = tx.aliases([world.hash("a@x"), world.hash("c@x")])
        assert [row.subject for row in rows[world.hash("a@x")]] == [state.number]
        assert world.hash("c@x") not in rows
        assert set(tx.aliases_of([state.number])[state.number]) == {world.hash("a@x"), world.hash("b@x")}


def test_an_identifier_of_two_people_has_two_rows(world: World) -> None:
    """A shared identifier leads to both; linking again changes nothing."""
    with world.write() as tx:
        one, two = world.person(tx, "a@x"), world.person(tx, "a@x")
    with world.write() as tx:
        tx.put_aliases([AliasRow(hash=world.hash("a@x"), subject=one.number, since=Micros(START + 9))])
        rows = tx.aliases([world.hash("a@x")])[world.hash("a@x")]
        assert {row.subject for row in rows} == {one.number, two.number}
        assert {row.since for row in rows} == {START}


def test_a_row_that_changed_since_it_was_read_is_a_conflict(world: World) -> None:
    """Compare-and-swap: a state of an older version, or of nobody, is not written."""
    with world.write() as tx:
        state = world.person(tx)
    old = world.state(state.number)
    with world.write() as tx:
        tx.put_subjects([replace(old, shared=True)])
    with pytest.raises(Conflict), world.write() as tx:
        tx.put_subjects([replace(old, last_open=START)])
    with pytest.raises(Conflict), world.write() as tx:
        tx.put_subjects([SubjectState(number=SubjectNumber(5))])
    with pytest.raises(Conflict), world.write() as tx:
        tx.put_subjects([replace(state, version=0)])


def test_a_living_key_is_not_lost_outside_an_ending(world: World) -> None:
    """Putting a person without a key they had, or with another one, is a bug."""
    with world.write() as tx:
        state = world.person(tx)
    known = world.state(state.number)
    with pytest.raises(Bug), world.write() as tx:
        tx.put_subjects([replace(known, purposes={})])
    with pytest.raises(Bug), world.write() as tx:
        tx.put_subjects([known.having("news", replace(known.purpose("news"), key=new_key()))])


def test_an_identifier_of_nobody_is_a_bug(world: World) -> None:
    """A link needs somebody who is stored or put in the same transaction, and starts open."""
    row = AliasRow(hash=world.hash("a@x"), subject=SubjectNumber(7), since=START)
    for broken in (row, replace(row, subject=None)):
        with pytest.raises(Bug), world.write() as tx:
            tx.put_aliases([broken])
    with pytest.raises(Bug), world.write() as tx:
        state = tx.new_subject()
        tx.put_aliases([replace(row, subject=state.number)])
    with pytest.raises(Bug), world.write() as tx:
        state = world.person(tx)
        tx.put_aliases([replace(row, subject=state.number, until=START)])


def test_reading_a_person_alone_writes_nothing(world: World) -> None:
    """A put of the same state keeps the version, so readers do not make writers fail."""
    with world.write() as tx:
        state = world.person(tx)
    with world.write() as tx:
        tx.put_subjects(tx.subjects([state.number]).values())
    assert world.state(state.number).version == 1


def test_anchored_purposes_are_found_when_due(world: World) -> None:
    """A due date on a purpose schedules it; moving or dropping it moves or drops the schedule."""
    with world.write() as tx:
        state = world.person(tx, purposes=("a", "b"))
        for purpose, due in (("a", START + 5), ("b", START + 3)):
            state = state.having(purpose, replace(state.purpose(purpose), due=Micros(due)))
        tx.put_subjects([state])
    with world.write() as tx:
        assert [p for _, p, _ in tx.anchors_due(Micros(START + 9), 9)] == ["b", "a"]
        assert tx.anchors_due(Micros(START + 9), 1) == [(state.number, "b", START + 3)]
        assert tx.next_due(START) == START + 3
        stored = tx.subjects([state.number])[state.number]
        stored = stored.having("b", replace(stored.purpose("b"), due=None))
        tx.put_subjects([stored.having("a", replace(stored.purpose("a"), due=Micros(START + 4)))])
    with world.read() as tx:
        assert tx.anchors_due(Micros(START + 9), 9) == [(state.number, "a", START + 4)]


def test_only_the_highest_revision_is_remembered(world: World) -> None:
    """Superseding never goes back."""
    with world.write() as tx:
        tx.supersede({b"a": 3, b"b": 2})
        tx.supersede({b"a": 2})
        assert tx.superseded([b"a", b"b", b"c"]) == {b"a": 3, b"b": 2}


# ---- buckets -----------------------------------------------------------------------------------------------
def test_a_bucket_is_made_once_and_keeps_its_due_date(world: World) -> None:
    """Asking again, with another due date, returns the first row and the same key."""
    with world.write() as tx:
        first = tx.ensure_buckets([wanted(bucket())])[bucket()]
        key = tx.bucket_keys([bucket()])
    with world.write() as tx:
        again = tx.ensure_buckets([wanted(bucket(), START + 2 * DAY)])
        assert again == {bucket(): first}
        assert tx.bucket_keys([bucket()]) == key
        assert len(key[bucket()]) == 32


def test_a_bucket_already_due_is_never_made(world: World) -> None:
    """What is due now or earlier is absent from the answer."""
    with world.write() as tx:
        made = tx.ensure_buckets([wanted(bucket(period=1), START), wanted(bucket(period=2), START + 1)])
        assert list(made) == [bucket(period=2)]


def test_only_usable_buckets_give_their_key(world: World) -> None:
    """A bucket that is due or hidden has a key that nobody gets."""
    due, hidden, fine = bucket(period=1), bucket(period=2), bucket(period=3)
    with world.write() as tx:
        tx.ensure_buckets([wanted(due, START + HOUR), wanted(hidden), wanted(fine)])
        tx.hide_bucket(hidden, "policy")
    world.vault.clock.set_manual(Micros(START + HOUR))
    with world.read() as tx:
        assert list(tx.bucket_keys([due, hidden, fine])) == [fine]
        assert tx.buckets([hidden])[hidden].state == "hidden"
        assert tx.buckets([hidden])[hidden].hidden_at == START


def test_due_buckets_come_longest_overdue_first(world: World) -> None:
    """Due, next due and filtered listings agree."""
    with world.write() as tx:
        tx.ensure_buckets([wanted(bucket(period=n), START + n * HOUR) for n in (3, 1, 2)])
        tx.ensure_buckets([wanted(bucket("other"), START + DAY)])
    with world.read() as tx:
        assert [b.id.period for b in tx.due_buckets(Micros(START + 2 * HOUR), 9)] == [1, 2]
        assert [b.id.period for b in tx.due_buckets(Micros(START + 2 * HOUR), 1)] == [1]
        assert tx.next_due(Micros(START + HOUR)) == START + 2 * HOUR
        assert tx.next_due(Micros(START + DAY)) is None
        assert [b.id.purpose for b in tx.all_buckets()] == ["news", "news", "news", "other"]
        assert [b.id.period for b in tx.all_buckets(purpose="news", state="open")] == [1, 2, 3]


def test_a_due_date_only_moves_forward_in_time(world: World) -> None:
    """Shortening is allowed, lengthening is a bug, and so is a bucket nobody made."""
    with world.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
        tx.shorten_bucket(bucket(), Micros(START + HOUR))
    with pytest.raises(Bug), world.write() as tx:
        tx.shorten_bucket(bucket(), Micros(START + 2 * HOUR))
    with pytest.raises(Bug), world.write() as tx:
        tx.shorten_bucket(bucket("none"), START)
    with world.read() as tx:
        assert tx.buckets([bucket()])[bucket()].due == START + HOUR


def test_tallies_add_up_and_move_last_seen(world: World) -> None:
    """Counts of several chunks are summed, each with its time."""
    with world.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
        tx.add_tally({bucket(): 3})
    world.vault.clock.set_manual(Micros(START + 5))
    with world.write() as tx:
        tx.add_tally({bucket(): 2})
        row = tx.buckets([bucket()])[bucket()]
        assert (row.tally, row.first_seen, row.last_seen) == (5, START, START + 5)


def test_who_was_told_is_remembered_once(world: World) -> None:
    """Telling twice is telling once."""
    with world.write() as tx:
        state = world.person(tx)
        tx.tell_buckets([(bucket(), "mail"), (bucket(), "crm"), (bucket(), "mail")])
        tx.tell_subjects([(state.number, "crm")] * 2)
        assert tx.told_of_bucket(bucket()) == ("crm", "mail")
        assert tx.told_of_subject(state.number) == ("crm",)
        assert tx.told_of_subject(SubjectNumber(1)) == ()


# ---- outbox, commands, registry ----------------------------------------------------------------------------
def test_the_outbox_keeps_order_and_content(world: World) -> None:
    """Rows come in the order they were owed, across transactions, until they are deleted."""
    for n in range(3):
        with world.write() as tx:
            tx.put_outbox(kind="k", topic="t", partition=n, key=None if n else b"key", value=bytes([n]))
    with world.write() as tx:
        rows = tx.outbox(2)
        assert [(r.partition, r.key, r.value) for r in rows] == [(0, b"key", b"\0"), (1, None, b"\1")]
        tx.delete_outbox([rows[0].id])
        assert tx.outbox_count() == 2
        assert [r.partition for r in tx.outbox(9)] == [1, 2]


def test_a_command_is_judged_once(world: World) -> None:
    """How it ended can be read; judging it again is a bug."""
    command = CommandId(bytes(16))
    with world.write() as tx:
        assert tx.command_judged(command) is None
        tx.judge_command(command, "replayed", b"{}")
        judged = tx.command_judged(command)
        assert judged is not None
        assert (judged.code, judged.detail, judged.seq) == ("replayed", b"{}", tx.seq)
    with pytest.raises(Bug), world.write() as tx:
        tx.judge_command(command, None, b"{}")


def test_the_control_offset_is_kept(world: World) -> None:
    """What of `control` is applied survives."""
    with world.write() as tx:
        assert tx.control_offset == 0
        tx.set_control_offset(7)
    with world.read() as tx:
        assert tx.control_offset == 7


def test_the_registry_returns_what_was_put(world: World) -> None:
    """Policies, processors, requests, orders, clock state and odd values are read as written."""
    policy = PolicyRow(version=1, effective=START, sha256=bytes(32), body="version: 1")
    crm = ProcessorState(name="crm", approved=True, since=START, assurance_until=Micros(START + DAY))
    request = RequestState(
        request_id=RequestId(b"r" * 16),
        right="erasure",
        state="received",
        received_at=START,
        alias_hashes=(b"h",),
    )
    order = RetentionOrder(
        command_id=CommandId(bytes(16)), purpose="p", terms=bucket().terms, retention="P1D", at=START
    )
    with world.write() as tx:
        tx.put_policy(policy)
        tx.put_policy(policy)
        tx.put_processor(crm)
        tx.put_request(request)
        tx.put_retention_order(order)
        tx.put_clock_state(ClockState(since=START, brake="jump"))
        tx.put_meta("k", b"v")
    with pytest.raises(Bug), world.write() as tx:
        tx.put_policy(replace(policy, sha256=bytes(31) + b"x"))
    with world.write() as tx:
        assert tx.policies() == [policy] and tx.policy_count() == 1
        assert tx.processor("crm") == crm and tx.processors() == [crm] and tx.processor("x") is None
        assert tx.request(request.request_id) == request and tx.requests() == [request]
        assert tx.requests("received") == [request] and tx.requests("done") == []
        assert tx.retention_orders() == [order]
        assert tx.clock_state() == ClockState(since=START, brake="jump")
        assert tx.meta("k") == b"v" and tx.meta("x") is None
        tx.put_meta("k", None)
        tx.drop_request(request.request_id)
        assert tx.meta("k") is None and tx.request(request.request_id) is None


def test_clock_state_begins_empty(world: World) -> None:
    """Before the first tick nothing is remembered."""
    with world.read() as tx:
        assert tx.clock_state() == ClockState()


# ---- vendors' objects, residue -----------------------------------------------------------------------------
def holding(n: int, **other: object) -> Holding:
    """One delivery's claim."""
    base = Holding(
        delivery_id=DeliveryId(bytes([n]) * 16),
        purpose="news",
        period=bucket().period,
        terms=bucket().terms,
        subject_ref=SubjectRef(b"s" * 16),
        decided=Sequence(n),
    )
    return replace(base, **other)


def test_objects_are_kept_whole_and_found_by_what_they_hold(world: World) -> None:
    """An object's document is sealed, its holdings replaced as a set, and every way to look it up agrees."""
    one = VendorObject(
        processor="crm", ref=b"1", document=b"doc", due=START, holdings=(holding(1), holding(2))
    )
    two = VendorObject(
        processor="crm",
        ref=b"2",
        document=b"",
        lease=b"me",
        lease_until=START,
        holdings=(holding(3, ending=True),),
    )
    other = VendorObject(processor="mail", ref=b"1", document=b"x", holdings=(holding(1),))
    with world.write() as tx:
        tx.put_objects([one, two, other])
    with world.write() as tx:
        assert tx.objects("crm", [b"1", b"2", b"9"]) == {b"1": one, b"2": two}
        assert tx.objects_of_bucket("crm", bucket(), Sequence(9)) == [b"1"]
        assert tx.objects_of_bucket("crm", bucket(), Sequence(1)) == []
        assert tx.objects_of_bucket("crm", bucket(), Sequence(9), after=b"1") == []
        assert tx.objects_of_subject("crm", SubjectRef(b"s" * 16), ["x", "news"], Sequence(2)) == [b"1"]
        assert tx.objects_of_delivery("crm", DeliveryId(bytes([3]) * 16)) == [b"2"]
        assert tx.objects_of_processor("crm", limit=1) == [b"1"]
        assert tx.objects_of_processor("crm", after=b"1") == [b"2"]
        assert tx.objects_due("crm", START, 9) == [b"1"] and tx.objects_due("crm", Micros(START - 1), 9) == []
        assert tx.objects_waiting("crm") == 1
        assert tx.objects_held("crm") == (2, 3) and tx.objects_held("nobody") == (0, 0)
        tx.put_objects([replace(one, holdings=(holding(2, ending=True),), due=None)])
        assert tx.objects_of_bucket("crm", bucket(), Sequence(9)) == []
        assert tx.objects_of_delivery("crm", DeliveryId(bytes([1]) * 16)) == []
        tx.drop_objects("crm", [b"1", b"2"])
        assert tx.objects("crm", [b"1", b"2"]) == {} and tx.objects_of_processor("mail") == [b"1"]
        assert tx.objects_of_delivery("crm", DeliveryId(bytes([2]) * 16)) == []


def test_tasks_are_found_by_name_by_state_and_by_when_to_look(world: World) -> None:
    """Rows are replaced as they are, and what is forgotten is gone."""
    late = Task(processor="crm", about=b"1" * 16, due=Micros(START + 9), look=Micros(START + 5), since=START)
    open_ = replace(late, about=b"2" * 16, state="open", kind="late", look=START, answers={b"r": "completed"})
    other = replace(open_, processor="mail")
    with world.write() as tx:
        tx.put_tasks([late, open_, other])
    with world.write() as tx:
        assert tx.task("crm", b"1" * 16) == late and tx.task("crm", b"9" * 16) is None
        assert tx.tasks(state="open", processor="crm") == [open_]
        assert len(tx.tasks(processor="crm")) == 2 and len(tx.tasks(state="open", limit=1)) == 1
        assert tx.tasks_to_look_at(START, 9) == [open_, other]
        assert [tx.count_tasks("open", "crm", kind) for kind in ("late", "manual")] == [1, 0]
        tx.put_tasks([replace(open_, state="done")])
        tx.drop_tasks([("crm", b"1" * 16)])
        assert tx.count_tasks("open", "crm") == 0 and tx.tasks(processor="crm") == [
            replace(open_, state="done")
        ]


def test_what_a_processor_holds_is_told_by_purpose(world: World) -> None:
    """Deliveries of its objects, and the records of living buckets it was ever given anything of."""
    with world.write() as tx:
        tx.ensure_buckets([BucketWanted(id=bucket(), due=Micros(START + 10**12))])
        tx.tell_buckets([(bucket(), "crm"), (bucket(), "mail")])
        tx.add_tally({bucket(): 7})
        tx.put_objects(
            [VendorObject(processor="crm", ref=b"1", document=b"", holdings=(holding(1), holding(2)))]
        )
    with world.write() as tx:
        [held] = tx.held("crm")
        assert (held.purpose, held.deliveries, held.records) == (bucket().purpose, 2, 7)
        assert [row.deliveries for row in tx.held("mail")] == [0]
        assert (tx.count_objects("crm"), tx.count_objects("mail")) == (1, 0)
        assert tx.held("nobody") == []


def test_residue_counts_events_and_distinct_people(world: World) -> None:
    """A person counts once per cell, an event without a person never; carrying keeps people distinct."""
    with world.write() as tx:
        a, b = world.person(tx).number, world.person(tx).number
        entry = ResidueEntry(period="d1", label="form=x", subject=a)
        tx.count_residue([entry, entry, replace(entry, subject=b), replace(entry, subject=None, events=4)])
        tx.count_residue([replace(entry, period="d2")])
    with world.write() as tx:
        assert tx.residue("d1") == [ResidueCell(period="d1", label="form=x", events=7, people=2)]
        tx.carry_residue("d1", "form=x", "d2")
        tx.carry_residue("d1", "nothing", "d2")
        assert tx.residue() == [ResidueCell(period="d2", label="form=x", events=8, people=2)]
        tx.drop_residue("d2", "form=x")
        assert tx.residue() == []
        assert tx.accepted() == 8


def test_a_vault_older_than_the_count_of_accepted_events_says_so(world: World) -> None:
    """It does not begin to count in the middle: a number that is too small would look like a loss."""
    with world.write() as tx:
        assert tx.accepted() == 0
        destroying(tx).rows.delete(COUNTER, ("name",), [(ACCEPTED,)])
        tx.count_residue([ResidueEntry(period="d1", label="form=x", subject=None)])
        assert tx.accepted() is None


# ---- secrets and clock -------------------------------------------------------------------------------------
def test_secrets_are_one_per_name_and_the_same_for_every_process(world: World) -> None:
    """A secret made inside a transaction lives only if that commits; a second vault reads the same."""
    secrets = world.vault.secrets
    assert len({secrets.alias, secrets.record, secrets.slot, secrets.lifecycle}) == 4
    lost = b""
    with pytest.raises(ZeroDivisionError), world.write():
        lost = secrets.processor("crm")
        raise ZeroDivisionError
    with world.read():
        crm = secrets.processor("crm")
    assert crm != lost and crm == secrets.processor("crm") != secrets.named("crm")
    second = StoreVault(world.store, world.keys)
    assert second.secrets.processor("crm") == crm and second.secrets.alias == secrets.alias


def test_a_manual_clock_stands_until_it_is_set_and_never_steps_back(world: World) -> None:
    """All processes see the stored time; steps back and system clocks are refused."""
    clock = world.vault.clock
    assert clock.mode == "manual" and clock.now() == START
    clock.set_manual(Micros(START + 7))
    with world.read() as tx:
        assert clock.now() == tx.now == START + 7
    with pytest.raises(Refused):
        clock.set_manual(Micros(START + 6))
    assert StoreVault(world.store, world.keys, mode="manual").clock.now() == START + 7
    with pytest.raises(Refused):
        StoreVault(world.store, world.keys, mode="system")


# ---- a restore ---------------------------------------------------------------------------------------------
def set_back(world: World) -> None:
    """What a backup put back does to the numbers a vault gives."""
    with world.store.begin(write=True) as rows:
        if isinstance(rows, PostgresRows):
            rows.ask(f"SELECT setval('{sequence('seq')}', 1, false)")
        else:
            rows.put(COUNTER, [("seq", 0)])


@pytest.mark.parametrize("write", [False, True])
def test_a_vault_that_was_set_back_under_a_process_closes_for_all(world: World, write: bool) -> None:
    """Who goes on after a restore would answer with keys the log says are gone: the first to see it shuts."""
    other = StoreVault(world.store, world.keys, mode="manual")
    with world.write() as tx:
        world.person(tx, "a@x")
    set_back(world)
    for vault in (world.vault, other, StoreVault(world.store, world.keys, mode="manual")):
        with pytest.raises(Unavailable), vault.transaction(write=write):
            pytest.fail("it was let in")
    with pytest.raises(Unavailable):
        other.beside(lambda tx: tx.seq)


def test_a_closed_vault_answers_whoever_catches_up_and_then_all(world: World) -> None:
    """A process that ran while it was closed goes on once it is open."""
    with world.write() as tx:
        close(tx)
    with pytest.raises(Unavailable), world.read():
        pytest.fail("it was let in")
    with StoreVault(world.store, world.keys, mode="manual", catching_up=True).transaction() as tx:
        assert is_closed(tx)
        tx.put_meta(CLOSED, None)
    with world.read() as tx:
        assert not is_closed(tx)


def test_the_same_bucket_may_be_wanted_twice(world: World) -> None:
    """Two wishes for one bucket in a call make one."""
    with world.write() as tx:
        made = tx.ensure_buckets(
            [wanted(bucket()), BucketWanted(id=bucket(), due=Micros(START + 5), cap=None)]
        )
        assert len(made) == 1 == len(tx.all_buckets())


def test_a_person_with_keys_made_in_the_same_transaction_grows(world: World) -> None:
    """Putting a person several times in one transaction keeps the last."""
    with world.write() as tx:
        state = world.person(tx)
        tx.put_subjects([with_key(state, "more", START, new_key)])
    assert set(world.state(state.number).purposes) == {"news", "more"}
