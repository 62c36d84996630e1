"""Ends a recipient reports later: found by the name alone, and told only once the last of them is known."""

from __future__ import annotations

import pytest

from processors.answers import Answer, Done, Permanent
from processors.reporting import Reports
from processors.values import Answered, Claim, Place
from schemas.ids import Micros
from tests.unit.processors.kit import (
    NAME,
    Keys,
    Vendor,
    Wall,
    delivery,
    lapse,
    ledger,
    new_vault,
    of_bucket,
    outcomes,
    sealed,
)
from vault.port import Vault

PEOPLE = ("ann", "bob")


@pytest.fixture
def vault() -> Vault:
    """An empty vault."""
    return new_vault()


def lapsed(vault: Vault, answers: dict[str, Answer]) -> tuple[bytes, Wall]:
    """Deliver to two people's objects, end the bucket, and let the recipient answer for each."""
    wall, book = Wall(), ledger(Vendor(), Keys())
    ended = lapse("end", of_bucket("p"), cause="retention")
    made = [delivery(name, subject=name, parts=[({"email": name}, ["p"])]) for name in PEOPLE]
    owners = iter([bytes([n]) * 16 for n in range(10)])
    with vault.transaction() as tx:
        refs = book.register(tx, sealed(*made), wall())
        claims = book.claim(tx, refs, wall(), owners)
        book.finish(tx, [answered(claim, Done(outcome="delivered")) for claim in claims], wall())
    with vault.transaction() as tx:
        refs, onward = book.mark(tx, ended, Place(topic_id=b"t" * 16, partition=0), b"", wall())
        claims = book.claim(tx, refs, wall(), owners)
        who = {book.ref(d.subject_ref.hex()): name for d, name in zip(made, PEOPLE, strict=True)}
        book.finish(tx, [answered(claim, answers[who[claim.ref]]) for claim in claims], wall())
    assert onward is None
    return ended.lapse_id, wall


def answered(claim: Claim, answer: Answer) -> Answered:
    """The answer to a claim."""
    return Answered(claim=claim, answer=answer, draw=0.0, opens_at=Micros(0))


def report(vault: Vault, request: str, wall: Wall, answer: Done | Permanent | None = None) -> bool:
    """Let the recipient report an end by its name."""
    reports = Reports(processor=NAME, receipt_partitions=4)
    with vault.transaction() as tx:
        return reports.ended(tx, request, answer or Done(outcome="completed"), wall())


def test_an_end_is_found_by_its_name_and_only_once(vault: Vault) -> None:
    """What nobody awaits, or awaits no more, changes nothing."""
    accepted = Done(outcome="accepted_async", request="job-1")
    about, wall = lapsed(vault, {"ann": accepted, "bob": Done(outcome="completed")})
    assert outcomes(vault, about) == ["accepted_async"]
    assert not report(vault, "job-2", wall)
    assert report(vault, "job-1", wall)
    assert not report(vault, "job-1", wall)
    assert outcomes(vault, about) == ["accepted_async", "completed"]


def test_what_somebody_must_do_by_hand_is_done_once_the_recipient_says_so(vault: Vault) -> None:
    """`manual_required` under a name is the answer until the last object was emptied there."""
    by_hand = {name: Done(outcome="manual_required", request=f"card-{name}") for name in PEOPLE}
    about, wall = lapsed(vault, dict(by_hand))
    assert report(vault, "card-ann", wall)
    assert outcomes(vault, about) == ["manual_required"]
    assert report(vault, "card-bob", wall)
    assert outcomes(vault, about) == ["manual_required", "completed"]


def test_nothing_is_completed_that_was_only_accepted(vault: Vault) -> None:
    """An acceptance without a name, whose end nobody will hear of, stays one."""
    about, _ = lapsed(
        vault, {"ann": Done(outcome="accepted_async"), "bob": Done(outcome="completed", evidence=b"e")}
    )
    assert outcomes(vault, about) == ["accepted_async"]


def test_an_end_that_failed_is_worse_than_one_still_awaited(vault: Vault) -> None:
    """The receipt promises no more than the least that was done."""
    names = {name: Done(outcome="accepted_async", request=f"job-{name}") for name in PEOPLE}
    about, wall = lapsed(vault, dict(names))
    assert report(vault, "job-ann", wall, Permanent(code="vendor_refused"))
    assert outcomes(vault, about) == ["accepted_async", "failed_permanent"]
    assert report(vault, "job-bob", wall)
    assert outcomes(vault, about) == ["accepted_async", "failed_permanent"]
