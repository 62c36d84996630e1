"""What people may ask for, on the running system: see it, take it along, have it kept and not used."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.e2e.live.system import System, allows, somebody

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_person_sees_everything_that_is_held_of_them(steady: System, tmp_path: Path) -> None:
    """Two forms and nobody else's, in a file for them alone; that they were opened stands on `decisions`."""
    person, other = somebody(), somebody()
    ids = [steady.submit(person, *allows("marketing_email")), steady.submit(person, form="get-in-touch")]
    steady.submit(other)
    steady.still()
    out, page = tmp_path / "answer.json", tmp_path / "answer.html"
    said = steady.do("subject", "export", person.who, "--out", str(out), "--html", str(page))
    assert said["records"] == 2
    assert person.email not in json.dumps(said)
    answer = json.loads(out.read_text())
    assert {row["record_id"] for row in answer["records"]} == {
        steady.outcome(event)["record_id"] for event in ids
    }
    values = {each["value"] for row in answer["records"] for each in row["fields"]}
    assert values >= set(person.fields.values())
    assert other.email not in out.read_text()
    assert {each["processor"] for each in answer["recipients"]} >= {"crm", "mail"}
    assert person.message in page.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, page)] == [0o600, 0o600]
    auditor = steady.kafka("auditor")
    revealed = [m.record for m in auditor.records("FieldsRevealed", "decisions") if m.record]
    (mine,) = [r for r in revealed if r["root"] and r["root"].hex() == answer["proof"]["root"]]
    assert (mine["records"], mine["request_id"].hex()) == (2, answer["request_id"])
    trail = steady.do("request", "show", answer["request_id"])["trail"]
    assert [step["what"] for step in trail if step["what"] != "opened"] == ["ordered", "decided"]


def test_an_answer_for_somebody_erased_is_that_for_a_stranger(steady: System) -> None:
    """Exit 0 and nothing held, for both."""
    person, stranger = somebody(), somebody()
    steady.submit(person)
    steady.still()
    steady.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    gone, nobody = (steady.do("subject", "export", each.who) for each in (person, stranger))
    for each in (gone, nobody):
        for name in ("request_id", "asked_as", "made_at", "proof"):
            each.pop(name)
    assert gone == nobody


def test_what_is_restricted_opens_for_nobody_but_the_person_until_it_is_lifted(steady: System) -> None:
    """The key endpoint says `restricted` when the verb returns, and gives keys again after it was lifted."""
    person = somebody()
    event = steady.submit(person, *allows("marketing_email"))
    steady.still()
    delivery = steady.delivery(event, "mail")
    done = steady.do("subject", "restrict", person.who, "--reason", "contested")
    assert {"crm", "mail"} <= set(done["inform"])
    assert {c["code"] for c in steady.keys("mail").closed(delivery)} == {"restricted"}
    taken = steady.do("subject", "export", person.who, "--portable")
    assert person.email in json.dumps(taken)
    unsure = steady.lapse("subject", "unrestrict", person.who, "--reason", "shown to be right")
    assert unsure.code == 3
    steady.do("subject", "unrestrict", person.who, "--reason", "shown to be right", "--yes")
    assert steady.keys("mail").open(delivery)["email"] == person.email


def test_a_right_the_policy_does_not_name_is_refused(steady: System) -> None:
    """This policy promises no objection: exit 3, and nothing ends."""
    person = somebody()
    refused = steady.lapse("subject", "object", person.who, "--reason", "asked")
    assert (refused.code, refused.error()["code"]) == (3, "right_not_named")


def test_who_asks_at_the_collector_is_answered_by_the_request(steady: System) -> None:
    """The 202 names the request; it waits with its date, is answered by id alone, and then waits no more."""
    person = somebody()
    steady.submit(person)
    body = {"type": "RightsRequested", "right": "access"}
    identifiers = [{"kind": "email", "value": person.email}]
    asked = steady.collector("POST", "/s", {"identifiers": identifiers, "via": "form", "body": body})
    assert asked.status == 202, asked.body
    request = asked.json()["request_id"]
    steady.still()
    (row,) = [r for r in steady.do("request", "list")["requests"] if r["request_id"] == request]
    assert (row["right"], row["state"], row["overdue"]) == ("access", "received", False)
    answer = steady.do("subject", "export", "--request", request)
    assert person.email in json.dumps(answer["records"])
    assert request not in str(steady.do("request", "list"))
    steps = [step["what"] for step in steady.do("request", "show", request)["trail"]]
    assert {"received", "ordered", "decided", "opened", "answered"} <= set(steps)
    again = steady.lapse("subject", "export", "--request", request)
    assert (again.code, again.error()["code"]) == (3, "conflict")
