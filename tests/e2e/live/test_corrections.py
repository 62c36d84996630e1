"""What a person has corrected (GDPR Art. 16): the new value opens everywhere, the old one nowhere."""

from __future__ import annotations

import pytest

from tests.e2e.live.system import System, allows, somebody

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_correction_replaces_a_value_at_every_recipient(steady: System) -> None:
    """The old delivery's keys answer `superseded`, the new one opens with the new value under the same id."""
    person, right = somebody(), somebody().name
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    old = steady.delivery(event_id)
    said = steady.do(
        *("subject", "correct", person.who, "--set", f"name={right}", "--unset", "message"),
        *("--reason", "asked by mail", "--yes"),
    )
    shown = steady.outcome(event_id)
    assert said["corrected"] == [{"record_id": shown["record_id"], "revision": 2}]
    assert said["left"] == []
    assert {c["code"] for c in steady.keys("crm").closed(old)} == {"superseded"}
    assert (shown["outcome"], shown["revision"]) == ("routed", 2)
    assert [each["revision"] for each in shown["revisions"]] == [1, 2]
    new = steady.deliveries(shown, "crm")[-1].record
    assert new is not None
    assert (new["delivery_id"], new["revision"]) == (old["delivery_id"], 2)
    opened = steady.keys("crm").open(new)
    assert (opened["name"], opened["email"], "message" in opened) == (right, person.email, False)
    mails = [m.record for m in steady.lapses("mail") if m.record and m.record["cause"] == "rectification"]
    assert not [r for r in mails if r["scope"][1]["delivery_id"] == new["delivery_id"]]


def test_a_suspended_recipient_gives_up_what_was_corrected(steady: System) -> None:
    """It gets nothing of the new revision, so it is told that what it holds is over."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    held = steady.delivery(event_id, "mail")
    steady.do("processor", "suspend", "mail", "--reason", "a test")
    try:
        steady.do("subject", "correct", person.who, "--set", "name=Ann", "--reason", "asked", "--yes")
    finally:
        steady.do("processor", "resume", "mail")
    steady.still()
    scopes = [m.record["scope"] for m in steady.lapses("mail") if m.record]
    assert held["delivery_id"] in [scope.get("delivery_id") for _, scope in scopes]
    assert {c["code"] for c in steady.keys("mail").closed(held)} == {"superseded"}


def test_what_names_a_person_cannot_be_corrected(steady: System) -> None:
    """Another address would be another person; the value typed stands in no answer. Nobody is nobody."""
    person = somebody()
    steady.submit(person)
    steady.still()
    wrong = f"email={somebody().email}"
    refused = steady.lapse("subject", "correct", person.who, "--set", wrong, "--reason", "asked", "--yes")
    assert (refused.code, "found by this field" in refused.err) == (2, True), refused.err
    assert wrong not in refused.out + refused.err
    nobody = steady.do(
        "subject", "correct", "email:no@body.example", "--set", "name=X", "--reason", "r", "--yes"
    )
    assert (nobody["corrected"], nobody["left"]) == ([], [])
