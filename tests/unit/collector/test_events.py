"""What browser events and signals become, and what a dry run foresees."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from schemas.ids import Micros
from schemas.models import (
    AnchorReached,
    ConsentStated,
    ConsentStatement,
    CookieObserved,
    Identifier,
    RightsRequested,
    SignalReceived,
)
from schemas.plan import Plans, PolicyPlan
from tests.unit.collector.harness import KEY, ORIGIN, SERVER, Running, problem, token

pytestmark = pytest.mark.asyncio(loop_scope="module")
SITE = {"k": KEY}
EVENT = {"name": "page_view", "url": "https://www.demo.example/a"}


async def test_a_beacon_is_answered_without_a_word(edge: Running) -> None:
    """A browser's sendBeacon is text/plain and gets 204; agent and address come from the connection."""
    body = msgspec.json.encode({"events": [{**EVENT, "cookie_id": "c1", "properties": {"campaign": "x"}}]})
    headers = {
        "content-type": "text/plain;charset=UTF-8",
        "user-agent": "UA",
        "sec-gpc": "1",
        "origin": ORIGIN,
    }
    response = await edge.http.post("/e", params=SITE, content=body, headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    (record,) = edge.records()
    assert isinstance(record, CookieObserved)
    assert (record.ip, record.user_agent, record.cookie_id) == ("127.0.0.1", "UA", "c1")
    assert (record.name, record.url) == (EVENT["name"], EVENT["url"])
    assert record.properties == {"campaign": "x"}
    assert record.signals == ["gpc"]
    assert edge.sent[0].topic == "intake.cookie"


async def test_ids_are_told_when_asked_for(edge: Running) -> None:
    """`?ids=1` answers 202 with the ids, in order; ids of the publisher's own are kept."""
    mine = "ab" * 16
    events = [{**EVENT, "event_id": mine}, EVENT]
    response = await edge.http.post("/e?ids=1", headers=SERVER, json={"events": events})
    assert response.status_code == 202
    ids = response.json()["event_ids"]
    assert ids[0] == mine
    assert ids == [each.event_id.hex() for each in edge.sent]


async def test_a_server_speaks_for_a_browser_elsewhere(edge: Running) -> None:
    """Its own address and agent are not recorded; the ones it names are."""
    events = [
        EVENT,
        {**EVENT, "ip": "203.0.113.9", "user_agent": "UA", "collected_at": 1_700_000_000_000_000},
    ]
    await edge.http.post("/e", headers=SERVER, json={"events": events})
    first, second = edge.records()
    assert isinstance(first, CookieObserved)
    assert isinstance(second, CookieObserved)
    assert (first.ip, first.user_agent) == (None, None)
    assert (second.ip, second.user_agent, second.collected_at) == ("203.0.113.9", "UA", 1_700_000_000_000_000)


async def test_no_events_are_no_error(edge: Running) -> None:
    """An empty batch is taken and publishes nothing."""
    assert (await edge.http.post("/e", params=SITE, json={"events": []})).status_code == 204
    assert edge.sent == []


# ---- signals -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "path"), [("POST", "/s"), ("POST", "/c"), ("PUT", "/c")])
async def test_a_banner_states_consent(edge: Running, method: str, path: str) -> None:
    """A cookie's holder accepts one purpose and rejects another."""
    consents = [{"purpose": "analytics", "granted": True}, {"purpose": "targeting", "granted": False}]
    body = {"cookie_id": "c1", "consents": consents, "notice": "v7"}
    response = await edge.http.request(method, path, params=SITE, json=body)
    assert response.status_code == 202
    (record,) = edge.records()
    assert isinstance(record, SignalReceived)
    assert response.json() == {"event_id": record.event_id.hex(), "stored": "kafka"}
    assert record.via == "banner"
    assert record.identifiers == [Identifier(kind="cookie", value="c1")]
    assert record.body == ConsentStated(
        consents=[
            ConsentStatement(purpose="analytics", granted=True, notice="v7"),
            ConsentStatement(purpose="targeting", granted=False, notice="v7"),
        ]
    )
    assert edge.sent[0].topic == "intake.signal"


async def test_a_server_says_that_an_anchor_is_reached(edge: Running) -> None:
    """Retention that runs from an event needs to hear of it; a browser may not say so."""
    body = {
        "identifiers": [{"kind": "account", "value": "42"}],
        "via": "form",
        "body": {"type": "AnchorReached", "anchor": "account_closed", "reached_at": "2026-01-01T00:00:00Z"},
    }
    problem(await edge.http.post("/s", params=SITE, json=body), 401, "unauthorized")
    assert (await edge.http.post("/s", headers=SERVER, json=body)).status_code == 202
    (record,) = edge.records()
    assert isinstance(record, SignalReceived)
    assert record.body == AnchorReached(anchor="account_closed", reached_at=1_767_225_600_000_000)  # type: ignore[arg-type]  # Micros


async def test_an_anchor_has_a_name_of_the_list(edge: Running) -> None:
    """Another one is refused where it stands."""
    body = {"type": "AnchorReached", "anchor": "birthday", "reached_at": "2026-01-01T00:00:00Z"}
    document = {"identifiers": [{"kind": "account", "value": "42"}], "body": body}
    answer = await edge.http.post("/s", headers=SERVER, json=document)
    assert problem(answer, 422, "bad_argument")["pointer"] == "/body/anchor"


def asks(right: str, **more: object) -> dict[str, object]:
    """Somebody asks for one of their rights."""
    body = {"type": "RightsRequested", "right": right, **more}
    return {"identifiers": [{"kind": "email", "value": "ann@example.com"}], "via": "form", "body": body}


async def test_a_person_asks_for_a_right_and_learns_under_which_id(edge: Running) -> None:
    """The request's id follows from the event's, so that sending it twice asks once."""
    again = {**asks("restriction", purposes=["marketing_email"]), "event_id": "07" * 16}
    answers = [(await edge.http.post("/s", headers=SERVER, json=again)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    record = edge.records()[0]
    assert isinstance(record, SignalReceived)
    assert isinstance(record.body, RightsRequested)
    assert record.body.request_id.hex() == answers[0]["request_id"] != answers[0]["event_id"]
    assert (record.body.right, record.body.purposes) == ("restriction", ["marketing_email"])
    other = (await edge.http.post("/s", params=SITE, json=asks("access"))).json()
    assert other["request_id"] != answers[0]["request_id"]


@pytest.mark.parametrize(
    ("document", "code", "pointer"),
    [
        (asks("rectification"), "right_not_named", "/body/right"),
        (asks("everything"), "right_not_named", "/body/right"),
        (asks("access", purposes=["nothing"]), "unknown_purpose", "/body/purposes/0"),
        (asks("access", until="2026-01-01"), "unknown_field", "/body/until"),
    ],
)
async def test_a_right_nobody_promised_is_not_taken(
    edge: Running, document: dict[str, object], code: str, pointer: str
) -> None:
    """Neither one the policy does not name, nor a purpose it does not have."""
    answer = await edge.http.post("/s", params=SITE, json=document)
    assert problem(answer, 422, code)["pointer"] == pointer


ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.mark.parametrize("days", [7, -30])
@pytest.mark.parametrize("multipart", [False, True])
async def test_one_click_unsubscribes(edge: Running, days: int, multipart: bool) -> None:
    """RFC 8058: no redirect, no cookie, no credential; mail's purposes are withdrawn; old links work."""
    message_id = b"m" * 16
    path = f"/u/{token(days, message_id)}"
    if multipart:
        response = await edge.http.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    else:
        response = await edge.http.post(path, data=ONE_CLICK)
    assert response.status_code == 200
    assert "set-cookie" not in response.headers
    (record,) = edge.records()
    assert isinstance(record, SignalReceived)
    assert (record.via, record.site) == ("unsubscribe", "www")
    assert record.identifiers == [Identifier(kind="token", value=message_id.hex())]
    assert isinstance(record.body, ConsentStated)
    assert [(each.purpose, each.granted) for each in record.body.consents] == [("marketing_email", False)]


async def test_looking_at_the_link_changes_nothing(edge: Running) -> None:
    """GET shows a page with the button: scanners fetch links."""
    response = await edge.http.get(f"/u/{token()}")
    assert response.status_code == 200
    assert "method=post" in response.text
    assert edge.sent == []


async def test_a_forged_link_or_another_body_does_nothing(edge: Running) -> None:
    """A link no mail carries is not found; a POST without the one-click word is refused."""
    problem(await edge.http.post(f"/u/{'A' * 48}", data=ONE_CLICK), 404, "token_invalid")
    problem(await edge.http.post(f"/u/{token()}", data={"x": "y"}), 422, "bad_argument")
    assert edge.sent == []


# ---- dry run -----------------------------------------------------------------------------------------------
async def test_a_dry_run_says_what_would_happen(edge: Running) -> None:
    """Purposes, fields, processors, until when and why not; nothing is published and no value comes back."""
    body = {
        "fields": {"email": "canary-7f3a@example.org", "country": "DE"},
        "consents": [{"purpose": "marketing_email", "granted": True}],
    }
    response = await edge.http.post("/f/request-demo?dry_run=1", params=SITE | {"dry_run": "1"}, json=body)
    assert response.status_code == 200
    assert "canary" not in response.text
    found = response.json()
    purposes = {each["purpose"]: each for each in found["purposes"]}
    processors = {each["processor"]: each for each in found["processors"]}
    assert found["dry_run"] is True
    assert found["outcome"] == "routed"
    assert purposes["marketing_email"]["held"] is True
    assert purposes["marketing_email"]["fields"] == ["country", "email"]
    assert purposes["tax_records"]["fields"] == ["email"]
    assert purposes["tax_records"]["until"] > purposes["marketing_email"]["until"]
    mail = processors["mail"]
    assert [(each["purpose"], each["fields"]) for each in mail["grants"]] == [("marketing_email", ["email"])]
    assert {"purpose": "tax_records", "code": "not_granted"} in mail["refused"]
    assert edge.sent == []


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "no_consent"),
        ({"consents": [{"purpose": "marketing_email", "granted": False}]}, "withdrawn"),
        ({"consents": [{"purpose": "marketing_email", "granted": True}], "signals": ["gpc"]}, "gpc"),
    ],
)
async def test_a_dry_run_says_why_not(edge: Running, members: dict[str, object], code: str) -> None:
    """A purpose that is not held names its reason, and no processor gets anything for it."""
    body = {"fields": {"email": "a@example.org"}, **members}
    found = (await edge.http.post("/f/request-demo", params=SITE | {"dry_run": "1"}, json=body)).json()
    purposes = {each["purpose"]: each for each in found["purposes"]}
    assert (purposes["marketing_email"]["held"], purposes["marketing_email"]["code"]) == (False, code)
    granted = [grant["purpose"] for each in found["processors"] for grant in each["grants"]]
    assert "marketing_email" not in granted
    assert "answer_request" in granted


async def test_a_dry_run_of_old_data_and_of_bots(edge: Running) -> None:
    """What is past every retention would be discarded; what looks like a bot's, quarantined."""
    old = {"fields": {"email": "a@example.org"}, "collected_at": "2020-01-01T00:00:00Z"}
    found = (await edge.http.post("/f/get-in-touch?dry_run=1", headers=SERVER, json=old)).json()
    assert (found["outcome"], found["not_kept"]) == ("discarded", ["email"])
    bot = {"fields": {"email": "a@example.org", "website": "x"}}
    found = (await edge.http.post("/f/get-in-touch?dry_run=1", headers=SERVER, json=bot)).json()
    assert (found["outcome"], found["code"]) == ("quarantined", "bot")


async def test_a_dry_run_of_browser_events(edge: Running) -> None:
    """Each event of a batch is foreseen by itself."""
    granted = {**EVENT, "cookie_id": "c", "consents": [{"purpose": "analytics", "granted": True}]}
    response = await edge.http.post("/e", params=SITE | {"dry_run": "1"}, json={"events": [EVENT, granted]})
    first, second = response.json()["events"]
    assert [each["purpose"] for each in first["purposes"] if each["held"]] == ["site_security"]
    assert [each["purpose"] for each in second["purposes"] if each["held"]] == ["site_security", "analytics"]
    assert edge.sent == []


def changed(plan: PolicyPlan, **changes: object) -> Plans:
    """The demo's plan with some members replaced."""
    return Plans([replace(plan, **changes)])  # type: ignore[arg-type]  # as PolicyPlan has them


async def test_what_the_policy_leaves_out_is_refused(edge: Running) -> None:
    """No browser events, nothing to unsubscribe from, a servers' form, another site's, no policy."""
    (plans,) = edge.plans
    plan = plans.latest
    form = plan.sources["form/request-demo"]
    email = {"fields": {"email": "a@example.org"}}

    async def with_form(**members: object) -> int:
        one = replace(form, **members)  # type: ignore[arg-type]  # as SourcePlan has them
        edge.plans[0] = changed(plan, sources=plan.sources | {"form/request-demo": one})
        return (await edge.http.post("/f/request-demo", params=SITE, json=email)).status_code

    try:
        edge.plans[0] = changed(plan, sources={})
        problem(await edge.http.post("/e", params=SITE, json={"events": []}), 404, "unknown_source")
        silent = tuple(replace(each, channel=None) for each in plan.purposes)
        edge.plans[0] = changed(plan, purposes=silent)
        problem(await edge.http.post(f"/u/{token()}", data=ONE_CLICK), 404, "not_found")
        assert await with_form(servers_only=True) == 401
        assert await with_form(sites=frozenset({"shop"})) == 404
        assert await with_form(sites=frozenset({"www"})) == 202
        edge.plans[0] = Plans([])
        problem(await edge.http.post("/f/request-demo", params=SITE, json=email), 503, "unavailable")
    finally:
        edge.plans[0] = plans


async def test_a_page_elsewhere_is_taken_as_it_is(edge: Running) -> None:
    """A redirect with its own host needs no origin."""
    (plans,) = edge.plans
    plan = plans.latest
    form = replace(plan.sources["form/request-demo"], redirect="https://elsewhere.example/done")
    edge.plans[0] = changed(plan, sources=plan.sources | {"form/request-demo": form})
    try:
        answer = await edge.http.post(
            "/f/request-demo", params=SITE, data={"name": "x"}, headers={"sec-fetch-mode": "navigate"}
        )
    finally:
        edge.plans[0] = plans
    assert (answer.status_code, answer.headers["location"]) == (303, "https://elsewhere.example/done")


async def test_a_dry_run_knows_closed_processors(edge: Running) -> None:
    """Suspended by the policy, or past its assurance: refused with that code, whatever was granted."""
    (plans,) = edge.plans
    plan = plans.latest
    crm, mail, *others = plan.processors
    closed = (replace(crm, suspended="breach"), replace(mail, assurance_until=Micros(1)), *others)
    edge.plans[0] = changed(plan, processors=closed)
    body = {
        "fields": {"email": "a@example.org", "phone": "1"},
        "consents": [{"purpose": "marketing_email", "granted": True}],
    }
    try:
        answer = await edge.http.post("/f/request-demo", params=SITE | {"dry_run": "1"}, json=body)
    finally:
        edge.plans[0] = plans
    found = {each["processor"]: each for each in answer.json()["processors"]}
    assert found["crm"]["grants"] == found["mail"]["grants"] == []
    assert {"purpose": "marketing_email", "code": "suspended"} in found["crm"]["refused"]
    assert {"purpose": "marketing_email", "code": "assurance_ended"} in found["mail"]["refused"]


async def test_a_dry_run_refuses_what_no_longer_holds(edge: Running) -> None:
    """A purpose that is not held is no basis for a processor; one whose time is over says so."""
    found = (
        await edge.http.post(
            "/f/request-demo?dry_run=1",
            headers=SERVER,
            json={"fields": {"email": "a@example.org"}, "collected_at": "2020-01-01T00:00:00Z"},
        )
    ).json()
    assert {each["code"] for each in found["purposes"]} == {"lapsed", "no_consent"}
    assert found["code"] == "no_basis"
    crm = next(each for each in found["processors"] if each["processor"] == "crm")
    assert {"purpose": "answer_request", "code": "no_basis"} in crm["refused"]


# ---- what anyone may ask -----------------------------------------------------------------------------------
async def test_the_site_says_that_it_heeds_gpc(edge: Running) -> None:
    """`/.well-known/gpc.json` as the GPC specification has it."""
    assert (await edge.http.get("/.well-known/gpc.json")).json() == {"gpc": True, "lastUpdate": "2024-01-01"}


async def test_the_policys_summary_names_no_bait(edge: Running) -> None:
    """Publishers learn forms, fields and purposes; the honeypot stays unknown."""
    response = await edge.http.get("/policy")
    assert "email" in response.json()["sources"]["form/request-demo"]["fields"]
    assert "website" not in response.text


async def test_health(edge: Running) -> None:
    """The loop lives and an event would find a place."""
    assert (await edge.http.get("/healthz")).status_code == 200
    assert (await edge.http.get("/readyz")).json() == {"ready": True, "spooling": False}
