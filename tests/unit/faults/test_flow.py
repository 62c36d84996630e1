"""Every stage, announcer and expiry die once at each of their points: the flow ends as if they had not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas import codec
from schemas.ids import EventId, Micros, RequestId
from schemas.models import (
    BucketScope,
    ConsentStated,
    ConsentStatement,
    Identifier,
    ReceiptGiven,
    RequestDecided,
    SignalReceived,
)
from streams import agents
from streams.faults import CUT
from streams.housekeeping import Purge
from streams.memory import MemorySink
from streams.ports import Outbound
from tests.support.points import FLOW
from tests.unit.stages.test_expire_flow import Care
from tests.unit.stages.world import SECOND, Killed, World
from vault.handles import alias_hash
from vault.values import BucketId


@dataclass
class Trap:
    """Kills once, at one point."""

    point: str
    sprung: bool = False

    def __call__(self, here: str) -> None:
        """Die here."""
        if here == self.point and not self.sprung:
            self.sprung = True
            raise Killed


@dataclass
class Story:
    """The same things happen in every world: forms, withdrawals, an erasure, receipts, time."""

    world: World
    events: list[tuple[str, Any]] = field(default_factory=list)

    async def play(self) -> None:
        """Let it happen."""
        world = self.world
        await world.settle()
        for n, who in enumerate(("ann", "bob", "cleo")):
            self._form(n, who, {"news": True})
        self._form(3, "dora", {})
        await world.settle()
        self._form(4, "bob", {"news": False})
        self._signal(5, "cleo", granted=False)
        self._erase("ann")
        world.log.append(Outbound("receipts", 0, None, codec.encode(receipt())))
        await world.settle()
        self._form(6, "ann", {"news": True})
        self._form(7, "bob", {})
        await world.settle()
        await world.later(100)

    def _form(self, number: int, who: str, consents: dict[str, bool]) -> None:
        event = self.world.form(
            event_id=EventId(number.to_bytes(16)), email=f"{who}@example.com", consents=consents
        )
        self.events.append(("form", event))
        self.world.publish(event, "intake.form", number % 2)

    def _signal(self, number: int, who: str, *, granted: bool) -> None:
        event = SignalReceived(
            event_id=EventId(number.to_bytes(16)),
            collected_at=self.world.vault.clock.now(),
            site="www",
            identifiers=[Identifier(kind="email", value=f"{who}@example.com")],
            via="banner",
            body=ConsentStated(consents=[ConsentStatement(purpose="news", granted=granted)]),
        )
        self.events.append(("signal", event))
        self.world.publish(event, "intake.signal")

    def _erase(self, who: str) -> None:
        self.world.command(
            RequestDecided(
                request_id=RequestId(bytes(16)),
                right="erasure",
                alias_hashes=[alias_hash(self.world.vault.secrets.alias, "email", f"{who}@example.com")],
                purposes=[],
                until=self.world.vault.clock.now(),
                reason="asked",
                **self.world.head(),
            )
        )

    def ended(self) -> dict[str, Any]:
        """All that an outsider can compare: outcomes, deliveries, lapses, tallies, what is still owed."""
        world = self.world
        with world.vault.transaction(write=False) as tx:
            rows = [row for row in tx.all_buckets() if row.id.purpose != "quarantine"]
            residue = sum(cell.events for cell in tx.residue())
            owed = tx.outbox_count()
        published = sum(c.events for _, _, r in world.read("residue") for c in getattr(r, "cells", ()))
        return {
            "outcomes": [world.outcome(event, kind) for kind, event in self.events],
            "tallies": {row.id: (row.tally, row.state) for row in rows},
            "counted": residue + published,
            "delivered": {p: len({d.delivery_id for d in world.deliveries(p)}) for p in ("crm", "mailer")},
            "announced": buckets(world, "lifecycle"),
            "told": {p: buckets(world, f"processor.{p}").keys() for p in ("crm", "mailer")},
            "owed": owed,
            "lag": [source.lag() for source in world.sources.values()],
            "findings": [f for f in world.findings if f[0] in ("bug", "offsets missing from the log")],
        }


def buckets(world: World, topic: str) -> dict[BucketId, set[tuple[bytes, int]]]:
    """The lapses of buckets on a topic: by bucket, each with its id and count."""
    found: dict[BucketId, set[tuple[bytes, int]]] = {}
    for lapse in world.lapses(topic):
        if isinstance(lapse.scope, BucketScope):
            bucket = BucketId(lapse.scope.purpose, lapse.scope.period, lapse.scope.terms)
            found.setdefault(bucket, set()).add((b"", lapse.records))
    return found


def receipt() -> ReceiptGiven:
    """What a recipient answers."""
    return ReceiptGiven(
        receipt_id=bytes(16),
        processor="crm",
        about=bytes(16),
        outcome="completed",
        at=Micros(0),
        evidence=bytes(32),
    )


async def told(point: str) -> tuple[dict[str, Any], bool]:
    """How the story ends in a world that has this trap."""
    trap = Trap(point)
    story = Story(World(crash=trap))
    await story.play()
    return story.ended(), trap.sprung


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """How it ends where nobody dies."""
    return asyncio.run(told(""))[0]


@pytest.mark.parametrize("point", FLOW)
async def test_whoever_dies_between_two_effects_changes_nothing(
    point: str, undisturbed: dict[str, Any]
) -> None:
    """Outcomes, tallies, counts, deliveries and announcements are those of a world without the crash."""
    ended, sprung = await told(point)
    assert sprung, "nobody came past this point"
    assert ended == undisturbed
    assert Counter(outcome for outcome in ended["outcomes"])[None] == 0
    assert (ended["owed"], sum(ended["lag"])) == (0, 0)


async def test_intake_that_was_cut_off_is_ticked_by_whoever_comes_next() -> None:
    """expire dies between the cut and the tick that lets the bytes go: the next one ticks."""
    trap, world, now = Trap(CUT), World(), [100 * SECOND]
    await world.settle()
    world.publish(world.form(), "intake.form")
    await world.settle()

    def purge() -> Purge:
        return Purge(
            care=Care(world),
            sink=MemorySink(world.log),
            groups={"tag": agents.GROUPS["tag"]},
            finding=world.around.finding,
            now=lambda: now[0],
            segment=10 * SECOND,
            tick_every=5 * SECOND,
            crash=trap,
        )

    with pytest.raises(Killed):
        await purge().run()
    assert trap.sprung and world.log.bounds("intake.form", 0)[0] == 1
    assert ticks(world.log.read("intake.form", 0, 0)) == 0
    await purge().run()
    assert ticks(world.log.read("intake.form", 0, 0)) == 1
    assert world.findings == []


def ticks(records: Sequence[Any]) -> int:
    """How many records only roll a segment."""
    return sum(record.value is None for record in records)
