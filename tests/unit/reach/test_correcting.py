"""What an officer may correct, and what comes of it: found on the log, opened, signed, sealed anew."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace

from lapse import correcting
from lapse.correcting import Changes, Corrector, Plan
from lapse.personal import records_of, whose
from lapse.subjects import about
from schemas import signing
from schemas.errors import BadInput
from schemas.models import FieldsCorrected
from schemas.plan import Plans
from streams.scan import scan_memory
from tests.unit.reach.test_personal import ANN, BOB, decides, fields, held, sent
from tests.unit.stages.world import World
from vault.handles import alias_hash
from vault.values import AliasRow


@pytest.fixture
async def world() -> World:
    """A flow in which Ann and Bob have each sent two forms, the second with consent to news."""
    return await sent(World())


def corrector(world: World, email: str = ANN) -> Corrector:
    """As the operator of these tests, about one person."""

    def sign(said: FieldsCorrected) -> FieldsCorrected:
        named = replace(said, ordered_by="officer", at=world.vault.clock.now(), key_id="operator")
        return signing.sign(named, world.operator)

    def own(kind: str, value: str) -> bool:
        return (kind, value) == ("email", email)

    return Corrector(plans=Plans([world.plan]), leads=own, asks=own, sign=sign)


def planned(world: World, wanted: Changes, *, source: str | None = None, email: str = ANN) -> Plan:
    """What a correction of somebody's records will do."""
    made, name = corrector(world, email), alias_hash(world.vault.secrets.alias, "email", email)
    with world.vault.transaction(write=False) as tx:
        numbers = whose(tx, [name])
    records = records_of(world.vault, made.plans, partial(scan_memory, world.log), numbers)
    return made.plan(records, wanted, made.sources(source, wanted))


async def ordered(world: World, wanted: Changes) -> Plan:
    """Plan and publish, and let it be worked off."""
    plan = planned(world, wanted)
    for said in plan.corrections.values():
        world.publish(said, "intake.form")
    await world.settle()
    return plan


async def test_every_record_of_one_person_is_corrected(world: World) -> None:
    """Both of Ann's, at their next revision and with all their other fields; none of Bob's."""
    plan = await ordered(world, {"name": "Anne"})
    assert {said.revision for said in plan.corrections.values()} == {2}
    assert [(each.revision, fields(each)) for each in held(world)] == [
        (2, {"email": ANN, "name": "Anne", "message": "hello"})
    ] * 2
    assert {fields(each)["name"] for each in held(world, BOB)} == {"Ann"}
    assert planned(world, {"name": "Anne"}) == Plan(corrections={}, left={}), "nothing is left to be changed"


async def test_a_field_is_blanked_or_filled_in(world: World) -> None:
    """A field that was absent gets its value where a purpose justifies it, a blank one is absent."""
    await ordered(world, {"message": None, "country": "DE"})
    assert fields(held(world)[0]) == {"email": ANN, "name": "Ann", "country": "DE"}


async def test_what_no_living_purpose_justifies_is_not_taken(world: World) -> None:
    """After the answer's time only news and profile hold the record, and neither has to do with messages."""
    await world.later(21)
    plan = planned(world, {"message": "hullo"})
    assert plan.corrections == {}
    assert set(plan.left.values()) == {"no_basis"}


async def test_restricted_data_may_be_corrected(world: World) -> None:
    """That it is wrong is what a restriction is asked for."""
    world.command(decides(world, "restriction"))
    await world.settle()
    await ordered(world, {"name": "Anne"})
    assert {fields(each)["name"] for each in held(world)} == {"Anne"}


async def test_what_a_person_is_found_by_is_refused(world: World) -> None:
    """The address is whom the record is about; the refusal repeats no value."""
    with pytest.raises(BadInput) as refused:
        planned(world, {"email": BOB})
    assert refused.value.where == "--set email"
    assert BOB not in str(refused.value) + refused.value.do
    with pytest.raises(BadInput) as refused:
        planned(world, {"email": None})
    assert refused.value.code == "bad_argument"


async def test_only_forms_and_fields_the_policy_has(world: World) -> None:
    """Another source, a browser's, and a field of no form are refused before anything is read."""
    for wanted, source, code in (
        ({"shoe_size": "44"}, None, "unknown_field"),
        ({"name": "Anne"}, "form/none", "unknown_form"),
        ({"url": "x"}, "cookie", "unknown_form"),
    ):
        with pytest.raises(BadInput) as refused:
            planned(world, wanted, source=source)
        assert refused.value.code == code
    assert planned(world, {"name": "Anne"}, source="form/order").corrections == {}


async def test_nobody_is_nobody(world: World) -> None:
    """Of a person nobody knows nothing is found."""
    assert planned(world, {"name": "Anne"}, email="no@body.example") == Plan(corrections={}, left={})


@pytest.mark.parametrize(
    ("given", "blank"), [([], []), (["name"], []), (["=x"], []), (["name= "], []), (["name=x"], ["name"])]
)
def test_what_is_typed_is_read_or_refused(given: list[str], blank: list[str]) -> None:
    """A name and a value, or a name to blank, each once; the refusal repeats no value."""
    with pytest.raises(BadInput):
        correcting.changes(given, blank)
    assert correcting.changes(["name=Anne = Ann"], ["message"]) == {"name": "Anne = Ann", "message": None}


@pytest.mark.parametrize("reason", ["her name is ANNA now", "ann@example.com asked"])
def test_a_reason_repeats_no_value(reason: str) -> None:
    """It is kept for years, and the value is not."""
    with pytest.raises(BadInput, match="repeats"):
        about(f"email:{ANN}", reason, ["Anna"])
    assert about(f"email:{ANN}", "asked by mail", ["Anna"]) == "asked by mail"


async def test_a_record_that_names_somebody_else_is_left_as_it_is(world: World) -> None:
    """Where identifiers are joined, eve's may lead to Ann: what says it is Ann's is corrected for Ann."""
    with world.vault.transaction() as tx:
        (ann,) = whose(tx, [alias_hash(world.vault.secrets.alias, "email", ANN)])
        eve = alias_hash(world.vault.secrets.alias, "email", "eve@example.com")
        tx.put_aliases([AliasRow(hash=eve, subject=ann, since=tx.now)])
    plan = planned(world, {"name": "Eve"}, email="eve@example.com")
    assert (len(plan.corrections), list(plan.left.values())) == (0, ["shared", "shared"])


@pytest.mark.parametrize(
    ("codes", "settled"),
    [([], True), (["no_basis"], True), (["shared"], False), (["no_basis", "conflict"], False)],
)
def test_a_request_waits_on_while_a_record_may_still_be_corrected(codes: list[str], *, settled: bool) -> None:
    """Closed, it would name nobody any more, and the officer would think that all is done."""
    done = {"corrected": [], "left": [{"record_id": "07" * 16, "code": code} for code in codes]}
    assert correcting.settles(done) is settled
