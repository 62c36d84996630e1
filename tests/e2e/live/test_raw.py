"""What anybody with a Kafka client may put on intake and control: garbage, ticks, orders nobody signed."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from tests.e2e.live.books import entries
from tests.e2e.live.system import System, allows, somebody
from tests.e2e.live.wire import Record
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

INTAKE = ("intake.form", "intake.email-open", "intake.cookie", "intake.signal")


def form_event(site: str = "www", form: str = "get-in-touch", **other: Any) -> Record:
    """A form as an Avro client of the intake topic writes it."""
    person = somebody()
    event = {
        "event_id": secrets.token_bytes(16),
        "collected_at": time.time_ns() // 1000,
        "site": site,
        "form": form,
        "identifiers": [{"kind": "email", "value": person.email}],
        "fields": {"email": person.email, "name": person.name},
        "consents": [],
    }
    return {**event, **other}


def quarantined(system: System) -> dict[str, Record]:
    """What lies in quarantine, by record id."""
    found = system.kafka("auditor").records("Quarantined", "quarantine")
    return {m.record["record_id"].hex(): m.record for m in found if m.record}


def test_garbage_on_intake_is_quarantined_with_its_code_and_the_worker_lives(steady: System) -> None:
    """Wrong framing, an unknown id, a cut body, another's schema: sealed, coded, and traffic goes on."""
    root = steady.kafka("superuser")
    known, roles = set(quarantined(steady)), steady.roles()
    right = root.schemas.encode("FormSubmitted", form_event())
    wrong = [
        b"",
        b"not framed at all",
        b"\0\0\0\x03\xe7nothing here has this id",
        right[:-9],
        root.schemas.encode("ResidueCounted", {"period": "p", "cells": []}),
        right[:5] + secrets.token_bytes(64),
    ]
    for topic in INTAKE:
        assert root.send(topic, *wrong) == []
    after = steady.submit(somebody())
    steady.still()
    new = [record for number, record in quarantined(steady).items() if number not in known]
    assert len(new) == len(wrong) * len(INTAKE)
    codes = {topic: sorted(r["code"] for r in new if r["topic"] == topic) for topic in INTAKE}
    for topic in INTAKE:
        assert set(codes[topic]) <= {"framing", "schema_unknown", "schema_mismatch", "too_large"}, topic
        assert {"framing", "schema_unknown", "schema_mismatch"} <= set(codes[topic])
    assert all(b"nothing here" not in record["sealed"] for record in new)
    assert steady.ended(after)["outcome"] == "routed"
    assert steady.roles() == roles


def test_quarantined_input_can_be_listed_shown_and_dropped(steady: System) -> None:
    """The list names code and topic; showing needs a reason and is recorded; a dropped one is discarded."""
    root = steady.kafka("superuser")
    known = set(quarantined(steady))
    assert root.send("intake.form", b"somebody's garbage zq7x") == []
    steady.still()
    record_id = next(iter(set(quarantined(steady)) - known))
    row = next(r for r in steady.do("quarantine", "list")["quarantine"] if r["record_id"] == record_id)
    assert (row["topic"], row["code"], row["state"]) == ("intake.form", "framing", "held")
    shown = steady.lapse("quarantine", "show", record_id, "--reason", "looking into it")
    assert shown.code == 0, shown.err
    steady.do("quarantine", "drop", record_id, "--yes")
    steady.still()
    row = next(r for r in steady.do("quarantine", "list")["quarantine"] if r["record_id"] == record_id)
    assert row["state"] != "held"
    assert steady.lapse("quarantine", "show", record_id, "--reason", "again").code in (3, 4)


def test_a_released_bot_is_tagged_under_its_original_time(steady: System) -> None:
    """A person mistaken for a bot is released: the event ends routed, once."""
    person = somebody()
    answer = steady.collector("POST", "/f/request-demo", {"fields": {**person.fields, "website": "http://x"}})
    event_id = answer.json()["event_id"]
    steady.still()
    shown = steady.outcome(event_id)
    assert (shown["outcome"], shown["code"]) == ("quarantined", "bot")
    steady.do("quarantine", "release", shown["record_id"])
    steady.still()
    assert steady.outcome(event_id)["outcome"] == "routed"
    assert steady.keys("crm").open(steady.delivery(event_id))["email"] == person.email


def test_ticks_are_skipped_everywhere(steady: System) -> None:
    """A record with the tick header and no value is nobody's event."""
    root = steady.kafka("superuser")
    known = set(quarantined(steady))
    for topic in (*INTAKE, "control", "records.long", "processor.warehouse", "receipts"):
        assert root.send(topic, None, headers=[("lapse-tick", b"1")]) == []
    event_id = steady.submit(somebody())
    steady.still()
    assert steady.ended(event_id)["outcome"] == "routed"
    assert set(quarantined(steady)) == known


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (form_event(form="no-such-form"), "unknown_form"),
        (form_event(site="no-such-site"), "unknown_source"),
        (form_event(fields={"email": "a@b.example", "shoe_size": "44"}), "unknown_field"),
        (form_event(consents=[{"purpose": "resale", "granted": True, "notice": None}]), "unknown_purpose"),
    ],
)
def test_a_well_formed_event_the_policy_does_not_know_is_discarded(
    steady: System, event: Record, code: str
) -> None:
    """Published straight to Kafka, past the collector's checks, it ends discarded with its code."""
    known = {row["record_id"] for row in entries(steady)}
    steady.kafka("superuser").publish("intake.form", "FormSubmitted", event)
    steady.still()
    new = [row for row in entries(steady) if row["record_id"] not in known]
    assert [(row["outcome"], row["code"]) for row in new] == [("discarded", code)]


def test_a_well_formed_event_from_kafka_is_routed(steady: System) -> None:
    """Any Avro client may publish; the event id leads to the outcome like the collector's."""
    event = form_event()
    steady.kafka("superuser").publish("intake.form", "FormSubmitted", event)
    steady.still()
    assert steady.outcome(event["event_id"].hex())["outcome"] == "routed"


def test_a_consent_for_an_unknown_purpose_is_turned_away(steady: System) -> None:
    """A signal from Kafka that names a purpose nobody has is discarded as unknown_purpose."""
    person = somebody()
    signal: Record = {
        "event_id": secrets.token_bytes(16),
        "collected_at": time.time_ns() // 1000,
        "site": "www",
        "identifiers": [{"kind": "email", "value": person.email}],
        "via": "banner",
        "body": (
            "lapse.v1.ConsentStated",
            {"consents": [{"purpose": "resale", "granted": True, "notice": None}]},
        ),
    }
    steady.kafka("superuser").publish("intake.signal", "SignalReceived", signal)
    steady.still()
    ended = steady.ended(signal["event_id"].hex())
    assert (ended["outcome"], ended["code"]) == ("discarded", "unknown_purpose")
    assert steady.do("subject", "show", person.who)["purposes"] == []


def findings(system: System) -> str:
    """govern's metrics page, where findings are counted."""
    return system.http("GET", system.run["urls"]["metrics"]["govern"]).body.decode()


def test_an_order_nobody_signed_is_refused_with_a_finding(steady: System) -> None:
    """Unsigned, by an unknown key or wrongly signed: mail stays approved, govern counts and goes on."""
    root = steady.kafka("superuser")
    pid = steady.roles()["govern"]
    event_id = steady.submit(somebody(), *allows("marketing_email"))
    steady.still()
    delivery = steady.delivery(event_id, "mail")

    def order(key_id: str, signature: bytes) -> Record:
        named = {"command_id": secrets.token_bytes(16), "ordered_by": "mallory", "approved_by": None}
        at = time.time_ns() // 1000
        said = {"processor": "mail", "reason": "mischief", "recall": False}
        return {**named, "at": at, "key_id": key_id, "signature": signature, **said}

    forged = [order("operator", b""), order("nobody", bytes(64)), order("operator", bytes(64))]
    root.publish("control", "ProcessorSuspended", *forged)
    assert root.send("control", b"garbage", b"\0\0\0\0\x01garbage") == []
    until(
        lambda: all(code in findings(steady) for code in ("unsigned", "unknown_key", "bad_signature")),
        20,
        "findings",
    )
    steady.still()
    assert steady.keys("mail").open(delivery)
    assert steady.roles()["govern"] == pid
    assert steady.do("processor", "approve", "mail")["state"] == "approved"


def test_a_replayed_order_is_refused(steady: System) -> None:
    """The very bytes of an earlier suspension, sent again after the resumption, suspend nobody."""
    steady.do("processor", "suspend", "mail", "--reason", "drill")
    steady.do("processor", "resume", "mail")
    suspensions = steady.kafka("auditor").records("ProcessorSuspended", "control")
    signed = [m.value for m in suspensions if m.record and m.record["reason"] == "drill"]
    assert steady.kafka("superuser").send("control", signed[-1]) == []
    until(lambda: "replayed" in findings(steady), 20, "the replay is counted")
    states = {p["processor"]: p["state"] for p in steady.do("processor", "list")["processors"]}
    assert states["mail"] == "approved"
