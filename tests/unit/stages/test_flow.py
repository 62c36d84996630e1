"""The flow from a form to a refused opening, in memory."""

from __future__ import annotations

import pytest

from streams.routeout import RouteOutput
from streams.routeplan import RouteWork
from tests.unit.stages.world import World
from vault.deliveries import OpenFields, open_deliveries
from vault.sealing import OVERHEAD, size_class
from vault.values import Closed


def opened(world: World, processor: str) -> list[dict[str, str] | str]:
    """What a processor opens now of all that lies on its topic: fields, or the code of what stays closed."""
    to = world.recipiency(processor)
    with world.vault.transaction(write=False) as tx:
        answers = open_deliveries(tx, to, world.deliveries(processor))
    found: list[dict[str, str] | str] = []
    for compartment in (each for delivery in answers for each in delivery):
        if isinstance(compartment, OpenFields):
            found.append({k: v for k, v in compartment.fields.items() if k != "collected_at"})
        elif isinstance(compartment, Closed):
            found.append(compartment.code)
    return found


async def test_a_form_is_handed_out_and_lapses() -> None:
    """What a processor may have opens until its purpose ends, then nothing does, and it was told."""
    world = World()
    await world.settle()
    form = world.form(consents={"news": True})
    world.publish(form, "intake.form")
    await world.settle()
    assert world.outcome(form) == ("routed", None)
    assert {"email": "ann@example.com"} in opened(world, "crm")
    assert {"name": "Ann"} in opened(world, "crm")
    assert opened(world, "mailer") == [{"email": "ann@example.com"}, {"name": "Ann"}]
    await world.later(41)
    assert {str(code) for code in opened(world, "crm")} == {"destroyed"}
    scopes = [lapse.scope for lapse in world.lapses("processor.crm")]
    assert len(scopes) == 4, "two buckets, two partitions"
    assert world.findings == []


async def test_a_delivery_may_land_behind_its_lapse_and_then_opens_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The person withdraws between route's commit and its delivery: the keys are gone before it comes."""
    world = World()
    await world.settle()
    world.publish(world.form(consents={"news": True}), "intake.form")
    assert await world.step("tag")
    send = RouteOutput.send_deliveries

    async def late(self: RouteOutput, work: RouteWork) -> None:
        monkeypatch.setattr(RouteOutput, "send_deliveries", send)
        world.publish(world.form(consents={"news": False}), "intake.form")
        assert await world.step("tag")
        await world.expire.announcer.announce()
        await send(self, work)

    monkeypatch.setattr(RouteOutput, "send_deliveries", late)
    await world.settle()
    kinds = [type(record).__name__ for _, _, record in world.read("processor.mailer")]
    assert kinds.index("Depersonalized") < kinds.index("RecordDelivered")
    assert set(map(str, opened(world, "mailer"))) == {"withdrawn"}
    assert {"name": "Ann"} in opened(world, "crm"), "for another purpose"


async def test_no_length_on_a_topic_tells_people_apart() -> None:
    """Whatever is sealed, for ourselves or for a processor, was padded first."""
    world = World()
    await world.settle()
    for email in ("a@b.example", f"{'x' * 90}@example.com"):
        world.publish(world.form(email=email, consents={"news": True}), "intake.form")
    await world.settle()
    kept = [box.sealed for record in world.tagged() for box in record.compartments]
    deliveries = [*world.deliveries("crm"), *world.deliveries("mailer")]
    handed = [box.sealed for delivery in deliveries for box in delivery.compartments]
    assert kept and handed
    assert all(len(each) - OVERHEAD == size_class(len(each) - OVERHEAD) for each in (*kept, *handed))


async def test_an_event_as_long_as_a_server_may_send_is_handed_out() -> None:
    """Padding does not make of a legal event a record that no broker takes."""
    world = World()
    await world.settle()
    fields = {"email": "ann@example.com", "message": "x" * 600_000, "name": "y" * 200_000}
    form = world.form(fields=fields, consents={"news": True})
    world.publish(form, "intake.form")
    await world.settle()
    assert world.outcome(form) == ("routed", None)
    assert {"name": fields["name"]} in opened(world, "crm")
