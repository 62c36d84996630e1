"""Rights that stop use and give it back: restriction, its end, objection; and how a request is closed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import replace

from lapse.personal import whose
from schemas.ids import Micros, RequestId
from schemas.models import (
    Identifier,
    RequestClosed,
    RequestDecided,
    RequestStepped,
    RestrictionLifted,
    RightsRequested,
)
from streams import building, metrics
from streams.requests import answer_by, waiting
from streams.upkeep import REQUESTS_FOR
from tests.unit.stages.test_flow import opened
from tests.unit.stages.test_govern_flow import ann, judged, says, sent, signal
from tests.unit.stages.test_restoring import backup, catch_up, restore
from tests.unit.stages.world import POLICY, World
from vault.handles import alias_hash
from vault.values import RequestState

DAY = 86_400_000_000


@pytest.fixture
async def world() -> World:
    """A flow in which Ann has sent a form and consented to news."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    return made


def decided(world: World, right: Any, *purposes: str, name: bytes | None = None) -> RequestDecided:
    """An officer's decision about Ann, or whoever has this hash."""
    return RequestDecided(
        **world.head(),
        request_id=RequestId(os.urandom(16)),
        right=right,
        alias_hashes=[name or ann(world)],
        purposes=list(purposes),
        until=world.vault.clock.now(),
        reason="asked",
    )


def lifted(world: World, *purposes: str) -> RestrictionLifted:
    """An officer lets Ann's data be used again."""
    return RestrictionLifted(
        **world.head(),
        request_id=RequestId(os.urandom(16)),
        alias_hashes=[ann(world)],
        purposes=list(purposes),
        reason="shown to be right",
    )


async def test_a_restriction_of_everything_closes_everything_and_lifting_it_opens_it_again(
    world: World,
) -> None:
    """Deliveries that lie on a topic open no more, and again afterwards; the steps stand on `decisions`."""
    before = {name: opened(world, name) for name in ("crm", "mailer")}
    code, detail = await judged(world, world.command(decided(world, "restriction")))
    assert (code, detail["subjects"]) == (None, 1)
    assert {str(each) for name in before for each in opened(world, name)} == {"restricted"}
    code, detail = await judged(world, world.command(lifted(world)))
    assert code is None
    assert {"answer", "news"} <= set(detail["purposes"])
    assert {name: opened(world, name) for name in before} == before
    steps = [record for _, _, record in world.read("decisions") if isinstance(record, RequestStepped)]
    assert [(step.right, step.step) for step in steps] == [
        ("restriction", "decided"),
        ("restriction", "lifted"),
    ]


async def test_lifting_one_purpose_leaves_the_others_restricted(world: World) -> None:
    """And lifting what is not restricted changes nothing."""
    await judged(world, world.command(decided(world, "restriction", "news", "answer")))
    assert (await judged(world, world.command(lifted(world, "news", "tax"))))[1]["purposes"] == ["news"]
    assert {"email": "ann@example.com"} in opened(world, "mailer")
    assert {str(each) for each in opened(world, "crm")} >= {"restricted"}


async def test_what_arrives_late_of_a_restricted_person_is_restricted(world: World) -> None:
    """Also for a purpose nothing was held for, and of somebody whose first form was still on its way."""
    eve = alias_hash(world.vault.secrets.alias, "email", "eve@example.com")
    late = [world.form(form="order", site="shop"), world.form(email="eve@example.com")]
    for name in (ann(world), eve):
        await judged(world, world.command(decided(world, "restriction", name=name)))
    given = len(world.deliveries("crm"))
    for form in late:
        world.publish(form, "intake.form")
    await world.settle()
    assert [world.outcome(form) for form in late] == [("routed", None)] * 2, "they are kept"
    assert len(world.deliveries("crm")) == given, "and handed to nobody"


async def test_whoever_may_hold_a_clear_copy_becomes_a_task(world: World) -> None:
    """Nothing on a topic says that a person is restricted, so somebody has to tell, by their name there."""
    asked = decided(world, "restriction", "news")
    _, detail = await judged(world, world.command(asked))
    assert detail["inform"] == ["crm", "mailer"]
    with world.vault.transaction(write=False) as tx:
        (task,) = tx.tasks(state="open", processor="mailer")
    assert (task.kind, task.purposes, task.scope) == ("inform", ("news",), "person")
    assert world.deliveries("mailer")[0].subject_ref.hex() in task.reason


async def test_what_the_law_keeps_of_an_erased_person_stays_restricted(world: World) -> None:
    """No identifier leads there any more, so no order lifts it."""
    world.publish(world.form(form="order", site="shop"), "intake.form")
    await world.settle()
    await judged(world, world.command(decided(world, "erasure")))
    assert (await judged(world, world.command(lifted(world))))[1] == {"subjects": 0, "purposes": []}


async def test_a_restored_vault_knows_restrictions_and_their_end(world: World) -> None:
    """Both are commands, so both are done again, in their order."""
    copy = backup(world)
    await judged(world, world.command(decided(world, "restriction")))
    restore(world, copy)
    await catch_up(world)
    await world.settle()
    assert {str(each) for each in opened(world, "crm")} == {"restricted"}
    await judged(world, world.command(lifted(world)))
    restore(world, copy)
    await catch_up(world)
    await world.settle()
    assert {"email": "ann@example.com"} in opened(world, "crm")


async def test_nobody_objects_to_what_the_law_keeps(world: World) -> None:
    """An officer's slip would have destroyed it; the objection ends nothing then."""
    code, _ = await judged(world, world.command(decided(world, "objection", "news", "tax")))
    assert code == "not_objectable"
    assert {"email": "ann@example.com"} in opened(world, "mailer")


@pytest.mark.parametrize("right", ["access", "portability", "restriction", "objection"])
async def test_a_right_the_policy_does_not_name_is_refused_and_erasure_never_is(right: str) -> None:
    """A promise nobody made is no order; that of being forgotten needs none."""
    world = World(policy=POLICY.read_text().replace(f"{right}: {{}}", "rectification: {}"))
    await world.settle()
    assert (await judged(world, world.command(decided(world, right))))[0] == "right_not_named"
    assert (await judged(world, world.command(decided(world, "erasure"))))[0] is None


async def test_a_request_waits_until_it_is_answered_or_refused(world: World) -> None:
    """It has a date, is decided, then closed; whom it named is forgotten with that."""
    for outcome in ("answered", "refused"):
        body = RightsRequested(request_id=RequestId(os.urandom(16)), right="access")
        await sent(world, signal(world, body))
        order = decided(world, "access")
        await judged(world, world.command(changed_id(order, body.request_id)))
        with world.vault.transaction(write=False) as tx:
            (row,) = waiting(tx)
        assert row.state == "decided"
        assert answer_by(row, world.plan) == row.received_at + 30 * DAY
        closing = RequestClosed(
            **world.head(), request_id=body.request_id, right="access", outcome=outcome, reason="x"
        )
        assert (await judged(world, world.command(closing)))[0] is None
        assert closed(world, body.request_id) == (outcome, ())


async def test_what_became_of_a_request_is_forgotten_after_a_year_and_what_waits_never(world: World) -> None:
    """The row goes; order and steps stay on the log as long as proof is kept."""
    now = world.vault.clock.now()
    rows = [
        RequestState(request_id=RequestId(bytes([n]) * 16), right="access", state=state, received_at=now)
        for n, state in enumerate(("received", "answered", "refused"))
    ]
    with world.vault.transaction() as tx:
        for row in rows:
            tx.put_request(row)
    world.vault.clock.set_manual(Micros(now + REQUESTS_FOR + 1))
    await world.tick()
    with world.vault.transaction(write=False) as tx:
        assert tx.requests() == rows[:1]


def closed(world: World, request_id: RequestId) -> tuple[str, tuple[bytes, ...]]:
    """How a request ended, and whom its row still names."""
    with world.vault.transaction(write=False) as tx:
        row = tx.request(request_id)
        assert waiting(tx) == []
    assert isinstance(row, RequestState)
    return row.state, row.alias_hashes


def changed_id(order: RequestDecided, request_id: RequestId) -> RequestDecided:
    """The same order about this request."""
    return replace(order, request_id=request_id)


@pytest.mark.parametrize("mine", [0, 1])
async def test_who_states_two_addresses_does_not_get_what_is_held_of_the_other(
    world: World, mine: int
) -> None:
    """Where the policy joins no identifiers, an unknown one beside Ann's leads to nobody, in either order."""
    both = [
        Identifier(kind="email", value="eve@example.com"),
        Identifier(kind="email", value="ann@example.com"),
    ]
    named = both[::-1] if mine else both
    assert await sent(world, signal(world, says("news", True), identifiers=named)) == ("kept_in_vault", None)
    eve = alias_hash(world.vault.secrets.alias, "email", "eve@example.com")
    with world.vault.transaction(write=False) as tx:
        assert whose(tx, [eve]) == ()
        assert len(whose(tx, [ann(world)])) == 1


async def test_an_answered_request_waits_no_more_whatever_is_ordered_under_its_id(world: World) -> None:
    """Two officers took it up: the second order is carried out, and the request stays answered."""
    order = decided(world, "erasure")
    with world.vault.transaction() as tx:
        tx.put_request(
            RequestState(request_id=order.request_id, right="erasure", state="answered", received_at=tx.now)
        )
    code, detail = await judged(world, world.command(order))
    assert (code, detail["subjects"]) == (None, 1)
    with world.vault.transaction(write=False) as tx:
        assert waiting(tx) == []


@pytest.mark.parametrize("right", ["objection", "restriction"])
async def test_strangers_whom_one_request_names_are_not_made_one_person(world: World, right: str) -> None:
    """Each is known from then on, and what comes of one is not found by asking as the other."""
    eve, bob = (alias_hash(world.vault.secrets.alias, "email", f"{n}@example.com") for n in ("eve", "bob"))
    order = replace(decided(world, right), alias_hashes=[eve, bob], signature=b"")
    assert (await judged(world, world.command(order)))[1]["subjects"] == 2
    with world.vault.transaction(write=False) as tx:
        assert len({whose(tx, [eve]), whose(tx, [bob])}) == 2


async def test_requests_are_counted_for_a_small_part_of_the_time(world: World) -> None:
    """Strangers make requests, and counting opens each of them: what took two seconds waits for a hundred."""
    moments = iter([0.0, 0.0, 2.0, 99.0, 100.0, 100.0, 100.0])
    tasking = building.tasking(world.around, None)
    tasking.seconds = moments.__next__
    seen = []
    for n in range(3):
        with world.vault.transaction() as tx:
            tx.put_request(
                RequestState(
                    request_id=RequestId(bytes([n]) * 16),
                    right="access",
                    state="received",
                    received_at=tx.now,
                )
            )
        await tasking.run()
        seen.append(metrics.REGISTRY.get_sample_value("lapse_requests_open", {"right": "access"}))
    assert seen == [1, 1, 3]
