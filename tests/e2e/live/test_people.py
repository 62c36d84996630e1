"""What people decide: consent withdrawn and given again, being forgotten, and coming back as somebody new."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.e2e.live.system import System, allows, somebody
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_withdrawal_in_the_preference_centre_closes_one_purpose_alone(steady: System) -> None:
    """After POST /c what only that purpose justified closes; the other purpose still opens (12)."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    shown = steady.outcome(event_id)
    delivered = steady.deliveries(shown, "mail")[0]
    assert delivered.record is not None
    assert steady.keys("mail").open(delivered.record)
    said = steady.state(person, *allows("marketing_email", granted=False))
    steady.still()
    closed = steady.keys("mail").closed(delivered.record)
    assert {c["code"] for c in closed} <= {"withdrawn", "no_consent"}
    assert {c["cause"] for c in closed} == {"withdrawal"}
    assert steady.keys("crm").open(steady.delivery(event_id)).items() >= person.fields.items()
    lapses = [
        m for m in steady.lapses("mail") if m.partition == delivered.partition and m.offset > delivered.offset
    ]
    mine = [
        m.record
        for m in lapses
        if m.record
        and m.record["scope"][0].endswith("Subject")
        and m.record["scope"][1]["subject_ref"] == delivered.record["subject_ref"]
    ]
    assert [(r["cause"], r["scope"][1]["purposes"]) for r in mine] == [("withdrawal", ["marketing_email"])]
    assert steady.ended(said)["outcome"] == "kept_in_vault"


def test_a_withdrawal_on_the_phone_is_in_force_when_the_command_returns(steady: System) -> None:
    """`consent withdraw` closes at once; a later grant opens new data and never the old."""
    person = somebody()
    old = steady.submit(person, *allows("marketing_email"))
    steady.still()
    delivery = steady.delivery(old, "mail")
    steady.do("consent", "withdraw", person.who, "marketing_email")
    steady.keys("mail").closed(delivery)
    silent = steady.submit(person, form="newsletter")
    steady.do("consent", "grant", person.who, "marketing_email")
    fresh = steady.submit(person, form="newsletter")
    steady.still()
    assert steady.ended(silent)["outcome"] == "discarded"
    assert steady.ended(silent)["code"] in ("withdrawn", "no_consent")
    assert steady.ended(fresh)["outcome"] == "routed"
    steady.keys("mail").closed(delivery)
    assert steady.keys("mail").open(steady.delivery(fresh, "mail"))["email"] == person.email


def test_an_earlier_grant_covers_a_form_that_states_nothing(steady: System) -> None:
    """Consent on record admits a later form in silence; without one the form is turned away."""
    person, stranger = somebody(), somebody()
    steady.submit(person, *allows("marketing_email"), form="newsletter")
    steady.still()
    covered, turned = steady.submit(person, form="newsletter"), steady.submit(stranger, form="newsletter")
    assert steady.ended(covered)["outcome"] == "routed"
    ended = steady.ended(turned)
    assert (ended["outcome"], ended["code"]) == ("discarded", "no_consent")


def test_a_click_in_a_mail_unsubscribes(steady: System) -> None:
    """RFC 8058's one click withdraws what mail is sent for; a GET of the link changes nothing."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    token = steady.do("token", "mint", "--site", "www", "--days", "7", "--for", person.who)["token"]
    delivery = steady.delivery(event_id, "mail")
    assert steady.http("GET", steady.url("collector", f"/u/{token}")).status == 200
    steady.still()
    assert steady.keys("mail").open(delivery)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(2):
        answer = steady.http(
            "POST", steady.url("collector", f"/u/{token}"), b"List-Unsubscribe=One-Click", form
        )
        assert answer.status == 200
    steady.still()
    steady.keys("mail").closed(delivery)


def test_an_erasure_closes_everything_and_tells_everybody(steady: System) -> None:
    """Erased, a person opens nowhere, each processor told gets a lapse, and the law's purpose alone stays."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    shown = steady.outcome(event_id)
    erased = steady.do("subject", "erase", person.who, "--reason", "asked by mail", "--yes")
    assert set(erased) == {"request_id"}
    for name in ("crm", "mail", "warehouse"):
        delivered = steady.deliveries(shown, name)[0]
        assert delivered.record is not None
        steady.keys(name).closed(delivered.record)
        behind = [
            m.record
            for m in steady.lapses(name)
            if m.record and m.partition == delivered.partition and m.offset > delivered.offset
        ]
        causes = {
            purpose
            for lapse in behind
            if lapse["cause"] == "erasure"
            and lapse["scope"][1].get("subject_ref") == delivered.record["subject_ref"]
            for purpose in lapse["scope"][1]["purposes"]
        }
        assert causes >= {grant["purpose"] for grant in delivered.record["grants"]}
    after = steady.outcome(event_id)
    assert (after["outcome"], after["record_id"]) == ("routed", shown["record_id"])


def test_erasing_somebody_nobody_knows_looks_the_same(steady: System) -> None:
    """The answer has the same shape for a stranger, and `subject show` shows the same nothing for both."""
    known, stranger = somebody(), somebody()
    steady.submit(known)
    steady.still()
    answers = [steady.do("subject", "erase", p.who, "--reason", "asked", "--yes") for p in (known, stranger)]
    assert [set(answer) for answer in answers] == [{"request_id"}] * 2
    shapes = [set(steady.do("subject", "show", p.who)) for p in (known, stranger)]
    assert shapes[0] == shapes[1]


def test_erased_and_unknown_deliveries_are_answered_alike(steady: System) -> None:
    """The key endpoint's answer for an erased person is the one for a delivery it never saw."""
    person = somebody()
    event_id = steady.submit(person, form="get-in-touch")
    steady.still()
    delivery = steady.delivery(event_id)
    steady.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    made_up = {**delivery, "grants": [{**g, "handle": bytes(16)} for g in delivery["grants"]]}
    erased, unknown = steady.keys("crm").closed(delivery), steady.keys("crm").closed(made_up)
    assert erased == unknown
    assert {closed["since"] for closed in erased} == {None}


def test_what_was_collected_before_an_erasure_never_returns(steady: System) -> None:
    """A form of before that arrives late is discarded as erased; nothing new is held of the person (7)."""
    person = somebody()
    steady.submit(person)
    steady.still()
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=20)
    steady.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    late = steady.submit(person, *allows("marketing_email"), server=True, collected_at=before.isoformat())
    ended = steady.ended(late)
    assert (ended["outcome"], ended["code"]) == ("discarded", "erased")


def test_nothing_returns_within_the_clamp_for_wrong_clocks(steady: System) -> None:
    """For five minutes after an erasure a form of the same person is still taken for one of before."""
    person = somebody()
    steady.submit(person, form="get-in-touch")
    steady.still()
    steady.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    early = steady.submit(person, form="get-in-touch")
    assert steady.ended(early)["code"] == "erased"


def test_consent_for_an_unknown_purpose_and_malformed_people_are_refused(steady: System) -> None:
    """The command line says 4 for a purpose the policy lacks, 2 for an identifier that is none."""
    person = somebody()
    unknown = steady.lapse("consent", "grant", person.who, "resale")
    assert (unknown.code, unknown.error()["code"]) == (4, "unknown_purpose")
    for verb in (("subject", "show", "ann"), ("consent", "grant", "shoe:44", "marketing_email")):
        done = steady.lapse(*verb)
        assert (done.code, done.error()["code"]) == (2, "bad_identifier")
    assert person.email not in unknown.out + unknown.err


def test_suspension_and_resumption_are_in_force_when_the_command_returns(steady: System) -> None:
    """Suspended, `mail` opens and is granted nothing, yet hears of lapses; resumed, it opens again (16)."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email"))
    steady.still()
    delivery = steady.delivery(event_id, "mail")
    steady.do("processor", "suspend", "mail", "--reason", "audit")
    try:
        assert {c["code"] for c in steady.keys("mail").closed(delivery)} == {"suspended"}
        assert steady.keys("crm").open(steady.delivery(event_id))
        while_away = steady.submit(person, *allows("marketing_email"))
        steady.still()
        verdicts = {v["processor"]: v for v in steady.outcome(while_away)["verdicts"]}
        assert verdicts["mail"]["grants"] == []
        assert {r["code"] for r in verdicts["mail"]["refusals"]} >= {"suspended"}
        told = len(steady.lapses("mail"))
        gone = somebody()
        steady.do("consent", "withdraw", person.who, "marketing_email")
        until(
            lambda: len(steady.lapses("mail")) > told, 20, "the suspended processor hears of the withdrawal"
        )
        assert steady.do("subject", "show", gone.who)["purposes"] == []
        states = {p["processor"]: p["state"] for p in steady.do("processor", "list")["processors"]}
        assert states["mail"] == "suspended"
    finally:
        steady.do("processor", "resume", "mail")
    again = somebody()
    after = steady.submit(again, *allows("marketing_email"))
    steady.still()
    assert steady.keys("mail").open(steady.delivery(after, "mail"))["email"] == again.email
