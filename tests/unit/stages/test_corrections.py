"""What becomes of an officer's correction, seen from outside (GDPR Art. 16, invariant 14)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas import codec, signing
from schemas.ids import Micros, Period, RequestId, Terms
from schemas.models import (
    DecisionBatch,
    Depersonalized,
    FieldsCorrected,
    FormSubmitted,
    HoldPlaced,
    ProcessorApproved,
    ProcessorSuspended,
    Quarantined,
    RecordDecided,
    RecordRectified,
    RecordScope,
    RequestDecided,
)
from streams import quarantine, tagout
from streams.leaves import leaf
from streams.ports import Outbound
from streams.tagplan import Entry, LinkPlan
from tests.support.postgres import databases
from tests.unit.stages.test_flow import opened
from tests.unit.stages.world import SECOND, START, World, changed
from tests.unit.vault.worlds import STORES
from vault.epochs import MemoryEpochKeys
from vault.handles import alias_hash, delivery_id
from vault.sealing import header_of, open_record
from vault.values import BucketId
from vault.vaults import StoreVault


@pytest.fixture
async def world() -> World:
    """A flow whose processors are approved."""
    made = World()
    await made.settle()
    return made


async def sent(world: World, **changes: object) -> FormSubmitted:
    """A form that was worked off; news is allowed, so both processors have it."""
    form = world.form(**{"consents": {"news": True}, **changes})
    world.publish(form, "intake.form")
    await world.settle()
    return form


async def corrected(world: World, form: FormSubmitted, **fields: str | None) -> FieldsCorrected:
    """Correct it and work that off."""
    said = world.correction(form, **fields)
    world.publish(said, "intake.form")
    await world.settle()
    return said


def entries(world: World) -> list[RecordDecided]:
    """Every entry on `decisions`, in the order in which they came to lie there."""
    place = {at: n for n, at in enumerate(world.order)}
    batches = sorted(world.read("decisions"), key=lambda each: place["decisions", each[0], each[1]])
    return [entry for _, _, batch in batches if isinstance(batch, DecisionBatch) for entry in batch.entries]


def last(world: World, event: FormSubmitted) -> tuple[int, str, str | None]:
    """Revision, outcome and code of the last entry about an event."""
    entry = [entry for entry in entries(world) if entry.record_id == world.record_id(event)][-1]
    return entry.revision, entry.outcome, entry.code


def values(world: World, processor: str) -> set[str]:
    """Every value a processor can open now."""
    return {value for each in opened(world, processor) if isinstance(each, dict) for value in each.values()}


async def test_a_corrected_field_takes_the_place_of_the_old_one(world: World) -> None:
    """The next revision has the same links and time, the same delivery id, and opens; the old one nowhere."""
    form = await sent(world)
    await corrected(world, form, name="Anne", message=None)
    one, two = world.tagged_as(form)
    assert (one.revision, two.revision) == (1, 2)
    assert one.links == two.links
    assert (one.source, one.policy, one.slot, one.schema_id) == (
        two.source,
        two.policy,
        two.slot,
        two.schema_id,
    )
    assert last(world, form) == (2, "routed", None)
    assert values(world, "mailer") == {"ann@example.com", "Anne"}
    assert values(world, "crm") == {"ann@example.com", "Anne"}, "the message is blank"
    assert {each for each in opened(world, "crm") if isinstance(each, str)} == {"superseded"}
    first, second = world.deliveries("mailer")
    assert first.delivery_id == second.delivery_id
    assert (first.revision, second.revision) == (1, 2)
    assert world.lapses("processor.mailer") == [], "who gets the new one is not told to erase"
    assert world.findings == []


async def test_a_correction_of_a_correction_counts(world: World) -> None:
    """Revision by revision; only the highest opens."""
    form = await sent(world)
    await corrected(world, form, name="Anne")
    await corrected(world, form, name="Anna")
    assert last(world, form) == (3, "routed", None)
    assert values(world, "mailer") == {"ann@example.com", "Anna"}


async def test_each_revision_is_counted_once_and_named_by_the_lapse(world: World) -> None:
    """Tallies and leaves are over record and revision; the residue knows of one event."""
    form = await sent(world)
    await corrected(world, form, name="Anne")
    record = world.record_id(form)
    with world.vault.transaction(write=False) as tx:
        rows = [row for row in tx.all_buckets() if row.id.purpose != "quarantine" and row.tally]
        leaves = {row.id: b"".join(tx.leaves(row.id).values()) for row in rows}
        residue = sum(cell.events for cell in tx.residue())
    assert {row.tally for row in rows} == {2}
    assert {leaves[BucketId(*row.id)] for row in rows} == {leaf(record, 1) + leaf(record, 2)}
    assert residue == 1


async def test_the_same_again_is_swallowed_and_another_is_late(world: World) -> None:
    """A redelivered correction changes nothing; another one for a revision that exists is turned away."""
    form = await sent(world)
    other = world.correction(form, name="Annika")
    said = await corrected(world, form, name="Anne")
    before = len(world.entries())
    world.publish(said, "intake.form", 1)
    await world.settle()
    assert len(world.entries()) == before
    world.publish(other, "intake.form")
    await world.settle()
    assert last(world, form) == (2, "discarded", "superseded")
    gap = signing.sign(changed(world.correction(form), revision=5), world.operator)
    world.publish(gap, "intake.form")
    await world.settle()
    assert last(world, form) == (5, "discarded", "conflict")
    assert values(world, "mailer") == {"ann@example.com", "Anne"}
    assert world.outcome(form) == ("routed", None)


def forged(world: World, said: FieldsCorrected) -> dict[str, FieldsCorrected]:
    """Corrections nobody may make, by the code they end with."""
    strange = os.urandom(32)
    service = world.around.service_key
    long_ago = Micros(said.at - 31 * 86_400 * SECOND)
    return {
        "unsigned": changed(said, signature=b""),
        "bad_signature": changed(said, fields={**said.fields, "name": "Mallory"}),
        "unknown_key": signing.sign(changed(said, key_id="stranger"), strange),
        "stale_command": signing.sign(changed(said, at=long_ago), world.operator),
        "unknown_key ": signing.sign(changed(said, key_id="service"), service),
        "unknown_form": signing.sign(changed(said, source="form/none"), world.operator),
        "unknown_field": signing.sign(changed(said, fields={"shoe_size": "44"}), world.operator),
        "no_basis": signing.sign(changed(said, policy=77), world.operator),
    }


async def test_nobody_without_an_operators_key_corrects_anything(world: World) -> None:
    """Whoever can write to intake cannot correct; nothing of such a message reaches a decision but a code."""
    form = await sent(world)
    for code, said in forged(world, world.correction(form, name="Anne")).items():
        world.publish(said, "intake.form")
        await world.settle()
        entry = entries(world)[-1]
        assert (entry.outcome, entry.code, entry.source) == ("discarded", code.strip(), "intake.form")
        assert (entry.revision, entry.record_id != world.record_id(form)) == (1, True)
    assert last(world, form) == (1, "routed", None)
    assert values(world, "mailer") == {"ann@example.com", "Ann"}


async def test_a_revision_nobody_can_count_is_set_aside(world: World) -> None:
    """A number that is none of a correction is as unreadable as any other garbage."""
    form = await sent(world)
    for revision in (-5, 0, 1):
        said = changed(world.correction(form, name="Anne"), revision=revision)
        world.publish(signing.sign(said, world.operator), "intake.form")
        await world.settle()
        entry = entries(world)[-1]
        assert (entry.outcome, entry.code, entry.revision) == ("quarantined", "schema_mismatch", 1)
    assert not world.findings


async def test_a_handle_of_another_record_leads_nowhere(world: World) -> None:
    """Links are believed only as far as the vault's own keys open them for this very record."""
    mine, other = await sent(world), await sent(world, email="bob@example.com")
    said = world.correction(mine, name="Anne")
    (record,) = world.tagged_as(other)
    wrong = signing.sign(changed(said, links=record.links), world.operator)
    world.publish(wrong, "intake.form")
    await world.settle()
    assert last(world, mine) == (2, "discarded", "erased")
    assert values(world, "mailer") == {"ann@example.com", "bob@example.com", "Ann"}


async def test_only_what_still_lives_is_corrected(world: World) -> None:
    """A purpose that ended since is left out; where none is left nothing is sealed and the entry says why."""
    form = await sent(world)
    early = world.correction(form, name="Anne")
    with world.vault.transaction(write=False) as tx:
        ends = {row.id.purpose: row.due for row in tx.all_buckets()}
    await world.later((ends["answer"] - world.vault.clock.now()) / SECOND)
    await corrected(world, form, name="Anne")
    two = world.tagged_as(form)[-1]
    assert two.revision == 2
    assert len(two.links) < len(early.links)
    assert values(world, "crm") == {"ann@example.com"}
    await world.later(60)
    await corrected(world, form, name="Anna")
    assert last(world, form) == (3, "discarded", "lapsed")


async def test_an_erased_persons_record_is_not_brought_back(world: World) -> None:
    """7: a correction that was on its way when its person was erased seals nothing."""
    form = await sent(world)
    said = world.correction(form, name="Anne")
    erase = RequestDecided(
        request_id=RequestId(os.urandom(16)),
        right="erasure",
        alias_hashes=[alias_hash(world.vault.secrets.alias, "email", "ann@example.com")],
        purposes=[],
        until=world.vault.clock.now(),
        reason="asked",
        **world.head(),
    )
    world.command(erase)
    await world.settle()
    world.publish(said, "intake.form")
    await world.settle()
    assert last(world, form) == (2, "discarded", "erased")
    assert len(world.tagged_as(form)) == 1
    assert values(world, "mailer") == set()


async def test_restricted_data_is_corrected_and_handed_to_nobody(world: World) -> None:
    """Art. 18 keeps data and stops its use; that it is wrong is what a restriction is often asked for."""
    form = await sent(world)
    world.command(
        RequestDecided(
            request_id=RequestId(os.urandom(16)),
            right="restriction",
            alias_hashes=[alias_hash(world.vault.secrets.alias, "email", "ann@example.com")],
            purposes=["answer", "news", "profile"],
            until=world.vault.clock.now(),
            reason="it is wrong",
            **world.head(),
        )
    )
    await world.settle()
    await corrected(world, form, name="Anne")
    assert [record.revision for record in world.tagged_as(form)] == [1, 2]
    assert len(world.deliveries("mailer")) == 1
    assert values(world, "mailer") == set()


def told(world: World, processor: str) -> list[Depersonalized]:
    """The lapses of single deliveries a processor heard of."""
    return [lapse for lapse in world.lapses(f"processor.{processor}") if isinstance(lapse.scope, RecordScope)]


async def test_who_gets_nothing_of_the_new_revision_gives_up_the_old_one(world: World) -> None:
    """A recipient that is suspended now holds what is known to be wrong: it is told, and nobody else is."""
    form = await sent(world)
    world.command(ProcessorSuspended(processor="mailer", reason="a test", **world.head()))
    await world.settle()
    await corrected(world, form, name="Anne")
    (lapse,) = told(world, "mailer")
    secret = world.vault.secrets.processor("mailer")
    assert lapse.cause == "rectification"
    assert lapse.scope == RecordScope(
        delivery_id=delivery_id(secret, world.record_id(form)), purposes=["news"]
    )
    assert lapse.answer_by is not None
    (old,) = world.deliveries("mailer")
    assert all(grant.decided < lapse.reaches for grant in old.grants)
    assert told(world, "crm") == []
    world.command(ProcessorApproved(processor="mailer", **world.head()))
    await world.settle()
    assert values(world, "mailer") == set(), "what it held before is superseded"
    with world.vault.transaction(write=False) as tx:
        assert tx.task("mailer", lapse.lapse_id) is not None, "its answer is waited for"


async def test_a_record_of_which_nothing_is_left_is_taken_from_everybody(world: World) -> None:
    """Every field blank, links in any order and twice: it is sealed, empty, and whoever had it is told."""
    form = await sent(world)
    said = world.correction(form, name="Anne")
    odd = changed(said, fields={}, links=[*reversed(said.links), *said.links])
    world.publish(signing.sign(odd, world.operator), "intake.form")
    await world.settle()
    one, two = world.tagged_as(form)
    assert (two.revision, two.compartments, two.links) == (2, [], one.links)
    assert last(world, form) == (2, "routed", None)
    assert {name: len(told(world, name)) for name in ("crm", "mailer")} == {"crm": 1, "mailer": 1}
    assert values(world, "crm") == set()
    assert not world.findings


async def test_who_never_had_it_is_told_nothing(world: World) -> None:
    """Without consent to news the mailer has no copy, and hears of no correction."""
    form = await sent(world, consents={})
    await corrected(world, form, name="Anne")
    assert world.lapses("processor.mailer") == []
    assert values(world, "crm") == {"ann@example.com", "Anne"}


@pytest.mark.parametrize("kill", range(14))
async def test_a_kill_anywhere_changes_nothing(kill: int) -> None:
    """11 and 14: whatever effect was the last one, the end is the same."""
    world = World()
    await world.settle()
    form = await sent(world)
    world.publish(world.correction(form, name="Anne"), "intake.form")
    await world.step("tag", kill_after=kill)
    await world.step("route", kill_after=kill)
    await world.zombie_step("tag")
    await world.settle()
    assert values(world, "mailer") == {"ann@example.com", "Anne"}
    assert {entry.revision for entry in world.entries() if entry.outcome == "routed"} == {1, 2}
    with world.vault.transaction(write=False) as tx:
        assert {row.tally for row in tx.all_buckets() if row.tally} == {2}
    assert world.lapses("processor.mailer") == []
    assert not world.findings


async def test_nobody_orders_a_revision_on_control(world: World) -> None:
    """What the system says of itself counts from the system alone: an operator's is refused."""
    form = await sent(world)
    world.command(RecordRectified(record_id=world.record_id(form), revision=9, **world.head()))
    await world.settle()
    assert ("command refused: forbidden", "control 2", 1) in world.findings
    assert values(world, "mailer") == {"ann@example.com", "Ann"}


async def test_control_names_the_record_alone(world: World) -> None:
    """What was applied leads from a record to nobody: no address, no request beside it."""
    form = await sent(world)
    await corrected(world, form, name="Anne")
    (said,) = [r for _, _, r in world.read("control") if isinstance(r, RecordRectified)]
    assert (said.record_id, said.revision, said.ordered_by) == (world.record_id(form), 2, "lapse")


async def test_a_hold_opens_every_revision_it_keeps(world: World) -> None:
    """13: what was said before it was corrected may be what a dispute is about."""
    form = await sent(world)
    hold_id = os.urandom(16)
    hashes = [alias_hash(world.vault.secrets.alias, "email", "ann@example.com")]
    world.command(
        HoldPlaced(hold_id=hold_id, alias_hashes=hashes, purposes=["answer"], reason="claim", **world.head())
    )
    await world.settle()
    await corrected(world, form, name="Anne")
    with world.vault.transaction(write=False) as tx:
        ks = {key.pair.bucket.purpose: key.k for key in tx.hold_keys(hold_id)}
    for record in world.tagged_as(form):
        number = next(n for n, link in enumerate(record.links) if link.purpose == 0)
        opened_ = [
            open_record(header_of(record), n, box, {number: ks["answer"]})
            for n, box in enumerate(record.compartments)
        ]
        assert any(each is not None for each in opened_)


def test_a_plan_of_before_there_were_corrections_is_of_the_first_revision() -> None:
    """What 0.1 left behind in a vault has no revision; it is read as it was meant."""
    old = msgspec.msgpack.encode((b"r" * 16, "tagged", None, None, 5, 1, 7, [(0, 3, 1, 1)]))
    entry = msgspec.msgpack.decode(old, type=Entry)
    assert (entry.revision, entry.links, entry.subject) == (1, (LinkPlan(0, Period(3), Terms(1), 1),), 7)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry)
    assert again == entry


@pytest.mark.parametrize("kind", sorted(STORES))
async def test_a_correction_is_the_same_on_every_store(kind: str, tmp_path: Path) -> None:
    """Also where workers commit beside each other: what closes and what owes is done alone."""
    vault = StoreVault(STORES[kind](tmp_path), MemoryEpochKeys(), mode="manual", start=START)
    world = World(vault=vault)
    await world.settle()
    form = await sent(world)
    world.command(ProcessorSuspended(processor="mailer", reason="a test", **world.head()))
    await world.settle()
    await corrected(world, form, name="Anne")
    assert values(world, "crm") == {"ann@example.com", "Anne"}
    assert [lapse.cause for lapse in told(world, "mailer")] == ["rectification"]
    with vault.transaction(write=False) as tx:
        assert tx.superseded([world.record_id(form)]) == {world.record_id(form): 2}
    assert not world.findings
    vault.close()
    if databases.cache_info().currsize:
        databases().wipe()


async def test_a_correction_that_broke_tag_is_released_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside under a name of its own, and after the repair becomes the revision that was meant."""
    form = await sent(world)
    kind = tagout._kind  # noqa: SLF001  # the one place that every new revision passes

    def broken(*about: Any) -> Any:
        if about[3] > 1:
            raise ValueError("a bug")
        return kind(*about)

    monkeypatch.setattr(tagout, "_kind", broken)
    await corrected(world, form, name="Anne")
    (aside,) = [r for _, _, r in world.read("quarantine") if isinstance(r, Quarantined)]
    assert (aside.code, aside.record_id != world.record_id(form)) == ("bug", True)
    assert values(world, "mailer") == set(), "the old revision is closed already"
    monkeypatch.undo()
    for _ in range(2):
        world.log.append(quarantine.release(world.vault, 2, aside))
        await world.settle()
    assert [record.revision for record in world.tagged_as(form)] == [1, 2]
    assert values(world, "mailer") == {"ann@example.com", "Anne"}
    with world.vault.transaction(write=False) as tx:
        assert {row.tally for row in tx.all_buckets() if row.tally and row.id.purpose != "quarantine"} == {2}


@pytest.mark.parametrize("revision", [2**31 - 1, 2**31, 2**32, 2**63 - 1, 1, 0, -1])
async def test_a_revision_no_record_can_have_breaks_nothing(world: World, revision: int) -> None:
    """Avro's numbers have any length on the wire: nobody's signature is looked at, and tag goes on."""
    form = await sent(world)
    said = changed(world.correction(form, name="Eve"), signature=b"")
    raw, low = codec.encode(changed(said, revision=77)), bytes([77 << 1 & 0x7F | 0x80, 77 >> 6])
    at = raw.index(said.record_id + low) + len(said.record_id)
    zigzag, long = revision << 1 if revision >= 0 else (-revision << 1) - 1, bytearray()
    while zigzag > 0x7F:
        long.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    long.append(zigzag)
    world.log.append(Outbound("intake.form", 0, None, raw[:at] + bytes(long) + raw[at + len(low) :]))
    after = await sent(world, email="bob@example.com")
    assert last(world, after) == (1, "routed", None)
    assert last(world, form) == (1, "routed", None)
    assert not [what for what, *_ in world.findings if what == "bug"]
