"""Bad input over HTTP and on the command line: each gets its clear answer, and none of it gets further."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.e2e.live.system import MARK, System, allows, somebody
from tests.support.live import Answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LONG_AGO = (dt.datetime.now(dt.UTC) - dt.timedelta(days=90)).isoformat()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def problem(answer: Answer, status: int, code: str | None = None) -> str:
    """The code of a problem document; everything INTERFACE.md promises of it holds."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status
    assert said["title"]
    assert said["type"].startswith("urn:lapse:error:")
    found = str(said["type"].removeprefix("urn:lapse:error:"))
    assert code in (None, found)
    return found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed"),
        (b"[]", 422, None),
        (b'{"fields": {"email": "\xff"}}', 400, "malformed"),
        (b'{"fields": {"email": 7}}', 422, None),
        (b'{"fields": {"shoe_size": "44"}}', 422, "unknown_field"),
        (b'{"fields": {}, "consents": [{"purpose": "resale", "granted": true}]}', 422, "unknown_purpose"),
        (b'{"fields": {}, "unheard_of": 1}', 422, None),
        (b'{"fields": {}, "event_id": "00112233445566778899aabbccddeeff"}', 401, "unauthorized"),
        (b'{"fields": {}, "collected_at": "1999-01-01T00:00:00Z"}', 401, "unauthorized"),
        (json.dumps({"fields": {"message": "x" * 70_000}}).encode(), 413, "too_large"),
        (json.dumps({"fields": {f"f{n}": "x" for n in range(201)}}).encode(), 413, "too_large"),
    ],
)
def test_a_malformed_form_gets_its_status(steady: System, body: bytes, status: int, code: str | None) -> None:
    """400 malformed, 401 for what only servers may say, 413 too large, 422 unknown to the policy."""
    problem(steady.collector("POST", "/f/request-demo", body, JSON), status, code)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/f/no-such-form", b'{"fields": {}}', JSON, 404),
        ("/nowhere", b"{}", JSON, 404),
        ("/f/request-demo", b"<xml/>", {"Content-Type": "application/xml"}, 415),
        ("/f/request-demo", b"consent.marketing_email=maybe", FORM, 422),
        ("/f/request-demo", b"shoe_size=44", FORM, 422),
        ("/e", b'{"events": [{"name": "x"}]}', JSON, 422),
        ("/e", b'{"events": 3}', JSON, 422),
        ("/e", json.dumps({"events": [{"name": "x", "url": "https://x.example"}] * 51}).encode(), JSON, 413),
        (
            "/e",
            b'{"events": [{"name": "x", "url": "https://x.example", "properties": {"shoe": "44"}}]}',
            JSON,
            422,
        ),
        ("/c", b'{"consents": [{"purpose": "analytics", "granted": true}]}', JSON, 422),
        ("/c", b'{"identifiers": [{"kind": "shoe", "value": "44"}], "consents": []}', JSON, 422),
        ("/c", b'{"cookie_id": "x", "consents": [{"purpose": "resale", "granted": true}]}', JSON, 422),
        ("/u/forged", b"List-Unsubscribe=One-Click", FORM, 404),
    ],
)
def test_a_malformed_request_gets_its_status(
    steady: System, path: str, body: bytes, headers: Mapping[str, str], status: int
) -> None:
    """Unknown addresses and forms are 404, a foreign media type 415, what the policy does not know 422."""
    problem(steady.collector("POST", path, body, headers), status)


def test_a_missing_or_wrong_credential_is_401(steady: System) -> None:
    """No site key, a wrong one, a wrong bearer token, a processor's token: all 401 with a challenge."""
    url, body = steady.url("collector", "/f/request-demo"), {"fields": somebody().fields}
    crm = {"Authorization": f"Bearer {steady.keys('crm').token}"}
    for headers in ({}, {"X-Lapse-Site-Key": "sk_www_x"}, {"Authorization": "Bearer st_www_x"}, crm):
        answer = steady.http("POST", url, body, headers)
        problem(answer, 401, "unauthorized")
        assert "bearer" in answer.headers["www-authenticate"].lower()


def test_a_method_an_address_does_not_take_is_405(steady: System) -> None:
    """The answer names the methods it takes."""
    answer = steady.collector("DELETE", "/f/request-demo")
    problem(answer, 405, "bad_method")
    assert "POST" in answer.headers["allow"]


def test_a_body_that_stalls_is_408_within_half_a_minute(steady: System) -> None:
    """A client that sends half a body and waits gets 408, and others are served meanwhile."""
    where = urlsplit(steady.url("collector", ""))
    assert where.hostname is not None
    assert where.port is not None
    head = f"POST /f/request-demo HTTP/1.1\r\nHost: x\r\nX-Lapse-Site-Key: {steady.site_key()}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection((where.hostname, where.port), timeout=40) as stalled:
        stalled.sendall(head.encode())
        started = time.monotonic()
        assert steady.collector("GET", "/healthz").status == 200
        answer = stalled.recv(4096)
        assert time.monotonic() - started < 32
    assert b" 408 " in answer.split(b"\r\n")[0]


def test_a_body_without_a_length_is_411(steady: System) -> None:
    """A body must say how long it is."""
    where = urlsplit(steady.url("collector", ""))
    assert where.hostname is not None
    assert where.port is not None
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        head = f"POST /f/request-demo HTTP/1.1\r\nHost: x\r\nX-Lapse-Site-Key: {steady.site_key()}\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n")
        assert b" 411 " in connection.recv(4096).split(b"\r\n")[0]


def test_forms_are_taken_in_all_three_media_types(steady: System) -> None:
    """urlencoded and multipart carry the same names as JSON, consents as consent.<purpose>=on|off."""
    person = somebody()
    pairs = {
        "email": person.email,
        "name": person.name,
        "consent.marketing_email": "on",
        "notice": "steady-1",
    }
    boundary = "----lapse"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in pairs.items()
    ]
    multipart = ("".join(parts) + f"--{boundary}--\r\n").encode()
    plain = "&".join(f"{n}={v.replace('@', '%40').replace(' ', '+')}" for n, v in pairs.items()).encode()
    bodies = [(plain, FORM), (multipart, {"Content-Type": f"multipart/form-data; boundary={boundary}"})]
    ids = []
    for body, headers in bodies:
        answer = steady.collector("POST", "/f/newsletter", body, headers)
        assert answer.status == 202, answer.body
        ids.append(answer.json()["event_id"])
    assert [steady.ended(each)["outcome"] for each in ids] == ["routed", "routed"]


def test_what_is_odd_is_taken_and_its_outcome_is_in_the_log(steady: System) -> None:
    """Conflicting ids, times of 1999 and 2099 and bots get 202; the log says what became of them."""
    person, other = somebody(), somebody()
    mine = "c0" * 16
    assert steady.submit(person, server=True, event_id=mine) == mine
    steady.still()
    assert steady.submit(other, server=True, event_id=mine) == mine
    old = steady.submit(somebody(), server=True, collected_at="1999-01-01T00:00:00Z")
    before = steady.submit(somebody(), server=True, collected_at="1999-01-01T00:00:00Z", backfill=True)
    late = steady.submit(somebody(), server=True, collected_at=LONG_AGO, backfill=True)
    future = steady.submit(somebody(), server=True, collected_at="2099-01-01T00:00:00Z")
    bot = steady.collector("POST", "/f/request-demo", {"fields": {**somebody().fields, "website": "x"}})
    fast = {"fields": somebody().fields, "rendered_at": int(time.time() * 1000)}
    quick = steady.collector("POST", "/f/request-demo", fast)
    steady.still()
    ended = {
        e: steady.ended(e)
        for e in (mine, old, before, late, future, bot.json()["event_id"], quick.json()["event_id"])
    }
    assert [(e["outcome"], e["code"]) for e in ended.values()] == [
        ("routed", None),
        ("quarantined", "too_old"),
        ("discarded", "no_basis"),
        ("discarded", "lapsed"),
        ("routed", "clock_future"),
        ("quarantined", "bot"),
        ("quarantined", "bot"),
    ]
    assert steady.keys("crm").open(steady.delivery(mine))["email"] == person.email


def test_a_too_early_grant_is_due_from_the_time_it_arrived(steady: System) -> None:
    """A form dated 2099 is held from its arrival: no grant outlives today's retention."""
    event_id = steady.submit(somebody(), server=True, collected_at="2099-01-01T00:00:00Z")
    steady.still()
    now = time.time()
    for grant in steady.delivery(event_id)["grants"]:
        assert grant["period"] * 600 <= now


@pytest.mark.parametrize(
    ("verb", "exit_code", "code"),
    [
        (("processor", "suspend", "nobody"), 4, None),
        (("processor", "onboard", "nobody"), 4, None),
        (("records", "show", "--event", "00" * 16), 4, "not_found"),
        (("records", "show", "--event", "xyz"), 2, "bad_id"),
        (("records", "show"), 2, "usage"),
        (("bucket", "list", "--state", "ajar"), 2, "usage"),
        (("policy", "show", "--version", "99"), 4, None),
        (("policy", "check", "/nowhere.yaml"), 4, "no_file"),
        (("clock", "advance", "PT1H", "--confirm"), 3, "not_manual"),
        (("token", "mint", "--site", "nowhere", "--days", "1"), 4, "unknown_site"),
        (
            ("hold", "place", "email:a@b.example", "--purpose", "resale", "--reason", "x"),
            4,
            "unknown_purpose",
        ),
        (("quarantine", "drop", "00" * 16, "--yes"), 4, "not_found"),
        (("no-such-verb",), 2, "usage"),
    ],
)
def test_a_verb_that_fails_says_so_in_one_shape(
    steady: System, verb: tuple[str, ...], exit_code: int, code: str | None
) -> None:
    """The exit code is the documented one; with `-o json` stderr holds {error: {code, what, where, do}}."""
    done = steady.lapse(*verb)
    assert done.code == exit_code, done.err
    error = done.error()
    assert {"code", "what", "where", "do"} <= set(error)
    assert code in (None, error["code"])
    assert done.out == ""


def test_no_answer_repeats_a_value(steady: System) -> None:
    """Problem documents and errors of commands name code and place; what was sent does not come back."""
    person = somebody()
    for body in (
        {"fields": {"email": [person.email]}},
        {"fields": {"email": person.email}, "notice": {MARK: 1}},
        {"fields": {}, "consents": [{"purpose": "resale", "granted": person.email}]},
        {"fields": {}, "event_id": person.email},
        {"fields": {}, "signals": person.email},
    ):
        answer = steady.collector("POST", "/f/request-demo", body)
        assert answer.status == 422 or answer.status == 401
        assert person.email.encode() not in answer.body
    for verb in (
        ("subject", "show", f"shoe:{person.email}"),
        ("records", "show", "--event", person.email),
        ("consent", "grant", person.who, person.email),
        ("hold", "open", person.email, "--reason", "x"),
    ):
        done = steady.lapse(*verb)
        assert done.code in (2, 4)
        assert person.email not in done.out + done.err
    assert allows("x")
