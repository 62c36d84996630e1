"""What a form becomes, by JSON, by a plain HTML form, by a server and by a bot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from lapse.collector import Limits
from lapse.collector.edge import wall_clock
from schemas.models import ConsentStatement, FormSubmitted, Identifier
from tests.unit.collector.harness import KEY, ORIGIN, SERVER, Running, problem, running, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = "/f/request-demo"
SITE = {"k": KEY}


def only_form(edge: Running) -> FormSubmitted:
    """The one form that was published."""
    (record,) = edge.records()
    assert isinstance(record, FormSubmitted)
    return record


async def test_a_json_form_is_published_whole(edge: Running) -> None:
    """Fields, identifiers by the policy, consents, notice and signals arrive as they were sent."""
    before = wall_clock()
    response = await edge.form(
        fields={"email": " Jo@Example.org ", "phone": "+49 30 1", "name": "Jo", "message": None},
        consents=[{"purpose": "marketing_email", "granted": True}],
        notice="v7",
        signals=["gpc"],
    )
    assert response.status_code == 202
    record = only_form(edge)
    assert response.json() == {"event_id": record.event_id.hex(), "stored": "kafka"}
    assert before <= record.collected_at <= wall_clock()
    assert (record.site, record.form, record.notice, record.signals) == ("www", "request-demo", "v7", ["gpc"])
    assert record.fields == {"email": " Jo@Example.org ", "phone": "+49 30 1", "name": "Jo"}
    assert record.identifiers == [
        Identifier(kind="email", value="Jo@Example.org"),
        Identifier(kind="phone", value="+49 30 1"),
    ]
    assert record.consents == [ConsentStatement(purpose="marketing_email", granted=True, notice="v7")]


async def test_the_message_to_kafka_says_nothing_of_the_person(edge: Running) -> None:
    """Topic, CloudEvents headers and no key: the site and the event's id and time, nothing else."""
    await edge.form(fields={"email": "canary@example.org"})
    (sent,) = edge.sent
    headers = dict(sent.headers)
    assert sent.topic == "intake.form"
    assert headers["ce_id"] == sent.event_id.hex().encode()
    assert headers["ce_source"] == b"/sites/www"
    assert headers["ce_type"] == b"lapse.v1.FormSubmitted"
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_time"].endswith(b"Z")
    assert "canary" not in repr(sent.headers)
    assert "canary" not in repr(sent)


async def test_the_headers_are_a_cloudevent(edge: Running) -> None:
    """CloudEvents' own package reads id, source, type, time and media type from the binary mode headers."""
    await edge.form()
    (sent,) = edge.sent
    message = KafkaMessage(headers=dict(sent.headers), key=None, value=sent.value)
    event = from_binary(message, JSONFormat())
    record = only_form(edge)
    assert (event.get_id(), event.get_source()) == (record.event_id.hex(), "/sites/www")
    assert (event.get_type(), event.get_specversion()) == ("lapse.v1.FormSubmitted", "1.0")
    assert event.get_datacontenttype() == "application/avro"
    at = event.get_time()
    assert at is not None
    assert round(at.timestamp() * 1_000_000) == record.collected_at
    assert event.get_data() == sent.value


async def test_a_missing_notice_is_the_policys(edge: Running) -> None:
    """The notice the policy shows beside the form stands in."""
    await edge.form()
    assert only_form(edge).notice == "demo-1"


@pytest.mark.parametrize("media", ["urlencoded", "multipart"])
async def test_a_plain_form_carries_the_same_names(edge: Running, media: str) -> None:
    """Both HTML encodings say fields, consents, notice and signals by name; the last consent counts."""
    pairs = [
        ("email", "jo@example.org"),
        ("fields.name", "Jo Ä"),
        ("consent.marketing_email", "off"),
        ("consent.marketing_email", "on"),
        ("consent.mail_insight", "off"),
        ("notice", "v7"),
        ("signals", "gpc"),
    ]
    if media == "urlencoded":
        headers = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}
        body = urlencode(pairs).encode()
    else:
        headers = {"content-type": 'multipart/form-data; boundary="b"'}
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in pairs
        )
        empty = '--b\r\nContent-Disposition: form-data; name="cv"; filename=""\r\n\r\n\r\n'
        body = f"{parts}{empty}--b--\r\n".encode()
    response = await edge.http.post(FORM, params=SITE, content=body, headers=headers)
    assert response.status_code == 202, response.text
    record = only_form(edge)
    assert record.fields == {"email": "jo@example.org", "name": "Jo Ä"}
    assert record.notice == "v7"
    assert record.signals == ["gpc"]
    assert [(each.purpose, each.granted) for each in record.consents] == [
        ("marketing_email", True),
        ("mail_insight", False),
    ]


async def test_a_choice_of_many_is_one_field(edge: Running) -> None:
    """A name sent several times is joined."""
    body = b"email=jo@example.org&country=DE&country=FR"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    await edge.http.post(FORM, params=SITE, content=body, headers=headers)
    assert only_form(edge).fields["country"] == "DE, FR"


@pytest.mark.parametrize(
    ("headers", "location"),
    [
        ({"accept": "text/html,*/*", "origin": ORIGIN}, f"{ORIGIN}/thanks"),
        ({"sec-fetch-mode": "navigate", "origin": "null"}, "http://localhost:3000/thanks"),
        ({"accept": "*/*", "origin": ORIGIN}, None),
    ],
)
async def test_a_browser_that_navigates_goes_to_the_page(
    edge: Running, headers: dict[str, str], location: str | None
) -> None:
    """303 to the configured page of the site for a plain HTML post; scripts get 202."""
    response = await edge.http.post(FORM, params=SITE, data={"email": "a@example.org"}, headers=headers)
    assert response.status_code == (303 if location else 202)
    assert response.headers.get("location") == location
    assert len(edge.sent) == 1


async def test_an_idempotency_key_gives_one_id(edge: Running) -> None:
    """The same key is the same event of this form and site; a hidden nonce does the same."""
    key = {"idempotency-key": "order-1"}
    first = await edge.http.post(FORM, params=SITE, json={"fields": {"name": "a"}}, headers=key)
    again = await edge.http.post(FORM, params=SITE, json={"fields": {"name": "b"}}, headers=key)
    other = await edge.http.post("/f/get-in-touch", params=SITE, json={"fields": {}}, headers=key)
    nonce = await edge.http.post(FORM, params=SITE, data={"nonce": "order-1"})
    without = await edge.http.post(FORM, params=SITE, json={"fields": {}})
    ids = [each.json()["event_id"] for each in (first, again, other, nonce, without)]
    assert ids[0] == ids[1] == ids[3]
    assert len(set(ids)) == 3


async def test_a_filled_honeypot_marks_a_bot(edge: Running) -> None:
    """The answer is 202 as for anyone; the event says why it is suspect and does not carry the bait."""
    response = await edge.form(fields={"email": "b@example.org", "website": "http://spam"})
    assert response.status_code == 202
    record = only_form(edge)
    assert record.signals == ["bot:honeypot"]
    assert "website" not in record.fields


@pytest.mark.parametrize(
    ("seconds", "unit", "marked"), [(0.2, 1000, True), (30, 1, False), (30, 1000, False), (-60, 1000, False)]
)
async def test_a_form_filled_too_fast_marks_a_bot(
    edge: Running, seconds: float, unit: int, marked: bool
) -> None:
    """Seconds and milliseconds since the page was shown both do; a clock that is ahead proves nothing."""
    shown = round((wall_clock() / 1_000_000 - seconds) * unit)
    assert (await edge.form(rendered_at=shown)).status_code == 202
    assert only_form(edge).signals == (["bot:too_fast"] if marked else [])


@pytest.mark.parametrize(
    ("headers", "signals"),
    [({"sec-gpc": "1"}, ["gpc"]), ({"dnt": "1"}, ["gpc", "dnt"]), ({"sec-gpc": "0", "dnt": "0"}, [])],
)
async def test_what_the_browser_says_becomes_a_signal(
    edge: Running, headers: dict[str, str], signals: list[str]
) -> None:
    """Global Privacy Control, and Do Not Track alike."""
    await edge.http.post(FORM, params=SITE, json={"fields": {}, "signals": ["gpc"][:0]}, headers=headers)
    assert only_form(edge).signals == signals


async def test_the_site_key_may_stand_in_a_header(edge: Running) -> None:
    """Browsers name their site by header or address."""
    response = await edge.http.post(FORM, json={"fields": {}}, headers={"x-lapse-site-key": KEY})
    assert response.status_code == 202


async def test_backfill_is_for_servers(edge: Running) -> None:
    """Old data needs a server's word."""
    body = {"fields": {}, "backfill": True}
    problem(await edge.http.post(FORM, params=SITE, json=body), 401, "unauthorized")
    assert (await edge.http.post(FORM, json=body, headers=SERVER)).status_code == 202
    assert only_form(edge).backfill


# ---- CORS --------------------------------------------------------------------------------------------------
async def test_an_allowed_origin_may_ask_and_read(edge: Running) -> None:
    """The preflight and the answer name exactly the origin; errors are readable too."""
    preflight = await edge.http.options(
        FORM, headers={"origin": ORIGIN, "access-control-request-method": "POST"}
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    for path, status in ((f"{FORM}?k={KEY}", 202), (f"/f/nope?k={KEY}", 404)):
        answer = await edge.http.post(path, json={"fields": {}}, headers={"origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://www.demo.example.evil.example",
        "http://www.demo.example",
        f"{ORIGIN}:444",
    ],
)
async def test_any_other_origin_may_not_read(edge: Running, origin: str) -> None:
    """The allow-list is exact: nothing that merely looks like it gets the header."""
    preflight = await edge.http.options(
        FORM, headers={"origin": origin, "access-control-request-method": "POST"}
    )
    answer = await edge.http.post(FORM, params=SITE, json={"fields": {}}, headers={"origin": origin})
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers


# ---- rates -------------------------------------------------------------------------------------------------
async def test_a_flood_from_one_network_is_slowed(tmp_path: Path) -> None:
    """429 with Retry-After for one address prefix and form; other forms, other networks and servers go on."""
    slow = settings(tmp_path, Limits(form_rate=0.01, form_burst=3))
    slow = replace(slow, trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with running(tmp_path, with_settings=slow) as edge:
        statuses = []
        for n in range(4):
            statuses.append(
                await edge.http.post(
                    FORM, params=SITE, json={"fields": {}}, headers={"x-forwarded-for": f"203.0.113.{n}"}
                )
            )
        assert [each.status_code for each in statuses] == [202, 202, 202, 429]
        problem(statuses[3], 429, "rate_limited")
        assert int(statuses[3].headers["retry-after"]) >= 1
        elsewhere = {"x-forwarded-for": "198.51.100.7"}
        assert (
            await edge.http.post(FORM, params=SITE, json={"fields": {}}, headers=elsewhere)
        ).status_code == 202
        assert (await edge.http.post("/f/get-in-touch", params=SITE, json={"fields": {}})).status_code == 202
        for _ in range(5):
            assert (await edge.http.post(FORM, json={"fields": {}}, headers=SERVER)).status_code == 202
