"""Middleware in the real frameworks, and what mails carry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lapse_client import Invalid, Visit, current
from lapse_client.context import (
    read_consents,
    read_cookies,
    read_visit,
    visit,
    without_identity,
    write_consents,
)
from lapse_client.mail import pixel_html, pixel_url, unsubscribe_headers
from lapse_client.middleware.asgi import VisitMiddleware
from lapse_client.middleware.flask import VisitExtension

COOKIES = "a=b; __Host-lapse-id=c1; lapse-consent=analytics:1.targeting:0"
HEADERS = {"Cookie": COOKIES, "Sec-GPC": "1", "User-Agent": "UA"}
SEEN = {
    "cookie_id": "c1",
    "consents": {"analytics": True, "targeting": False},
    "signals": ["gpc"],
    "user_agent": "UA",
}
TOKEN = "A" * 48


def seen() -> dict[str, Any]:
    """The visit as a view sees it."""
    now = current()
    return {
        "cookie_id": now.cookie_id,
        "consents": dict(now.consents),
        "signals": list(now.signals),
        "user_agent": now.user_agent,
    }


async def test_asgi() -> None:
    """Starlette and its like: the view sees the visit, and it ends with the request."""

    async def view(_: Request) -> JSONResponse:
        await asyncio.sleep(0)
        return JSONResponse(seen())

    app = Starlette(routes=[Route("/", view)])
    app.add_middleware(VisitMiddleware)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/", headers=HEADERS)).json() == SEEN
    assert current() == Visit()


async def test_asgi_leaves_the_lifespan_alone() -> None:
    """What is no request has no visit."""
    kinds = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        kinds.append((scope["type"], current()))

    async def nothing(*_: Any) -> None:
        return None

    await VisitMiddleware(app)({"type": "lifespan"}, nothing, nothing)
    assert kinds == [("lifespan", Visit())]


def test_flask() -> None:
    """The view sees the visit, also when it fails, and it ends with the request."""
    app = Flask(__name__)
    VisitExtension(app)
    app.add_url_rule("/", "seen", seen)

    def broken() -> str:
        raise KeyError

    app.add_url_rule("/broken", "broken", broken)
    client = app.test_client(use_cookies=False)
    assert client.get("/", headers=HEADERS).get_json() == SEEN
    assert client.get("/broken", headers=HEADERS).status_code == 500
    assert current() == Visit()


@pytest.fixture(scope="module")
def django_client() -> Callable[[str, bool], Any]:
    """Get a path through the real Django, by a sync or an async handler."""
    import django
    from django.conf import settings
    from django.http import JsonResponse
    from django.urls import path

    def sync_view(_request: Any) -> Any:
        return JsonResponse(seen())

    async def async_view(_request: Any) -> Any:
        return JsonResponse(seen())

    settings.configure(
        ROOT_URLCONF=(path("sync", sync_view), path("async", async_view)),
        MIDDLEWARE=["lapse_client.middleware.django.visit_middleware"],
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x",
    )
    django.setup()
    from django.test import AsyncClient, Client

    def get(where: str, by_async: bool) -> Any:
        client: Any = AsyncClient() if by_async else Client()
        client.cookies.load(COOKIES)
        headers = {name: value for name, value in HEADERS.items() if name != "Cookie"}
        answer = client.get(where, headers=headers)
        return (asyncio.run(answer) if by_async else answer).json()

    return get


@pytest.mark.parametrize("where", ["/sync", "/async"])
@pytest.mark.parametrize("by_async", [False, True])
def test_django(django_client: Callable[[str, bool], Any], where: str, by_async: bool) -> None:
    """Sync and async views under sync and async handlers see the visit."""
    assert django_client(where, by_async) == SEEN
    assert current() == Visit()


# ---- context -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Visit()),
        ({"dnt": "1"}, Visit(signals=("gpc", "dnt"))),
        ({"sec-gpc": "0"}, Visit()),
        ({"cookie": "__Host-lapse-id="}, Visit()),
        ({"cookie": "lapse-consent=garbage"}, Visit()),
        ({"cookie": "\x00bad"}, Visit()),
    ],
)
def test_a_visit_is_read_from_headers(headers: dict[str, str], expected: Visit) -> None:
    """What is missing or unreadable is nothing."""
    cookies = read_cookies(headers.get("cookie", ""))
    assert read_visit(headers, cookies, None) == expected


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True), st.booleans()))
def test_consents_travel_in_a_cookie(consents: dict[str, bool]) -> None:
    """What is written is read."""
    assert read_consents(write_consents(consents)) == consents


def test_visits_nest_and_say_no_names() -> None:
    """The inner visit ends first; a repr shows no one; a visit can be made nobody's."""
    with visit(Visit(cookie_id="outer")):
        with visit(Visit(cookie_id="inner", consents={"a": True})) as inner:
            assert current().consented("a")
            assert not current().consented("b")
            assert "inner" not in repr(inner)
            assert without_identity(inner).cookie_id is None
        assert current().cookie_id == "outer"


# ---- mail --------------------------------------------------------------------------------------------------
def test_a_mail_carries_token_addresses() -> None:
    """The gif and both headers of one-click unsubscription."""
    site = "https://c.example/"
    assert pixel_url(site, TOKEN) == f"https://c.example/o/{TOKEN}.gif"
    assert f'src="https://c.example/o/{TOKEN}.gif"' in pixel_html(site, TOKEN)
    assert unsubscribe_headers(site, TOKEN, "stop@example.org") == {
        "List-Unsubscribe": f"<https://c.example/u/{TOKEN}>, <mailto:stop@example.org>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


@pytest.mark.parametrize(
    ("collector", "token", "mailto"),
    [
        ("http://c.example", TOKEN, None),
        ("https://c.example", "short", None),
        ("https://c.example", TOKEN, "a>\r\nBcc: x"),
    ],
)
def test_what_must_not_stand_in_a_mail_is_refused(collector: str, token: str, mailto: str | None) -> None:
    """Plain http (RFC 8058 asks for https), a text that is no token, a header that would break."""
    with pytest.raises(Invalid):
        unsubscribe_headers(collector, token, mailto)


def test_a_local_collector_may_be_plain() -> None:
    """For trying things out."""
    assert pixel_url("http://127.0.0.1:8100", TOKEN).startswith("http://127.0.0.1:8100/o/")
