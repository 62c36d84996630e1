"""What recipients say through the key endpoint, on the flow in memory: withdrawals, and that they fail."""

from __future__ import annotations

import pytest

from schemas import signing
from schemas.models import (
    ConsentStated,
    ConsentStatement,
    ProcessorApproved,
    ProcessorNotified,
    ProcessorSuspended,
    SignalBody,
    SignalReceived,
)
from schemas.signing import SERVICE
from streams.governing import site_of
from tests.unit.stages.test_flow import opened
from tests.unit.stages.test_govern_flow import sent, signal
from tests.unit.stages.test_restoring import backup, catch_up, restore
from tests.unit.stages.world import World, changed


@pytest.fixture
async def world() -> World:
    """A flow whose processors are approved, with one person's form routed."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    return made


def says(world: World, processor: str, body: SignalBody, site: str | None = None) -> SignalReceived:
    """A recipient's signal, about Ann where it is about anybody."""
    made = signal(world, body, via="processor", site=site or site_of(processor))
    return changed(made, identifiers=[]) if isinstance(body, ProcessorNotified) else made


def consents(*purposes: str, granted: bool = False) -> ConsentStated:
    """Statements about purposes."""
    return ConsentStated(consents=[ConsentStatement(purpose=each, granted=granted) for each in purposes])


FAILS = ProcessorNotified(processor="crm", notice="assurance_ended")


async def test_an_unsubscription_at_a_vendor_is_a_withdrawal(world: World) -> None:
    """It ends the purpose everywhere, not at that vendor alone; what rests on a contract goes on."""
    await world.later(1)
    told = says(world, "mailer", consents("news", "answer"))
    assert await sent(world, told) == ("kept_in_vault", None)
    assert set(map(str, opened(world, "mailer"))) == {"withdrawn"}
    assert {"email": "ann@example.com"} in opened(world, "crm"), "answering does not rest on consent"
    assert {lapse.cause for lapse in world.lapses("processor.crm")} == {"withdrawal"}


@pytest.mark.parametrize(
    ("processor", "said", "code"),
    [
        ("mailer", consents("news", granted=True), "no_basis"),
        ("crm", consents("analytics"), "no_basis"),
        ("crm", consents("answer"), "no_basis"),
        ("nobody", consents("news"), "unknown_source"),
    ],
    ids=["a grant", "of what it does not have", "of what is no choice", "by nobody"],
)
async def test_a_recipient_ends_only_what_it_has(
    world: World, processor: str, said: ConsentStated, code: str
) -> None:
    """It can grant nothing and speak for nobody else."""
    before = opened(world, "mailer")
    assert await sent(world, says(world, processor, said)) == ("discarded", code)
    assert opened(world, "mailer") == before


async def test_a_recipient_that_cannot_protect_data_opens_nothing_of_what_is_on_its_way(world: World) -> None:
    """It is suspended in the transaction that hears it, and `control` has the proof; others go on."""
    assert await sent(world, says(world, "crm", FAILS)) == ("kept_in_vault", None)
    assert set(map(str, opened(world, "crm"))) == {"suspended"}
    assert "suspended" not in map(str, opened(world, "mailer"))
    [command] = [r for _, _, r in world.read("control") if isinstance(r, ProcessorSuspended)]
    assert (command.processor, command.reason, command.key_id) == ("crm", "assurance_ended", SERVICE)
    assert signing.verify(command, {SERVICE: signing.public_key(world.around.service_key)})


async def test_only_a_recipient_itself_says_that_it_fails(world: World) -> None:
    """Neither a site nor another recipient can stop it; a later notice, after an approval, can again."""
    assert await sent(world, signal(world, FAILS)) == ("discarded", "unknown_source")
    assert await sent(world, says(world, "mailer", FAILS)) == ("discarded", "unknown_source")
    assert "suspended" not in map(str, opened(world, "crm"))
    for _ in range(2):
        await sent(world, says(world, "crm", FAILS))
        assert set(map(str, opened(world, "crm"))) == {"suspended"}
        world.command(ProcessorApproved(**world.head(), processor="crm"))
        await world.settle()
        assert "suspended" not in map(str, opened(world, "crm"))


async def test_a_suspension_by_notice_outlives_a_restore(world: World) -> None:
    """The signal is long purged; the command on `control` is done again."""
    copy = backup(world)
    await sent(world, says(world, "crm", FAILS))
    restore(world, copy)
    await catch_up(world)
    await world.settle()
    assert set(map(str, opened(world, "crm"))) == {"suspended"}
