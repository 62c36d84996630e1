"""A recipient that asks for what it needs: its copy is entered where it is opened, and ends like any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from processors.answers import Done
from processors.calls import Erase, Write
from processors.ledger import Ledger
from processors.values import Answered, Claim, Place, Timing
from schemas.models import Depersonalized, RecordDelivered
from tests.unit.processors.kit import (
    NAME,
    SECRET,
    Keys,
    Vendor,
    Wall,
    delivery,
    id16,
    lapse,
    new_vault,
    of_subject,
    outcomes,
    sealed,
)
from vault.port import Vault

MAIL, PHONE = ({"email": "one"}, ["p"]), ({"phone": "two"}, ["q"])
ANN = id16("ann").hex()


def compose(fields: Mapping[str, str]) -> bytes:
    """Return the fields as JSON."""
    return json.dumps(dict(fields)).encode()


@dataclass
class Desk:
    """A ledger of a recipient that asks."""

    vault: Vault = field(default_factory=new_vault)
    keys: Keys = field(default_factory=Keys)
    vendor: Vendor = field(default_factory=Vendor)
    wall: Wall = field(default_factory=Wall)

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            processor=NAME,
            recipient=self.vendor,
            opener=self.keys,
            secret=SECRET,
            receipt_partitions=4,
            timing=Timing(),
            pulled=True,
        )

    def deliver(self, *deliveries: RecordDelivered) -> None:
        """Enter deliveries; nothing of them is to be attempted."""
        with self.vault.transaction() as tx:
            assert self.ledger.register(tx, sealed(*deliveries), self.wall()) == []
            assert self.ledger.due(tx, self.wall(), 10) == []

    def show(self) -> dict[str, str]:
        """Ask for Ann."""
        with self.vault.transaction() as tx:
            return dict(json.loads(self.ledger.show(tx, ANN, compose, self.wall())))

    def lapse(self, event: Depersonalized) -> list[Claim]:
        """Mark a lapse and claim what follows."""
        with self.vault.transaction() as tx:
            refs, _ = self.ledger.mark(tx, event, Place(topic_id=b"t" * 16, partition=0), b"", self.wall())
            return self.ledger.claim(tx, refs, self.wall(), iter([b"o" * 16]))

    def answer(self, claim: Claim, answer: Done) -> None:
        """A call has ended."""
        with self.vault.transaction() as tx:
            self.ledger.finish(tx, [Answered(claim=claim, answer=answer, draw=0.5)], self.wall())


@pytest.fixture
def desk() -> Desk:
    """Return a fresh one."""
    return Desk()


def test_who_asks_is_shown_what_opens_now_and_each_delivery_is_told_once(desk: Desk) -> None:
    """The receipt comes with the first answer that carried it."""
    first, second = delivery("d1", parts=[MAIL]), delivery("d2", parts=[PHONE])
    assert desk.show() == {}
    desk.deliver(first)
    assert outcomes(desk.vault, first.delivery_id) == []
    assert desk.show() == {"email": "one"}
    desk.deliver(second)
    assert desk.show() == {"email": "one", "phone": "two"}
    assert desk.show() == {"email": "one", "phone": "two"}
    assert outcomes(desk.vault, first.delivery_id) == ["delivered"]
    assert outcomes(desk.vault, second.delivery_id) == ["delivered"]


def test_what_was_never_asked_for_needs_no_end_there(desk: Desk) -> None:
    """A lapse over a delivery nobody was shown calls nobody."""
    desk.deliver(delivery("d1", parts=[MAIL]))
    assert desk.lapse(lapse("l1", of_subject("ann", "p"))) == []
    assert desk.show() == {}
    assert outcomes(desk.vault, id16("l1")) == ["not_applicable"]


def test_what_was_shown_is_taken_back_and_not_shown_meanwhile(desk: Desk) -> None:
    """The end of everything erases; while it is under way nothing is shown, nor afterwards."""
    first = delivery("d1", parts=[MAIL, PHONE])
    desk.deliver(first)
    desk.show()
    desk.keys.dead.add((first.delivery_id, "p"))
    [claim] = desk.lapse(lapse("l1", of_subject("ann", "p")))
    assert isinstance(claim.attempt.call, Write)
    assert (claim.attempt.call.set, claim.attempt.call.blank) == ({}, ("email",))
    assert desk.show() == {}
    desk.answer(claim, Done(outcome="manual_required"))
    assert desk.show() == {"phone": "two"}
    desk.keys.dead.add((first.delivery_id, "q"))
    [claim] = desk.lapse(lapse("l2", of_subject("ann", "q"), cause="erasure"))
    assert isinstance(claim.attempt.call, Erase)
    desk.answer(claim, Done(outcome="manual_required"))
    assert desk.show() == {}
    assert outcomes(desk.vault, [id16("l1"), id16("l2")]) == ["manual_required", "manual_required"]


def test_what_is_closed_for_now_is_not_shown_and_not_lost(desk: Desk) -> None:
    """A suspended recipient sees nothing until it is resumed; what it was shown before stays entered."""
    desk.deliver(delivery("d1", parts=[MAIL]))
    desk.show()
    desk.keys.closed = "suspended"
    assert desk.show() == {}
    desk.keys.closed = None
    assert desk.show() == {"email": "one"}
    [claim] = desk.lapse(lapse("l1", of_subject("ann", "p")))
    assert isinstance(claim.attempt.call, Erase)
