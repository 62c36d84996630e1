"""A person's records are found by nothing but their handles, and opened for the person alone."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest

from lapse import personal
from lapse.personal import HeldRecord, records_of, whose
from schemas.ids import Micros, RequestId, Slot
from schemas.models import RequestDecided
from schemas.plan import Plans
from streams import tagout
from streams.ports import Outbound
from streams.scan import scan_memory
from tests.unit.stages.test_govern_flow import says, signal
from tests.unit.stages.world import SECOND, World
from vault.handles import alias_hash
from vault.transaction import destroying
from vault.values import AliasRow

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def world() -> World:
    """A flow in which Ann and Bob have each sent two forms, the second with consent to news."""
    return await sent(World())


async def sent(made: World) -> World:
    """Let Ann and Bob send their forms."""
    for email in (ANN, BOB):
        made.publish(made.form(email=email), "intake.form")
        made.publish(made.form(email=email, consents={"news": True}), "intake.form", 1)
    await made.settle()
    return made


def held(world: World, email: str = ANN) -> list[HeldRecord]:
    """What is found of somebody."""
    name = alias_hash(world.vault.secrets.alias, "email", email)
    with world.vault.transaction(write=False) as tx:
        numbers = whose(tx, [name])
    return list(records_of(world.vault, Plans([world.plan]), partial(scan_memory, world.log), numbers))


def fields(record: HeldRecord) -> dict[str, Any]:
    """Every field of a record that opens."""
    return {name: value for part in record.parts for name, value in part.fields.items()}


def decides(world: World, right: Any, *purposes: str, email: str = ANN) -> RequestDecided:
    """An officer's decision about somebody."""
    return RequestDecided(
        **world.head(),
        request_id=RequestId(os.urandom(16)),
        right=right,
        alias_hashes=[alias_hash(world.vault.secrets.alias, "email", email)],
        purposes=list(purposes),
        until=world.vault.clock.now(),
        reason="asked",
    )


async def test_all_of_one_person_is_found_and_nothing_of_another(world: World) -> None:
    """Both of Ann's records open whole, and none of Bob's, who shares every bucket with her."""
    found = held(world)
    assert len(found) == 2
    assert {fields(record)["email"] for record in found} == {ANN}
    assert fields(found[0]) == {"email": ANN, "name": "Ann", "message": "hello"}
    assert {link.purpose for record in found for link in record.links} >= {"answer", "news", "profile"}
    assert {part.kinds["email"] for record in found for part in record.parts if "email" in part.kinds} == {
        "user.contact.email"
    }
    assert all(record.collected_at == world.vault.clock.now() for record in found)


async def test_people_who_share_a_slot_are_told_apart_by_their_handles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slot only narrows the search: where everybody has one, each still gets their own."""
    for module, name in ((tagout, "slot_named"), (personal, "slot_of")):
        monkeypatch.setattr(module, name, lambda _key, _number: Slot(7))
    world = await sent(World())
    assert {record.slot for record in world.tagged()} == {7}
    assert [fields(record)["email"] for record in held(world)] == [ANN, ANN]


async def test_what_is_ended_is_no_content(world: World) -> None:
    """A withdrawn purpose takes its link out, an expired bucket too, and nothing is left at last."""
    await world.later(1)
    world.publish(signal(world, says("news", False)), "intake.signal")
    await world.settle()
    living = [link.purpose for record in held(world) for link in record.links if link.lives]
    assert "news" not in living and "answer" in living
    await world.later(21)
    assert {name for record in held(world) for name in fields(record)} == {"name"}, "profile alone lives"
    world.vault.clock.set_manual(Micros(world.vault.clock.now() + 90 * SECOND))
    assert held(world) == [], "what is due opens for nobody, destroyed yet or not"


async def test_an_erased_person_and_one_nobody_knows_are_alike(world: World) -> None:
    """Both lead to nobody, and the log is not even read."""
    world.command(decides(world, "erasure"))
    await world.settle()
    assert held(world) == held(world, "who@example.com") == []
    assert len(held(world, BOB)) == 2


async def test_a_restriction_stops_use_and_not_the_persons_own_look(world: World) -> None:
    """Fields of a restricted purpose open for the person, and are said to be unused."""
    world.command(decides(world, "restriction", "news", "answer", "profile"))
    await world.settle()
    (first, second) = held(world)
    assert fields(second) == {"email": ANN, "name": "Ann", "message": "hello"}
    assert {link.unused.code for link in first.links if link.unused is not None} == {"restricted"}


async def test_only_the_highest_revision_opens(world: World) -> None:
    """A corrected record counts at its newest; where the log lost that, the older one stays closed."""
    first, second = held(world)
    with world.vault.transaction() as tx:
        tx.supersede({first.record_id: 2})
    assert [record.record_id for record in held(world)] == [second.record_id]


async def test_a_record_sealed_twice_is_one_record(world: World) -> None:
    """A chunk that was done again leaves two copies on the log; the person has sent one form."""
    topic, partition, record = next(
        (f"records.{h.name}", p, r)
        for h in world.plan.horizons
        for p in range(world.log.topics()[f"records.{h.name}"])
        for r in world.log.read(f"records.{h.name}", p, 0)
    )
    world.log.append(Outbound(topic, partition, None, record.value))
    world.log.append(Outbound(topic, partition, None, b"something else"))
    assert len(held(world)) + len(held(world, BOB)) == 4


async def test_what_is_found_does_not_show_in_a_repr(world: World) -> None:
    """Reprs reach logs."""
    said = repr(held(world))
    assert ANN not in said and "hello" not in said
    assert "Usable" not in said, "nor do keys"


async def test_an_identifier_of_two_people_names_both(world: World) -> None:
    """Whoever asks by it has to show that it is theirs, so both are said."""
    ann, bob = (alias_hash(world.vault.secrets.alias, "email", email) for email in (ANN, BOB))
    with world.vault.transaction() as tx:
        numbers = whose(tx, [ann, bob])
        tx.put_aliases(AliasRow(hash=b"s" * 16, subject=number, since=tx.now) for number in numbers)
    with world.vault.transaction(write=False) as tx:
        assert whose(tx, [b"s" * 16]) == numbers
        assert len(numbers) == 2


async def test_what_ends_while_the_log_is_read_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding takes as long as the log: buckets destroyed meanwhile leave nothing to say whose it was."""
    monkeypatch.setattr(personal, "PAGE", 1)
    name = alias_hash(world.vault.secrets.alias, "email", ANN)
    with world.vault.transaction(write=False) as tx:
        numbers = whose(tx, [name])
    found = records_of(world.vault, Plans([world.plan]), partial(scan_memory, world.log), numbers)
    assert fields(next(found))["email"] == ANN
    with world.vault.transaction() as tx:
        destroying(tx).end_bucket_keys({row.id: "retention" for row in tx.all_buckets()})
    assert list(found) == []
