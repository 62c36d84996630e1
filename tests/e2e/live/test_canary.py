"""A person's bytes are searched for in broker files, vault, logs, metrics, headers, keys and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.live.system import CLEAR, MARK, Person, System, allows, somebody
from tests.support.live import search_bytes, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PURGED_WITHIN = 75.0
"""Seconds until clear intake is gone from the disk: a segment, a tick, the broker's next check."""
NEEDLE = MARK.encode()


@pytest.fixture(scope="module")
def canary(steady: System) -> Person:
    """Send somebody through every path there is, the refused ones too."""
    person = somebody()
    _accepted(steady, person)
    _refused(steady, person)
    _raw(steady, person)
    _commands(steady, person)
    steady.still()
    return person


def _accepted(steady: System, person: Person) -> None:
    """Form, page view with telling headers, open, signal, bot, duplicate under another content."""
    steady.submit(person, *allows("marketing_email", "mail_insight"))
    telling = {
        "User-Agent": f"agent {MARK}",
        "Referer": f"https://x.example/{MARK}",
        "Cookie": f"id={person.cookie}",
    }
    telling |= {"X-Forwarded-For": f"{MARK}, 203.0.113.9", "Origin": f"https://{MARK}.example"}
    event = {"cookie_id": person.cookie, "name": MARK, "url": f"https://x.example/?q={person.email}",
             "referrer": f"https://y.example/{MARK}", "properties": {"campaign": person.name}}  # fmt: skip
    for granted in (True, False):
        body = {"events": [{**event, "consents": allows("analytics", "targeting", granted=granted)}]}
        assert steady.collector("POST", "/e", body, telling).status == 204
    steady.still()
    token = steady.do("token", "mint", "--site", "www", "--days", "3", "--for", person.who)["token"]
    steady.http("GET", steady.url("collector", f"/o/{token}.gif?u={person.email}"), None, telling)
    steady.state(person, *allows("targeting", granted=False))
    assert (
        steady.collector("POST", "/f/request-demo", {"fields": {**person.fields, "website": MARK}}).status
        == 202
    )
    for content in (person.fields, {**person.fields, "name": f"other {MARK}"}):
        steady.form("request-demo", {"event_id": "ca" * 16, "fields": content}, server=True)


def _refused(steady: System, person: Person) -> None:
    """Bodies, names, addresses and headers the collector and the key endpoint refuse."""
    for body in (
        json.dumps({"fields": person.fields}).encode()[:-5],
        {"fields": {person.email: "x"}},
        {"fields": {}, "consents": [{"purpose": person.email, "granted": True}]},
        {"fields": {**person.fields, "message": person.email * 4000}},
        {"fields": {}, "collected_at": person.email},
    ):
        assert 400 <= steady.collector("POST", "/f/request-demo", body).status < 500
    for path in (f"/f/{MARK}", f"/{MARK}", f"/u/{MARK}", f"/e?x={person.email}", f"/o/{MARK}.gif"):
        steady.collector("POST", path, {"events": MARK})
    steady.collector("POST", "/f/request-demo", {"fields": {}}, {"X-Lapse-Site-Key": person.email})
    steady.collector("POST", "/f/request-demo", {"fields": {}}, {"Authorization": f"Bearer {MARK}"})
    steady.collector("POST", "/f/request-demo", {"fields": person.fields}, {"Idempotency-Key": person.email})
    keys = steady.keys("crm")
    assert (
        keys.post("/v1/keys", json.dumps({"deliveries": [{"delivery_id": person.email}]}).encode())[0] == 400
    )
    keys.post("/v1/receipts", json.dumps({"receipts": [{"about": person.email, "outcome": MARK}]}).encode())
    assert steady.admin(f"/v1/events/{MARK}").status == 400
    assert steady.admin(f"/v1/plans/{MARK}").status in (400, 404)


def _raw(steady: System, person: Person) -> None:
    """Garbage straight onto intake: it lies in quarantine, sealed."""
    root = steady.kafka("superuser")
    for topic in ("intake.form", "intake.cookie", "intake.email-open", "intake.signal"):
        assert root.send(topic, b"\0\0\0\0\x01" + person.email.encode(), person.name.encode()) == []


def _commands(steady: System, person: Person) -> None:
    """Verbs that fail with somebody's data in their arguments, a hold, and an erasure."""
    for verb in (
        ("subject", "show", person.email),
        ("subject", "export", person.email),
        ("subject", "restrict", person.who, "--purpose", MARK, "--reason", "case"),
        ("consent", "grant", person.who, MARK),
        ("records", "show", "--event", MARK),
        ("processor", "suspend", MARK),
    ):
        done = steady.lapse(*verb)
        assert done.code in (2, 4)
        assert MARK not in done.out + done.err
    hold = steady.do("hold", "place", person.who, "--purpose", "answer_request", "--reason", "case")[
        "hold_id"
    ]
    body = {"type": "RightsRequested", "right": "access"}
    asked = {"identifiers": [{"kind": "email", "value": person.email}], "via": "form", "body": body}
    assert steady.collector("POST", "/s", asked).status == 202
    shown = steady.lapse("subject", "export", person.who, "--proven", "answered from that address")
    assert person.message in shown.out, shown.err
    steady.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    assert person.email in steady.lapse("hold", "open", hold, "--reason", "case").out


def test_no_clear_byte_lies_in_any_file(steady: System, canary: Person) -> None:
    """Within a minute no file of broker, vault, spool, logs or keys holds anybody's value."""
    last: dict[Path, int] = {}

    def clean() -> bool:
        last.clear()
        last.update(search_bytes([NEEDLE, *canary.values], [steady.data]))
        for path in [path for path in last if any(part.startswith(CLEAR) for part in path.parts)]:
            del last[path]
        return not last

    try:
        until(clean, PURGED_WITHIN, "no file holds a clear byte")
    except AssertionError:
        raise AssertionError({str(path.relative_to(steady.data)): n for path, n in last.items()}) from None
    assert len([path for path in steady.data.rglob("*") if path.is_file()]) > 50


def test_no_clear_byte_lies_on_any_topic(steady: System, canary: Person) -> None:
    """Values, keys and headers of every topic, decompressed, hold nobody's value but `plain.*`."""
    root, examined = steady.kafka("superuser"), 0
    for topic in steady.run["topics"]:
        if topic.startswith(CLEAR):
            continue
        for message in root.read(topic):
            examined += 1
            parts = [message.value or b"", message.key or b"", *(v or b"" for _, v in message.headers)]
            for part in parts:
                assert not [value for value in (NEEDLE, *canary.values) if value in part], message.topic
    assert examined > 40


def test_the_search_would_have_found_it(steady: System, canary: Person) -> None:
    """The same search does find the mark on the clear topic, where clear records are meant to be."""
    assert canary.email
    found = search_bytes([NEEDLE, b"country"], [Path(each) for each in steady.run["broker"]["log_dirs"]])
    assert any(CLEAR in str(path) for path in found)


def test_no_metrics_page_and_no_output_names_anybody(steady: System, canary: Person) -> None:
    """Nor do the metrics of any role, or what `lapse up` printed."""
    for role, url in steady.run["urls"]["metrics"].items():
        page = steady.http("GET", url).body
        assert page
        assert not [value for value in (NEEDLE, *canary.values) if value in page], role
    printed = (steady.data.parent / f"{steady.data.name}.up.log").read_bytes()
    assert NEEDLE not in printed
