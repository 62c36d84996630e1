"""Signals and commands: what they change, what is refused, and that nothing crashes the stage."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

import pytest

from schemas import codec, signing
from schemas.errors import NotFound
from schemas.ids import CommandId, EventId, Micros, RequestId, Terms
from schemas.models import (
    AnchorReached,
    ConsentStated,
    ConsentStatement,
    HoldPlaced,
    HoldReleased,
    Identifier,
    PolicyPublished,
    ProcessorApproved,
    ProcessorScope,
    ProcessorSuspended,
    ReceiptGiven,
    RequestDecided,
    RequestStepped,
    RetentionOrdered,
    RightsRequested,
    SignalReceived,
)
from streams.ports import Outbound
from streams.upkeep import COMMANDS_FOR
from tests.unit.stages.test_flow import opened
from tests.unit.stages.world import POLICY, SECOND, World, changed
from vault.handles import alias_hash


@pytest.fixture
async def world() -> World:
    """A flow whose processors are approved, with one person's form routed."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    return made


def ann(world: World) -> bytes:
    """The hash of Ann's address."""
    return alias_hash(world.vault.secrets.alias, "email", "ann@example.com")


def signal(world: World, body: Any, **changes: Any) -> SignalReceived:
    """A signal about Ann."""
    made = SignalReceived(
        event_id=EventId(os.urandom(16)),
        collected_at=world.vault.clock.now(),
        site="www",
        identifiers=[Identifier(kind="email", value="ann@example.com")],
        via="banner",
        body=body,
    )
    return changed(made, **changes)


async def sent(world: World, said: SignalReceived) -> tuple[str, str | None] | None:
    """Publish a signal and let it be worked off."""
    world.publish(said, "intake.signal")
    await world.settle()
    return world.outcome(said, "signal")


async def judged(world: World, command_id: CommandId) -> tuple[str | None, dict[str, Any]]:
    """Let a command be judged; its code and detail."""
    await world.settle()
    with world.vault.transaction(write=False) as tx:
        found = tx.command_judged(command_id)
    assert found is not None, "every command is answered"
    return found.code, json.loads(found.detail)


def says(purpose: str, granted: bool) -> ConsentStated:
    """One statement."""
    return ConsentStated(consents=[ConsentStatement(purpose=purpose, granted=granted)])


async def test_a_hold_is_placed_once_under_its_id(world: World) -> None:
    """A second command with the same id is refused as a conflict, not stumbled over."""

    def hold() -> HoldPlaced:
        return HoldPlaced(
            **world.head(), hold_id=b"h" * 16, alias_hashes=[ann(world)], purposes=["news"], reason="x"
        )

    assert (await judged(world, world.command(hold())))[0] is None
    assert (await judged(world, world.command(hold())))[0] == "conflict"
    assert not [what for what, *_ in world.findings if what == "bug"]


# ---- signals -----------------------------------------------------------------------------------------------
async def test_a_withdrawal_ends_one_purpose_alone(world: World) -> None:
    """What was held for it closes and is told; everything else still opens."""
    await world.later(1)
    assert await sent(world, signal(world, says("news", False))) == ("kept_in_vault", None)
    assert set(map(str, opened(world, "mailer"))) == {"withdrawn"}
    assert {"email": "ann@example.com"} in opened(world, "crm"), "the answer goes on"
    assert world.lapses("processor.mailer")[0].cause == "withdrawal"


async def test_a_signal_is_done_once(world: World) -> None:
    """The same signal again changes nothing; another content under its id is a conflict."""
    first = signal(world, says("news", True))
    await sent(world, first)
    await sent(world, first)
    entries = [entry for entry in world.entries() if entry.source == "signal"]
    assert [entry.outcome for entry in entries] == ["kept_in_vault"]
    await sent(world, changed(first, body=says("news", False)))
    assert [e.code for e in world.entries() if e.source == "signal"] == [None, "conflicting_event_id"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site": "elsewhere"}, "unknown_source"),
        ({"body": says("nothing", True)}, "unknown_purpose"),
        (
            {
                "body": RightsRequested(
                    request_id=RequestId(bytes(16)), right="objection", purposes=["nothing"]
                )
            },
            "unknown_purpose",
        ),
        ({"collected_at": Micros(0)}, "no_basis"),
        ({"identifiers": [], "body": says("news", True)}, "no_subject"),
        (
            {
                "body": AnchorReached(anchor="last_activity", reached_at=Micros(0)),
                "identifiers": [Identifier(kind="email", value="x@y.z")],
            },
            "no_subject",
        ),
    ],
)
async def test_signals_that_change_nobody(world: World, changes: dict[str, Any], code: str) -> None:
    """Each is discarded with its code."""
    said = changed(signal(world, says("profile", False)), **changes)
    assert await sent(world, said) == ("discarded", code)


async def test_unreadable_signals_are_quarantined(world: World) -> None:
    """Garbage on the signal topic, another record, an empty identifier: set aside, and the rest goes on."""
    world.log.append(Outbound("intake.signal", 0, None, b"garbage"))
    world.publish(world.form(), "intake.signal")
    empty = signal(world, says("news", True), identifiers=[Identifier(kind="email", value=" ")])
    world.publish(empty, "intake.signal")
    assert await sent(world, signal(world, says("news", True))) == ("kept_in_vault", None)
    codes = [e.code for e in world.entries() if e.outcome == "quarantined"]
    assert codes == ["framing", "schema_mismatch", "schema_mismatch"]
    assert len(world.read("quarantine")) == 3


async def test_an_unknown_person_who_withdraws_is_kept(world: World) -> None:
    """An early withdrawal is remembered: what was collected before it is refused when it comes late."""
    before = world.form(email="bob@example.com", consents={"news": True})
    await world.later(1)
    said = signal(world, says("news", False), identifiers=[Identifier(kind="email", value="bob@example.com")])
    assert await sent(world, said) == ("kept_in_vault", None)
    world.publish(before, "intake.form")
    await world.settle()
    entry = next(e for e in world.entries() if e.record_id == world.record_id(before))
    names = {world.plan.purposes[link.purpose].name for link in entry.links}
    assert names == {"answer", "profile"}


async def test_an_objection_ends_what_rests_on_interests(world: World) -> None:
    """An objection without purposes ends consent and legitimate interests; the contract goes on."""
    await world.later(1)
    body = RightsRequested(request_id=RequestId(os.urandom(16)), right="objection")
    assert await sent(world, signal(world, body)) == ("kept_in_vault", None)
    assert set(map(str, opened(world, "mailer"))) == {"objected"}
    assert {"email": "ann@example.com"} in opened(world, "crm")
    steps = [record for _, _, record in world.read("decisions") if isinstance(record, RequestStepped)]
    assert [(step.right, step.step) for step in steps] == [("objection", "received")]
    with world.vault.transaction(write=False) as tx:
        request = tx.request(body.request_id)
    assert request is not None
    assert request.alias_hashes == (ann(world),)


async def test_a_request_of_somebody_unknown_is_kept(world: World) -> None:
    """Whoever asks is heard, known or not."""
    body = RightsRequested(request_id=RequestId(os.urandom(16)), right="access")
    said = signal(world, body, identifiers=[Identifier(kind="email", value="who@example.com")])
    assert await sent(world, said) == ("kept_in_vault", None)
    await sent(world, said)
    with world.vault.transaction(write=False) as tx:
        assert len(tx.requests()) == 1


async def test_an_anchor_brings_a_persons_due_date_forward(world: World) -> None:
    """Data held until some time after an activity lapses then, and never later than said first."""
    now = world.vault.clock.now()
    reached = AnchorReached(anchor="last_activity", reached_at=now)
    assert await sent(world, signal(world, reached)) == ("kept_in_vault", None)
    again = AnchorReached(anchor="last_activity", reached_at=Micros(now + 5 * SECOND))
    await sent(world, signal(world, again))
    await sent(world, signal(world, AnchorReached(anchor="account_closed", reached_at=now)))
    await world.later(11)
    causes = [(lapse.cause, lapse.scope) for lapse in world.lapses("lifecycle")]
    assert [getattr(scope, "purposes", None) for _, scope in causes] == [["profile"]]


# ---- commands ----------------------------------------------------------------------------------------------
async def test_only_signed_commands_are_obeyed(world: World) -> None:
    """A forged signature, an unknown key and a changed command are refused, answered, and crash nothing."""
    command = ProcessorSuspended(processor="crm", reason="x", **world.head())
    unknown = signing.sign(changed(command, key_id="stranger", command_id=os.urandom(16)), world.operator)
    tampered = changed(
        signing.sign(changed(command, command_id=os.urandom(16)), world.operator), processor="mailer"
    )
    codes = {"unsigned": command, "unknown_key": unknown, "bad_signature": tampered}
    for code, forged in codes.items():
        world.publish(forged, "control")
        assert (await judged(world, forged.command_id))[0] == code
    assert {"email": "ann@example.com"} in opened(world, "crm")
    assert [what for what, _, _ in world.findings] == [f"command refused: {code}" for code in codes]


async def test_a_command_is_carried_out_once(world: World) -> None:
    """A replayed command changes nothing, and keeps the answer it got first."""
    first = world.command(ProcessorSuspended(processor="crm", reason="x", **world.head()))
    assert await judged(world, first) == (None, {"processor": "crm"})
    back = world.command(ProcessorApproved(processor="crm", **world.head()))
    assert await judged(world, back) == (None, {"processor": "crm"})
    (old,) = [r for _, _, r in world.read("control") if getattr(r, "command_id", None) == first]
    world.publish(old, "control")
    assert await judged(world, first) == (None, {"processor": "crm"})
    assert {"email": "ann@example.com"} in opened(world, "crm"), "still approved"
    assert world.findings[-1][0] == "command refused: replayed"


@pytest.mark.parametrize(("days", "code"), [(-31, "stale_command"), (-29, None), (2, "stale_command")])
async def test_a_command_counts_only_near_the_time_it_was_signed(
    world: World, days: int, code: str | None
) -> None:
    """Which commands were carried out is not remembered for ever, so an old one is refused, new or not."""
    head = world.head()
    at = Micros(head["at"] + days * 86_400 * SECOND)
    done = world.command(ProcessorSuspended(processor="crm", reason="x", **head | {"at": at}))
    assert (await judged(world, done))[0] == code


async def test_what_is_forgotten_of_commands_could_not_be_replayed(world: World) -> None:
    """After six weeks a command's answer is forgotten, and its replay is refused for its age."""
    first = world.command(ProcessorSuspended(processor="crm", reason="x", **world.head()))
    await judged(world, first)
    (old,) = [r for _, _, r in world.read("control") if getattr(r, "command_id", None) == first]
    await world.later(46 * 86_400)
    with world.vault.transaction() as tx:
        tx.prune_commands(Micros(tx.now - COMMANDS_FOR))
        assert tx.command_judged(first) is None
    world.publish(old, "control")
    assert (await judged(world, first))[0] == "stale_command"


async def test_garbage_on_control_is_refused(world: World) -> None:
    """Bytes that are no command are a finding; the next command is carried out."""
    world.log.append(Outbound("control", 0, None, b"garbage"))
    world.publish(world.form(), "control")
    done = world.command(ProcessorSuspended(processor="crm", reason="x", **world.head()))
    assert (await judged(world, done))[0] is None
    assert [what for what, _, _ in world.findings] == ["command refused: schema_mismatch"] * 2


ABROAD = """    region: IN
    safeguards: {mechanism: standard_contractual_clauses}
    assures: [equal_security, task_only, no_disclosure, notice_if_failing]
    assurance_until: 2099-12-31
    review: 2099-01-31
"""


async def test_an_approval_is_judged_whole_also_where_no_command_of_ours_made_it() -> None:
    """A transfer abroad needs its papers: who signs an approval without them is refused, and may add them."""
    text = POLICY.read_text(encoding="utf-8")
    home = "    region: DE\n    assures: [equal_security, task_only, no_disclosure]\n"
    world = World(policy=text.replace(home, ABROAD, 1))
    await world.settle()
    assert ("command refused: not_approved", "control 0", 1) in world.findings, "the one of its set-up"
    world.publish(world.form(), "intake.form")
    await world.settle()
    assert not opened(world, "crm"), "nothing is made for it"
    with world.vault.transaction(write=False) as tx:
        assert tx.processor("crm") is None
    bare = world.command(ProcessorApproved(processor="crm", **world.head()))
    code, detail = await judged(world, bare)
    assert (code, detail["where"]) == ("not_approved", "processors.crm.evidence")
    whole = world.command(ProcessorApproved(processor="crm", evidence="contract 7", **world.head()))
    assert (await judged(world, whole))[0] is None
    late = Micros(world.vault.clock.now() - 1)
    ended = ProcessorApproved(processor="crm", evidence="x", assurance_until=late, **world.head())
    assert (await judged(world, world.command(ended)))[0] == "assurance_ended"


async def test_names_the_policy_does_not_have(world: World) -> None:
    """Commands about unknown processors, purposes and holds are refused with their code."""
    cases = [
        (ProcessorApproved(processor="nobody", **world.head()), "not_found"),
        (HoldReleased(hold_id=bytes(16), **world.head()), "not_found"),
        (
            RetentionOrdered(purpose="nothing", terms=Terms(1), retention="P1D", **world.head()),
            "unknown_purpose",
        ),
        (RetentionOrdered(purpose="news", terms=Terms(1), retention="soon", **world.head()), "bad_argument"),
        (
            HoldPlaced(hold_id=bytes(16), alias_hashes=[], purposes=["nothing"], reason="", **world.head()),
            "unknown_purpose",
        ),
    ]
    for command, code in cases:
        assert (await judged(world, world.command(command)))[0] == code


async def test_suspension_with_recall_tells_the_processor(world: World) -> None:
    """It opens nothing from then on, still gets its lapses, and is asked to give back what it holds."""
    done = world.command(ProcessorSuspended(processor="crm", reason="leak", recall=True, **world.head()))
    code, detail = await judged(world, done)
    assert code is None
    assert set(map(str, opened(world, "crm"))) == {"suspended"}
    recalls = [lapse for lapse in world.lapses("processor.crm") if isinstance(lapse.scope, ProcessorScope)]
    assert {lapse.lapse_id.hex() for lapse in recalls} == {detail["lapse_id"]}
    world.publish(world.form(), "intake.form")
    await world.later(41)
    assert len(world.deliveries("crm")) == 1, "nothing more is delivered"
    assert len(world.lapses("processor.crm")) > len(recalls)


async def test_an_erasure_keeps_what_the_law_keeps(world: World) -> None:
    """All closes but what a legal obligation keeps, restricted; the answer lists it, control proves it."""
    order = world.form(form="order", site="shop")
    world.publish(order, "intake.form")
    await world.settle()
    now = world.vault.clock.now()
    asked = RequestDecided(
        request_id=RequestId(os.urandom(16)),
        right="erasure",
        alias_hashes=[ann(world)],
        purposes=[],
        until=now,
        reason="asked",
        **world.head(),
    )
    assert await judged(world, world.command(asked)) == (None, {"subjects": 1, "kept": ["tax"]})
    assert set(map(str, opened(world, "crm"))) <= {"unknown", "erased"}
    assert {lapse.cause for lapse in world.lapses("processor.crm")} == {"erasure"}
    steps = [record for _, _, record in world.read("decisions") if isinstance(record, RequestStepped)]
    assert [step.step for step in steps] == ["decided"]
    with world.vault.transaction(write=False) as tx:
        assert tx.outbox_count() == 0


async def test_an_erasure_of_somebody_unknown_is_the_same(world: World) -> None:
    """Known or not, the answer has the same shape, and what comes late is discarded."""
    late = world.form(email="eve@example.com")
    nobody = alias_hash(world.vault.secrets.alias, "email", "eve@example.com")
    asked = RequestDecided(
        request_id=RequestId(os.urandom(16)),
        right="erasure",
        alias_hashes=[nobody],
        purposes=[],
        until=world.vault.clock.now(),
        reason="asked",
        **world.head(),
    )
    assert await judged(world, world.command(asked)) == (None, {"subjects": 0, "kept": []})
    world.publish(late, "intake.form")
    await world.settle()
    assert world.outcome(late) == ("discarded", "erased")


async def test_officers_object_and_restrict_for_a_person(world: World) -> None:
    """A decided objection ends interests; a restriction keeps everything and stops its use."""
    body = RightsRequested(request_id=RequestId(os.urandom(16)), right="restriction")
    await sent(world, signal(world, body))
    head: dict[str, Any] = {"alias_hashes": [ann(world)], "until": world.vault.clock.now(), "reason": "asked"}
    restrict = RequestDecided(
        request_id=body.request_id, right="restriction", purposes=["news"], **head, **world.head()
    )
    done = {"subjects": 1, "purposes": ["news"], "inform": ["crm", "mailer"]}
    assert await judged(world, world.command(restrict)) == (None, done)
    assert set(map(str, opened(world, "mailer"))) == {"restricted"}
    with world.vault.transaction(write=False) as tx:
        request = tx.request(body.request_id)
    assert request is not None
    assert request.state == "decided"
    object_ = RequestDecided(
        request_id=RequestId(os.urandom(16)), right="objection", purposes=["news"], **head, **world.head()
    )
    assert (await judged(world, world.command(object_)))[0] is None
    assert set(map(str, opened(world, "mailer"))) == {"objected"}
    access = RequestDecided(
        request_id=RequestId(os.urandom(16)), right="access", purposes=[], **head, **world.head()
    )
    assert await judged(world, world.command(access)) == (None, {})


async def test_a_restricted_purpose_is_not_routed(world: World) -> None:
    """New data for a restricted purpose is stored, and handed to nobody."""
    head: dict[str, Any] = {"alias_hashes": [ann(world)], "until": world.vault.clock.now(), "reason": "asked"}
    restrict = RequestDecided(
        request_id=RequestId(os.urandom(16)), right="restriction", purposes=["news"], **head, **world.head()
    )
    await judged(world, world.command(restrict))
    before = len(world.deliveries("mailer"))
    form = world.form()
    world.publish(form, "intake.form")
    await world.settle()
    assert len(world.deliveries("mailer")) == before
    (entry,) = [e for e in world.entries() if e.record_id == world.record_id(form)]
    codes = {refusal.code for verdict in entry.verdicts for refusal in verdict.refusals}
    assert "restricted" in codes


async def test_a_hold_keeps_and_dies(world: World) -> None:
    """Held keys survive due date and withdrawal under the hold's id alone; release destroys them."""
    hold_id = os.urandom(16)
    placed = world.command(
        HoldPlaced(hold_id=hold_id, alias_hashes=[ann(world)], purposes=[], reason="claim", **world.head())
    )
    code, detail = await judged(world, placed)
    assert code is None
    assert detail["subjects"] == 1
    await sent(world, signal(world, says("news", False)))
    await world.later(45)
    with world.vault.transaction(write=False) as tx:
        assert {key.pair.bucket.purpose for key in tx.hold_keys(hold_id)} >= {"answer", "news"}
    released = world.command(HoldReleased(hold_id=hold_id, **world.head()))
    assert await judged(world, released) == (None, {})
    with world.vault.transaction(write=False) as tx, pytest.raises(NotFound):
        tx.hold_keys(hold_id)


# ---- policies ----------------------------------------------------------------------------------------------
def next_policy(world: World, *changes: tuple[str, str], version: int = 2) -> str:
    """The policy's text with some lines changed."""
    text = world.text.replace("version: 1", f"version: {version}")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text


def publish(world: World, text: str, version: int = 2) -> CommandId:
    """Publish a policy."""
    digest = hashlib.sha256(text.encode()).digest()
    return world.command(PolicyPublished(version=version, sha256=digest, body=text, **world.head()))


async def test_a_shorter_retention_hides_at_once_and_destroys_no_later_than_before(world: World) -> None:
    """What a policy ends early closes now, can be looked at for a day, but not beyond its old due date."""
    text = next_policy(world, ("retention: {for: PT90S}", "retention: {for: PT60S}"))
    order = world.form(form="order", site="shop")
    world.publish(order, "intake.form")
    await world.settle()
    assert await judged(world, publish(world, text)) == (None, {"version": 2, "hidden": 1, "shortened": 0})
    assert {"email": "ann@example.com"} in opened(world, "crm"), "other purposes are untouched"
    await world.later(30)
    assert _state(world, "tax") == "hidden", "somebody may still look"
    await world.later(70)
    assert _state(world, "tax") == "destroyed", "due under both policies"


async def test_what_comes_late_follows_the_shorter_retention_too(world: World) -> None:
    """Collected under the old version, seen under the new one: no bucket outlives those that stood before."""
    text = next_policy(
        world,
        ("retention: {for: PT90S}", "retention: {for: PT60S}"),
        ("effective: 2024-01-01", "effective: 2027-01-15T08:00:10Z"),
    )
    assert (await judged(world, publish(world, text)))[0] is None
    late = world.form(form="order", site="shop")
    await world.later(20)
    world.publish(late, "intake.form")
    await world.settle()
    purpose = world.plan.purpose("tax")
    with world.vault.transaction(write=False) as tx:
        (row,) = tx.all_buckets(purpose="tax")
    assert purpose.due(row.id.period) - row.due == 30 * SECOND


def _state(world: World, purpose: str) -> str:
    with world.vault.transaction(write=False) as tx:
        (row,) = tx.all_buckets(purpose=purpose)
    return row.state


async def test_policies_are_published_in_order_and_whole(world: World) -> None:
    """A broken text, another text than signed, an old number and the same one again: each has its answer."""
    assert (await judged(world, publish(world, "nonsense: [")))[0] == "bad_policy"
    assert (await judged(world, publish(world, next_policy(world), version=3)))[0] == "bad_policy"
    assert (await judged(world, publish(world, world.text, version=1)))[0] is None, "it is in force already"
    other = world.text.replace("Tests of the stages", "Other")
    assert (await judged(world, publish(world, other, version=1)))[0] == "conflict"
    assert (await judged(world, publish(world, next_policy(world))))[0] is None


async def test_a_policy_takes_effect_on_its_day(world: World) -> None:
    """A version effective later changes nothing before."""
    text = next_policy(
        world,
        ("effective: 2024-01-01", "effective: 2027-01-15T08:00:10Z"),
        ("      news: [user.contact.email]\n", ""),
    )
    assert (await judged(world, publish(world, text)))[0] is None
    world.publish(world.form(consents={"news": True}), "intake.form")
    await world.settle()
    grants = [g.purpose for d in world.deliveries("crm") for g in d.grants]
    assert grants.count("news") == 2
    await world.later(11)
    world.publish(world.form(consents={"news": True}), "intake.form")
    await world.settle()
    assert [g.purpose for d in world.deliveries("crm") for g in d.grants].count("news") == 2


async def test_an_ordered_retention_shortens(world: World) -> None:
    """An order brings due dates forward under the same brake; it can never lengthen."""
    longer = RetentionOrdered(purpose="news", terms=Terms(1), retention="P9D", **world.head())
    assert await judged(world, world.command(longer)) == (None, {"hidden": 0, "shortened": 0})
    shorter = RetentionOrdered(purpose="news", terms=Terms(1), retention="PT5S", **world.head())
    assert await judged(world, world.command(shorter)) == (None, {"hidden": 1, "shortened": 0})
    assert set(map(str, opened(world, "mailer"))) == {"hidden"}


async def test_bulk_steps_can_need_a_second_person() -> None:
    """Where the policy asks for it, nobody orders destruction in bulk alone."""
    text = POLICY.read_text(encoding="utf-8") + "brakes: {second_person: true}\n"
    keys = [base64.b64encode(signing.public_key(os.urandom(32))).decode() for _ in range(2)]
    text = text.replace("sites:\n", f"operators: {{one: {keys[0]}, two: {keys[1]}}}\nsites:\n", 1)
    world = World(policy=text)
    order = RetentionOrdered(purpose="news", terms=Terms(1), retention="PT5S", **world.head())
    assert (await judged(world, world.command(order)))[0] == "second_person"
    alone = changed(order, command_id=os.urandom(16), approved_by="operator")
    assert (await judged(world, world.command(alone)))[0] == "second_person"
    both = changed(order, command_id=os.urandom(16), approved_by="officer")
    assert (await judged(world, world.command(both)))[0] is None


async def test_receipts_are_counted(world: World) -> None:
    """Receipts are read, garbage among them passed over."""
    receipt = ReceiptGiven(
        receipt_id=bytes(16),
        processor="crm",
        about=bytes(16),
        outcome="completed",
        at=Micros(0),
        evidence=bytes(32),
    )
    world.log.append(Outbound("receipts", 0, None, b"garbage"))
    world.log.append(Outbound("receipts", 0, None, codec.encode(receipt)))
    await world.settle()
    assert world.sources["receipts"].lag() == 0
