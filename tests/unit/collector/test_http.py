"""Every malformed body and header class has its one clear answer, and none of them quotes the request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from lapse.collector import Limits
from lapse.collector import protocol as protocol_module
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from tests.unit.collector.harness import KEY, POLICY, SERVER, Running, problem, running, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "canary-7f3a"
JSON = "application/json"
FORM = f"/f/request-demo?k={KEY}"
BEACON = f"/e?k={KEY}"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def part(disposition: str, body: str = "x") -> bytes:
    """One part of a multipart body with boundary `b`, and its end."""
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n{body}\r\n--b--\r\n".encode()


BODIES = [
    ("no JSON", FORM, JSON, b"{", 400, "malformed", None),
    ("empty JSON", FORM, JSON, b"", 400, "malformed", None),
    ("not UTF-8", FORM, JSON, b'{"fields":{"email":"\xff"}}', 400, "malformed", None),
    ("byte order mark", FORM, JSON, b"\xef\xbb\xbf{}", 400, "malformed", None),
    ("trailing text", FORM, JSON, b"{} {}", 400, "malformed", None),
    ("NaN", FORM, JSON, b'{"fields":NaN}', 400, "malformed", None),
    ("half a surrogate", FORM, JSON, rb'{"fields":{"email":"\ud800"}}', 400, "malformed", None),
    ("nested without end", FORM, JSON, b"[" * 60_000, 400, "malformed", None),
    ("a list", FORM, JSON, b"[]", 422, "bad_argument", None),
    ("a number", FORM, JSON, b"1", 422, "bad_argument", None),
    ("fields a list", FORM, JSON, b'{"fields":[]}', 422, "bad_argument", "/fields"),
    ("field a number", FORM, JSON, b'{"fields":{"email":1}}', 422, "bad_argument", "/fields/email"),
    ("unknown member", FORM, JSON, b'{"other":1}', 422, "unknown_field", "/other"),
    ("unknown field", FORM, JSON, b'{"fields":{"shoe":"x"}}', 422, "unknown_field", "/fields/shoe"),
    (
        "an address as a field name is not repeated",
        FORM,
        JSON,
        b'{"fields":{"canary-7f3a@example.org":"x"}}',
        422,
        "unknown_field",
        "/fields",
    ),
    (
        "unknown purpose",
        FORM,
        JSON,
        b'{"fields":{},"consents":[{"purpose":"canary-7f3a","granted":true}]}',
        422,
        "unknown_purpose",
        "/consents/0/purpose",
    ),
    (
        "consent without a word",
        FORM,
        JSON,
        b'{"consents":[{"purpose":"marketing_email"}]}',
        422,
        "bad_argument",
        "/consents/0/granted",
    ),
    (
        "consent in words",
        FORM,
        JSON,
        b'{"consents":[{"purpose":"marketing_email","granted":"on"}]}',
        422,
        "bad_argument",
        "/consents/0/granted",
    ),
    ("consents an object", FORM, JSON, b'{"consents":{}}', 422, "bad_argument", "/consents"),
    ("signal in prose", FORM, JSON, b'{"signals":["Canary 7f3a"]}', 422, "bad_argument", "/signals/0"),
    (
        "browser picks the id",
        FORM,
        JSON,
        b'{"event_id":"' + b"0" * 32 + b'"}',
        401,
        "unauthorized",
        "/event_id",
    ),
    (
        "browser picks the time",
        FORM,
        JSON,
        b'{"collected_at":"2026-01-01T00:00:00Z"}',
        401,
        "unauthorized",
        "/collected_at",
    ),
    ("event id too short", FORM, JSON, b'{"event_id":"00"}', 422, "bad_argument", "/event_id"),
    (
        "a time without offset",
        FORM,
        JSON,
        b'{"collected_at":"2026-01-01T00:00:00"}',
        422,
        "bad_argument",
        "/collected_at",
    ),
    (
        "a time before the first year",
        BEACON,
        JSON,
        b'{"events":[{"name":"x","url":"/","collected_at":"0001-01-01T00:00:00+14:00"}]}',
        422,
        "bad_argument",
        "/events/0/collected_at",
    ),
    (
        "a time after the last year",
        BEACON,
        JSON,
        b'{"events":[{"name":"x","url":"/","collected_at":253402300800000000}]}',
        422,
        "bad_argument",
        "/events/0/collected_at",
    ),
    (
        "consent neither on nor off",
        FORM,
        URLENCODED,
        b"consent.marketing_email=maybe",
        422,
        "bad_argument",
        "/consent.marketing_email",
    ),
    (
        "consent of unknown purpose",
        FORM,
        URLENCODED,
        b"consent.canary=on",
        422,
        "unknown_purpose",
        "/consents/0/purpose",
    ),
    ("unknown urlencoded field", FORM, URLENCODED, b"shoe=canary-7f3a", 422, "unknown_field", "/fields/shoe"),
    ("urlencoded not UTF-8", FORM, URLENCODED, b"email=%ff", 400, "malformed", None),
    (
        "multipart without end",
        FORM,
        MULTIPART,
        b"--b\r\nContent-Disposition: form-data",
        400,
        "malformed",
        None,
    ),
    ("multipart, empty", FORM, MULTIPART, b"", 400, "malformed", None),
    ("multipart, no such boundary", FORM, MULTIPART, b"--c\r\n\r\n", 400, "malformed", None),
    ("a part without name", FORM, MULTIPART, part("form-data"), 400, "malformed", None),
    (
        "a part that is no form data",
        FORM,
        MULTIPART,
        part('attachment; name="email"'),
        400,
        "malformed",
        None,
    ),
    (
        "a file",
        FORM,
        MULTIPART,
        part('form-data; name="cv"; filename="canary-7f3a.pdf"'),
        415,
        "media_type",
        None,
    ),
    ("a nameless file", FORM, MULTIPART, part('form-data; name="cv"; filename=""'), 415, "media_type", None),
    (
        "a file in UTF-8",
        FORM,
        MULTIPART,
        part("form-data; name=cv; filename*=utf-8''x"),
        415,
        "media_type",
        None,
    ),
    ("no boundary", FORM, "multipart/form-data", b"x", 400, "malformed", None),
    ("another media type", FORM, "text/xml", b"<x/>", 415, "media_type", None),
    ("no media type", FORM, "", b"{}", 415, "media_type", None),
    ("text for a form", FORM, "text/plain", b"{}", 415, "media_type", None),
    ("another charset", FORM, "application/json; charset=latin-1", b"{}", 415, "media_type", None),
    (
        "events missing a name",
        BEACON,
        JSON,
        b'{"events":[{"url":"/"}]}',
        422,
        "bad_argument",
        "/events/0/name",
    ),
    (
        "events missing an address",
        BEACON,
        JSON,
        b'{"events":[{"name":"x"}]}',
        422,
        "bad_argument",
        "/events/0/url",
    ),
    ("events an object", BEACON, JSON, b'{"events":{}}', 422, "bad_argument", "/events"),
    ("event a text", BEACON, JSON, b'{"events":["x"]}', 422, "bad_argument", "/events/0"),
    ("unknown event member", BEACON, JSON, b'{"events":[{"hue":1}]}', 422, "unknown_field", "/events/0/hue"),
    (
        "unknown property",
        BEACON,
        JSON,
        b'{"events":[{"name":"x","url":"/","properties":{"hue":"canary-7f3a"}}]}',
        422,
        "unknown_field",
        "/events/0/properties/hue",
    ),
    (
        "unknown purpose in an event",
        BEACON,
        "text/plain",
        b'{"events":[{"name":"x","url":"/","consents":[{"purpose":"x","granted":true}]}]}',
        422,
        "unknown_purpose",
        "/events/0/consents/0/purpose",
    ),
    (
        "another site's event",
        BEACON,
        JSON,
        b'{"events":[{"name":"x","url":"/","site":"shop"}]}',
        401,
        "unauthorized",
        "/events/0/site",
    ),
    (
        "51 events",
        BEACON,
        JSON,
        b'{"events":[' + b",".join([b'{"name":"x","url":"/"}'] * 51) + b"]}",
        413,
        "too_large",
        "/events",
    ),
    ("a signal about nobody", f"/s?k={KEY}", JSON, b'{"consents":[]}', 422, "bad_argument", "/identifiers"),
    (
        "an empty identifier",
        f"/s?k={KEY}",
        JSON,
        b'{"identifiers":[{"kind":"email","value":" "}]}',
        422,
        "bad_argument",
        "/identifiers/0/value",
    ),
    (
        "an unknown identifier",
        f"/s?k={KEY}",
        JSON,
        b'{"identifiers":[{"kind":"canary-7f3a","value":"x"}]}',
        422,
        "bad_argument",
        "/identifiers/0/kind",
    ),
    (
        "a signal that says nothing",
        f"/c?k={KEY}",
        JSON,
        b'{"cookie_id":"c"}',
        422,
        "bad_argument",
        "/consents",
    ),
    (
        "a signal of an unknown kind",
        f"/s?k={KEY}",
        JSON,
        b'{"cookie_id":"c","body":{"type":"ProcessorNotified"}}',
        422,
        "bad_argument",
        "/body/type",
    ),
    (
        "a body and consents",
        f"/s?k={KEY}",
        JSON,
        b'{"cookie_id":"c","body":{"type":"ConsentStated"},"consents":[]}',
        422,
        "bad_argument",
        "/consents",
    ),
    (
        "a consent of an unknown purpose in a body",
        f"/s?k={KEY}",
        JSON,
        b'{"cookie_id":"c","body":{"type":"ConsentStated","consents":[{"purpose":"x","granted":true}]}}',
        422,
        "unknown_purpose",
        "/body/consents/0/purpose",
    ),
    ("shown in words", FORM, JSON, b'{"rendered_at":"yesterday"}', 422, "bad_argument", "/rendered_at"),
    (
        "an operator's signal",
        f"/s?k={KEY}",
        JSON,
        b'{"cookie_id":"c","via":"operator","consents":[{"purpose":"analytics","granted":true}]}',
        422,
        "bad_argument",
        "/via",
    ),
]


@pytest.mark.parametrize(
    ("path", "media", "body", "status", "code", "pointer"),
    [row[1:] for row in BODIES],
    ids=[row[0] for row in BODIES],
)
async def test_a_bad_body_has_its_answer(
    edge: Running, path: str, media: str, body: bytes, status: int, code: str, pointer: str | None
) -> None:
    """Status, code and pointer are as promised, nothing is published, and no value comes back."""
    headers = {"content-type": media} if media else {}
    response = await edge.http.post(path, content=body, headers=headers)
    assert problem(response, status, code).get("pointer") == pointer
    assert CANARY not in response.text
    assert edge.sent == []


HEADERS: list[tuple[str, str, dict[str, str], int, str]] = [
    ("no credential", "/f/request-demo", {}, 401, "unauthorized"),
    ("wrong key", "/f/request-demo?k=nope", {}, 401, "unauthorized"),
    ("wrong key header", "/f/request-demo", {"x-lapse-site-key": "nope"}, 401, "unauthorized"),
    ("wrong token beats a right key", FORM, {"authorization": "Bearer st_www_x"}, 401, "unauthorized"),
    ("no bearer", FORM, {"authorization": "Basic eDp5"}, 401, "unauthorized"),
    ("an empty bearer", FORM, {"authorization": "Bearer"}, 401, "unauthorized"),
    ("a compressed body", FORM, {"content-encoding": "gzip"}, 415, "media_type"),
    ("an endless key", FORM, {"idempotency-key": "x" * 257}, 400, "malformed"),
    ("an empty key", FORM, {"idempotency-key": ""}, 400, "malformed"),
    ("an unknown form", f"/f/nope?k={KEY}", {}, 404, "unknown_form"),
    ("a form with a path", f"/f/request-demo/x?k={KEY}", {}, 404, "unknown_form"),
    ("no form", "/f/", {}, 404, "not_found"),
    ("nowhere", "/nowhere", {}, 404, "not_found"),
    ("the root", "/", {}, 404, "not_found"),
    ("a query that is not UTF-8", "/f/request-demo?k=%ff", {}, 400, "malformed"),
    (
        "a query without end",
        "/f/request-demo?" + "&".join(f"a{n}=1" for n in range(30)),
        {},
        400,
        "malformed",
    ),
]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
async def test_a_bad_request_has_its_answer(
    edge: Running, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Credentials, addresses and headers that will not do are refused before the body matters."""
    problem(await edge.http.post(path, json={"fields": {}}, headers=headers), status, code)
    assert edge.sent == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/f/request-demo", "OPTIONS, POST"),
        ("DELETE", "/e", "OPTIONS, POST"),
        ("PUT", "/s", "OPTIONS, POST"),
        ("POST", "/healthz", "OPTIONS, GET"),
        ("POST", "/o/x.gif", "OPTIONS"),
        ("OPTIONS", "/healthz", "OPTIONS, GET"),
    ],
)
async def test_another_method_is_refused(edge: Running, method: str, path: str, allow: str) -> None:
    """405 says which methods there are (RFC 9110, 15.5.6)."""
    response = await edge.http.request(method, path)
    problem(response, 405, "bad_method")
    assert response.headers["allow"] == allow


def request(path: str, *lines: str, body: bytes = b"") -> bytes:
    """The bytes of a POST with exactly these header lines."""
    head = [f"POST {path} HTTP/1.1", "Host: x", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


GARBAGE: list[tuple[str, bytes, int]] = [
    ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    ("no method", b"/ HTTP/1.1\r\n\r\n", 400),
    ("HTTP 9", b"GET / HTTP/9.9\r\n\r\n", 400),
    ("a header without colon", request(FORM, "Content-Length 2"), 400),
    ("a space before the colon", request(FORM, "Content-Length : 2", body=b"{}"), 400),
    ("a line break in a header", request(FORM, "X: a\rb"), 400),
    ("a zero byte in a header", request(FORM, "X: a\0b"), 400),
    ("a length in words", request(FORM, "Content-Length: two"), 400),
    ("a negative length", request(FORM, "Content-Length: -1"), 400),
    ("two lengths", request(FORM, "Content-Length: 2", "Content-Length: 3", body=b"{}"), 400),
    (
        "a length and chunks",
        request(FORM, "Content-Length: 2", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    (
        "a chunk without size",
        request(
            FORM,
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            body=b"zz\r\n{}\r\n0\r\n\r\n",
        ),
        400,
    ),
    ("headers without end", request(FORM, *[f"X-{n}: {'x' * 900}" for n in range(60)]), 431),
    ("no length at all", request(FORM, "Content-Type: application/json", "Connection: close"), 411),
    (
        "two media types",
        request(
            FORM,
            "Content-Type: application/json",
            "Content-Type: text/plain",
            "Content-Length: 2",
            "Connection: close",
            body=b"{}",
        ),
        400,
    ),
    (
        "two tokens",
        request(
            FORM,
            "Authorization: Bearer a",
            "Authorization: Bearer b",
            "Content-Length: 0",
            "Connection: close",
        ),
        400,
    ),
    (
        "a length over the limit, before any body",
        request(FORM, "Content-Type: application/json", "Content-Length: 65537", "Connection: close"),
        413,
    ),
    (
        "a length nobody has",
        request(FORM, "Content-Type: application/json", f"Content-Length: {10**17}", "Connection: close"),
        413,
    ),
    (
        "a chunked body over the limit",
        request(
            FORM,
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            "Connection: close",
            body=b"10001\r\n" + b" " * 0x10001 + b"\r\n",
        ),
        413,
    ),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in GARBAGE], ids=[row[0] for row in GARBAGE])
async def test_garbage_on_the_wire_gets_a_problem_document(edge: Running, data: bytes, status: int) -> None:
    """What is not HTTP, or HTTP against its rules, is answered in the same shape, and the connection ends."""
    answer = await edge.raw(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["status"] == status
    assert edge.sent == []


async def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    """408 when nothing comes for the idle limit, and the connection is closed."""
    quick = settings(tmp_path, Limits(body_idle_seconds=0.1, body_seconds=5))
    async with running(tmp_path, with_settings=quick) as edge:
        answer = await edge.raw(
            request(FORM, "Content-Type: application/json", "Content-Length: 20", body=b"{")
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer


async def test_a_body_that_drips_is_given_up(tmp_path: Path) -> None:
    """408 when a body takes too long as a whole, however steadily it drips."""
    quick = settings(tmp_path, Limits(body_idle_seconds=5, body_seconds=0.2))
    async with running(tmp_path, with_settings=quick) as edge:
        drips = [(0.05, b" ")] * 10
        head = request(FORM, "Content-Type: application/json", "Content-Length: 20")
        assert (await edge.raw(head, pauses=drips)).startswith(b"HTTP/1.1 408 ")


async def test_the_stock_limits_answer_within_thirty_seconds() -> None:
    """The promise is 408 within 30 s."""
    assert Limits().body_idle_seconds <= Limits().body_seconds < 30


async def test_headers_that_stall_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never finishes its headers is answered 408; a silent one is closed."""
    monkeypatch.setattr(protocol_module, "HEADER_SECONDS", 0.1)
    async with running(tmp_path) as edge:
        assert (await edge.raw(b"POST / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 ")
        assert await edge.raw(b"") == b""


async def test_an_endless_body_does_not_keep_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an early answer the rest of a body is read for a moment, then the connection ends."""
    monkeypatch.setattr(protocol_module, "LINGER_SECONDS", 0.1)
    async with running(tmp_path) as edge:
        head = request(FORM, "Content-Type: application/json", "Content-Length: 999999")
        answer = await asyncio.wait_for(edge.raw(head + b" " * 1000), 5)
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_cut_short_publishes_nothing(edge: Running) -> None:
    """A client that hangs up in the middle of its body has sent nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
    writer.write(request(FORM, "Content-Type: application/json", "Content-Length: 50", body=b'{"fields"'))
    await writer.drain()
    writer.close()
    assert await reader.read() == b""
    assert edge.sent == []


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
async def test_the_limit_is_exact(edge: Running, size: int) -> None:
    """64 KiB are taken, one byte more is not."""
    text = b'{"fields":{}}'
    response = await edge.http.post(FORM, content=text.ljust(size), headers={"content-type": JSON})
    assert response.status_code == (202 if size == 64 * 1024 else 413)


@pytest.mark.parametrize("media", ["json", "urlencoded", "multipart"])
async def test_more_than_200_fields_are_too_many(edge: Running, media: str) -> None:
    """The 201st field is answered 413 whatever the media type."""
    names = {f"f{n}": "x" for n in range(201)}
    if media == "json":
        response = await edge.http.post(FORM, json={"fields": names})
    elif media == "urlencoded":
        response = await edge.http.post(FORM, data=names)
    else:
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nx\r\n' for name in names
        )
        body = f"{parts}--b--\r\n".encode()
        response = await edge.http.post(FORM, content=body, headers={"content-type": MULTIPART})
    problem(response, 413, "too_large")


async def test_pipelined_requests_are_answered_in_order(edge: Running) -> None:
    """Two requests in one packet get two answers, in order."""
    one = request(FORM, "Content-Type: application/json", "Content-Length: 13", body=b'{"fields":{}}')
    two = request(FORM, "Content-Type: application/json", "Content-Length: 1", "Connection: close", body=b"{")
    answer = await edge.raw(one + two)
    assert answer.index(b"HTTP/1.1 202 ") < answer.index(b"HTTP/1.1 400 ")
    assert len(edge.sent) == 1


async def test_expect_100_is_answered(edge: Running) -> None:
    """A client that asks before it sends its body is told to go on, or refused at once."""
    head = request(
        FORM,
        "Content-Type: application/json",
        "Content-Length: 13",
        "Expect: 100-continue",
        "Connection: close",
    )
    answer = await edge.raw(head, pauses=[(0.05, b'{"fields":{}}')])
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 202 " in answer


async def test_an_unforeseen_error_says_nothing_of_the_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours is 500 without details, and the log has class and place, not the text."""

    async def explode(edge: Running) -> None:
        def broken() -> None:
            raise RuntimeError(CANARY)

        edge.collector.edge.now = broken  # type: ignore[assignment]  # a clock that breaks

    async with running(tmp_path) as edge:
        await explode(edge)
        response = await edge.http.post(FORM, json={"fields": {}})
        assert response.status_code == 500
        assert CANARY not in response.text
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text


async def test_a_server_may_say_when_and_which(edge: Running) -> None:
    """A bearer token may name the event and its time, far past and far future alike."""
    for when in ("1999-01-01T00:00:00Z", "2099-01-01T00:00:00+02:00"):
        response = await edge.http.post(
            "/f/request-demo",
            headers=SERVER,
            json={"event_id": "ab" * 16, "collected_at": when, "fields": {"email": "a@example.org"}},
        )
        assert response.status_code == 202
        assert response.json() == {"event_id": "ab" * 16, "stored": "kafka"}
    times = [record.collected_at for record in edge.records()]  # type: ignore[attr-defined]  # forms
    assert times == [915_148_800_000_000, 4_070_901_600_000_000]


async def test_a_site_of_a_later_policy_is_let_in_and_a_dropped_one_turned_away(tmp_path: Path) -> None:
    """Publishing a version with other sites needs no restart of the collector."""
    text = POLICY.read_text()
    shop = text.replace("version: 1\n", "version: 2\n").replace("  www:\n", "  shop:\n")
    later = compile_plan(load(shop, where="later"))
    async with running(tmp_path) as up:
        body = {"fields": {"email": "jo@example.org"}}
        first = await up.http.post("/f/request-demo", params={"k": "sk_shop_browser"}, json=body)
        problem(first, 401, "unauthorized")
        up.plans[0] = Plans([later])
        then = await up.http.post("/f/request-demo", params={"k": "sk_shop_browser"}, json=body)
        assert then.status_code == 202
        problem(await up.http.post("/f/request-demo", params={"k": KEY}, json=body), 401, "unauthorized")
        assert up.records()[-1].site == "shop"  # type: ignore[attr-defined]
