"""A restored vault does again what the log says was destroyed, before anybody is answered (invariant 18)."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.errors import NotFound
from schemas.ids import RequestId
from schemas.models import (
    BucketScope,
    ConsentStated,
    ConsentStatement,
    Depersonalized,
    HoldPlaced,
    HoldReleased,
    ProcessorSuspended,
    RequestDecided,
)
from streams import building
from streams.restoring import Caught, merged
from streams.scan import scan_memory
from tests.unit.stages.test_flow import opened
from tests.unit.stages.test_govern_flow import signal
from tests.unit.stages.world import FusedVault, Killed, World, changed
from vault.handles import alias_hash
from vault.memory import MemoryStore
from vault.restored import is_behind, is_closed, knows
from vault.vaults import StoreVault

PEOPLE = ("ann@example.com", "bob@example.com")
PROCESSORS = ("crm", "mailer")
HOLD = b"h" * 16


async def flow() -> World:
    """A flow whose processors are approved, in which Ann has sent a form."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    return made


def backup(world: World) -> Any:
    """A copy of the vault's rows as they are now."""
    return deepcopy(world.vault._store.tables)  # type: ignore[attr-defined]  # noqa: SLF001  # a backup copies files


def restore(world: World, copy: Any) -> None:
    """Start every role anew on a copy of the vault; log, keys and clients are as they were."""
    now, keys, store = world.vault.clock.now(), world.vault._keys, MemoryStore()  # type: ignore[attr-defined]  # noqa: SLF001  # as above
    store.tables = deepcopy(copy)
    world.vault = StoreVault(store, keys, mode="manual", catching_up=True)
    world.vault.clock.set_manual(now)
    world.around = replace(world.around, vault=FusedVault(world.vault, world.fuse))
    world.expire = building.expire(world.around, scan=partial(scan_memory, world.log))
    world.handles = {name: world.handle(name) for name in world.handles}


async def catch_up(world: World) -> Caught:
    """What `up` does before it starts a role."""
    control = world.log.topic_id("control").hex()
    with world.vault.transaction(write=False) as tx:
        start, known = tx.progress(control, 0) or 0, knows(tx) or 0
    missed = [lapse for lapse in world.lapses("lifecycle") if lapse.reaches > known]
    commands = world.log.read("control", 0, start)
    caught = await building.catch_up(world.around).run(commands, control, missed)
    rewind(world)
    return caught


def places(world: World) -> list[tuple[str, str, int]]:
    """Every group, topic and partition whose fence is the vault's progress."""
    return [
        (name, topic, partition)
        for name, topics in world._topics().items()  # noqa: SLF001  # the groups as the engine names them
        for topic in topics
        for partition in range(world.log.topics()[topic])
    ]


def rewind(world: World) -> None:
    """Let every group begin where the vault is."""
    with world.vault.transaction(write=False) as tx:
        for name, topic, partition in places(world):
            progress = tx.progress(world.log.topic_id(topic).hex(), partition)
            world.log.commit(name, topic, partition, progress or 0)
    for source in world.sources.values():
        source.crash()


def behind(world: World) -> bool:
    """Whether the vault is found to be older than its log."""
    committed = {
        (world.log.topic_id(topic).hex(), partition): offset
        for name, topic, partition in places(world)
        if (offset := world.log.committed(name, topic, partition)) is not None
    }
    with world.vault.transaction(write=False) as tx:
        return is_behind(tx, world.lapses("lifecycle"), committed)


def readable(world: World) -> set[str]:
    """What any processor can read now, as text."""
    return {str(each) for name in PROCESSORS for each in opened(world, name) if isinstance(each, dict)}


def decides(world: World, right: Any, email: str, purposes: tuple[str, ...] = ()) -> RequestDecided:
    """An officer's decision."""
    return RequestDecided(
        **world.head(),
        request_id=RequestId(os.urandom(16)),
        right=right,
        alias_hashes=[alias_hash(world.vault.secrets.alias, "email", email)],
        purposes=list(purposes),
        until=world.vault.clock.now(),
        reason="asked",
    )


def holds(world: World, email: str, purpose: str) -> HoldPlaced:
    """A hold on what is kept of a person for one purpose."""
    name = alias_hash(world.vault.secrets.alias, "email", email)
    return HoldPlaced(
        **world.head(), hold_id=HOLD, alias_hashes=[name], purposes=[purpose], reason="a dispute"
    )


def withdraws(world: World, email: str) -> Any:
    """A person takes back the consent to news, at the banner."""
    said = ConsentStated(consents=[ConsentStatement(purpose="news", granted=False)])
    return changed(signal(world, said), identifiers=world.form(email=email).identifiers)


async def test_a_vault_as_the_log_knows_it_is_not_behind() -> None:
    """Neither a running one nor one that was stopped in the middle."""
    world = await flow()
    assert not behind(world)
    await world.later(30)
    world.publish(world.form(), "intake.form")
    await world.step("tag", kill_after=1)
    assert not behind(world)


@pytest.mark.parametrize("what", ["expiry", "erasure", "withdrawal", "a form"])
async def test_a_restored_vault_is_found_to_be_behind(what: str) -> None:
    """Whatever happened since the backup, on the log alone it shows."""
    world = await flow()
    copy = backup(world)
    match what:
        case "expiry":
            await world.later(21)
        case "erasure":
            world.command(decides(world, "erasure", PEOPLE[0]))
        case "withdrawal":
            world.publish(withdraws(world, PEOPLE[0]), "intake.signal")
        case "a form":
            world.publish(world.form(), "intake.form")
    await world.settle()
    restore(world, copy)
    assert behind(world)
    await catch_up(world)
    await world.settle()
    assert not behind(world)


async def test_what_an_erasure_ended_does_not_come_back() -> None:
    """Not what was sealed before the backup, not what arrives late; the processors are told again."""
    world = await flow()
    copy, late = backup(world), world.form(consents={"news": True})
    await world.later(1)
    world.command(decides(world, "erasure", PEOPLE[0]))
    await world.settle()
    assert readable(world) == set() or all("email" not in each for each in readable(world))
    before, told = readable(world), len(world.lapses("processor.crm"))
    restore(world, copy)
    assert readable(world) > before, "the backup brings it back"
    caught = await catch_up(world)
    assert readable(world) == before and caught.people > 0
    await world.settle()
    assert len(world.lapses("processor.crm")) > told
    world.publish(late, "intake.form")
    await world.settle()
    assert world.outcome(late) == ("discarded", "erased")


async def test_what_lapsed_stays_lapsed_and_is_said_once_on_lifecycle() -> None:
    """Each bucket has one entry with the root it had; every processor hears of it again."""
    world = await flow()
    copy = backup(world)
    await world.later(41)
    entries, told = world.lapses("lifecycle"), len(world.lapses("processor.mailer"))
    restore(world, copy)
    caught = await catch_up(world)
    assert caught.buckets == len({str(lapse.scope) for lapse in entries}) > 0
    await world.settle()
    assert world.lapses("lifecycle") == entries
    assert len(world.lapses("processor.mailer")) > told
    assert {str(code) for code in opened(world, "crm")} == {"destroyed"}


async def test_somebody_newer_than_the_backup_who_withdrew_keeps_the_floor() -> None:
    """The backup never knew Bob; what he withdrew is not taken from old mail either."""
    world = await flow()
    copy = backup(world)
    old = world.form(email=PEOPLE[1], consents={"news": True})
    world.publish(old, "intake.form")
    await world.later(1)
    world.publish(withdraws(world, PEOPLE[1]), "intake.signal")
    await world.settle()
    world.log.delete_records("intake.form", 0, world.log.bounds("intake.form", 0)[1])
    world.log.delete_records("intake.signal", 0, world.log.bounds("intake.signal", 0)[1])
    restore(world, copy)
    caught = await catch_up(world)
    assert caught.nobody == 1
    assert ("people newer than the backup", "lifecycle", 1) in world.findings
    again = changed(old, event_id=world.form().event_id)
    world.publish(again, "intake.form")
    await world.settle()
    assert all("bob" not in str(each) for each in opened(world, "mailer"))


async def test_a_hold_placed_since_the_backup_stands_and_keeps_what_ended_after_it() -> None:
    """Control and lifecycle are done again in the order in which they happened."""
    world = await flow()
    copy = backup(world)
    world.command(holds(world, PEOPLE[0], "answer"))
    await world.later(30)
    restore(world, copy)
    await catch_up(world)
    with world.vault.transaction(write=False) as tx:
        assert [key.pair.bucket.purpose for key in tx.hold_keys(HOLD)] == ["answer"]
    world.command(HoldReleased(**world.head(), hold_id=HOLD))
    await world.settle()
    with world.vault.transaction(write=False) as tx, pytest.raises(NotFound):
        tx.hold_keys(HOLD)


async def test_an_interrupted_catching_up_leaves_the_vault_closed_and_is_begun_again() -> None:
    """Killed after any number of its effects, a second attempt ends in the same place."""
    world = await flow()
    copy = backup(world)
    await world.later(1)
    world.command(decides(world, "erasure", PEOPLE[0]))
    await world.later(25)
    after = readable(world)
    for effects in range(0, 60, 3):
        restore(world, copy)
        world.fuse.left = effects
        try:
            await catch_up(world)
        except Killed:
            world.fuse.left = None
            with world.vault.transaction(write=False) as tx:
                assert is_closed(tx) or effects < 2
            await catch_up(world)
        world.fuse.left = None
        with world.vault.transaction(write=False) as tx:
            assert not is_closed(tx)
        assert readable(world) == after
        assert not behind(world)


async def test_what_an_interrupted_catching_up_announced_hides_nothing_from_the_next() -> None:
    """A recall is announced anew, under a later number than the endings that are still to be done again."""
    world = await flow()
    copy = backup(world)
    world.command(ProcessorSuspended(**world.head(), processor="crm", recall=True, reason="left"))
    await world.later(25)
    scopes = [lapse.scope for lapse in world.lapses("lifecycle")]
    ended = {(each.purpose, each.period, each.terms) for each in scopes if isinstance(each, BucketScope)}
    assert ended
    for effects in range(0, 30, 3):
        restore(world, copy)
        world.fuse.left = effects
        with suppress(Killed):
            await catch_up(world)
        world.fuse.left = None
        await catch_up(world)
        with world.vault.transaction(write=False) as tx:
            assert {row.id for row in tx.all_buckets() if row.ended_at is not None} >= ended, effects


async def test_an_ending_stands_before_the_command_its_transaction_had_not_applied() -> None:
    """The order of model m6: what had applied n commands comes before command n."""
    world = await flow()
    await world.later(21)
    world.command(decides(world, "erasure", PEOPLE[0]))
    await world.settle()
    control, lapses = world.log.read("control", 0, 0), world.lapses("lifecycle")
    order = merged(lapses, control)
    last = order.index(control[-1])
    assert [each for each in order[:last] if isinstance(each, Depersonalized)] == lapses
    assert {lapse.control_offset for lapse in lapses} == {control[-1].offset}
    assert order[:2] == control[:2], "the approvals came first"


ACTS = st.sampled_from(("form", "withdraw", "erase", "object", "hold", "release", "wait", "backup"))


def _act(world: World, act: str, email: str) -> None:
    match act:
        case "form":
            world.publish(world.form(email=email, consents={"news": True}), "intake.form")
        case "withdraw":
            world.publish(withdraws(world, email), "intake.signal")
        case "erase":
            world.command(decides(world, "erasure", email))
        case "object":
            world.command(decides(world, "objection", email, ("news",)))
        case "hold":
            world.command(holds(world, email, "news"))
        case "release":
            world.command(HoldReleased(**world.head(), hold_id=HOLD))


async def _lives(acts: list[tuple[str, int]]) -> None:
    world = await flow()
    copy = backup(world)
    for act, who in acts:
        _act(world, act, PEOPLE[who])
        await world.later(7 if act == "wait" else 1)
        if act == "backup":
            copy = backup(world)
    before = readable(world)
    for topic in ("intake.form", "intake.signal"):
        for partition in range(world.log.topics()[topic]):
            world.log.delete_records(topic, partition, world.log.bounds(topic, partition)[1])
    restore(world, copy)
    if behind(world):
        await catch_up(world)
    assert readable(world) <= before, "what was closed is open again"
    await world.settle()
    assert readable(world) <= before, "what was closed came back"
    await world.later(200)
    assert readable(world) == set()


@settings(max_examples=15, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(ACTS, st.integers(0, 1)), min_size=1, max_size=9))
def test_nothing_that_was_closed_opens_after_restoring_any_backup(acts: list[tuple[str, int]]) -> None:
    """Whatever was done since, in whatever order: what nobody could read, nobody reads after the restore."""
    asyncio.run(_lives(acts))


async def test_a_correction_is_superseded_again_after_a_restore() -> None:
    """14 and 18: the backup knew the old revision alone; control says that it opens no more."""
    world = await flow()
    form = world.form(email="eve@example.com", consents={"news": True})
    world.publish(form, "intake.form")
    await world.settle()
    copy = backup(world)
    world.publish(world.correction(form, name="Evelyn"), "intake.form")
    await world.settle()
    after = readable(world)
    assert "Evelyn" in str(after)
    world.log.delete_records("intake.form", 0, world.log.bounds("intake.form", 0)[1])
    restore(world, copy)
    assert behind(world)
    await catch_up(world)
    assert readable(world) <= after, "the old revision is open again"
    await world.settle()
    assert readable(world) == after
    assert world.lapses("processor.mailer") == []


async def test_a_correction_that_was_not_sealed_yet_is_taken_once_more_after_a_restore() -> None:
    """Control knew of it, intake still holds it: it is neither lost nor taken for one that came too late."""
    world = await flow()
    form = world.form(email="eve@example.com", consents={"news": True})
    world.publish(form, "intake.form")
    await world.settle()
    copy = backup(world)
    world.publish(world.correction(form, name="Evelyn"), "intake.form")
    await world.step("tag", kill_after=1)
    await world.tick()
    assert [record.revision for record in world.tagged_as(form)] == [1]
    restore(world, copy)
    await catch_up(world)
    await world.settle()
    assert {record.revision for record in world.tagged_as(form)} == {1, 2}
    assert "Evelyn" in str(readable(world))
    again = world.correction(form, name="Eva")
    world.publish(again, "intake.form")
    await world.settle()
    world.publish(changed(again, command_id=world.head()["command_id"]), "intake.form")
    await world.settle()
    assert [record.revision for record in world.tagged_as(form)] == [1, 2, 3]
