"""The admin API as an ASGI app: lag, plans, and what became of an event.

| Route | Who | Answer |
|---|---|---|
| `GET /healthz` | anyone | 200 while the process lives |
| `GET /v1/lag` | admin | `{total, groups, outbox, spool}`; 200 also when it is not 0 |
| `GET /v1/events/{id}` | admin, or the site that sent it | `{event_id, outcome, code}` |
| `GET /v1/plans/{version}` | anyone | the numbers a policy version's records use, by name |
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from contextlib import closing
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapse import records, waiting
from lapse.layout import read_json
from lapse.main import Installation
from schemas.errors import BadInput, LapseError, NotFound, Refused, Unavailable
from schemas.plan import PolicyPlan

STATUS: dict[type[LapseError], int] = {BadInput: 400, Refused: 403, NotFound: 404, Unavailable: 503}
Handler = Callable[[Installation, Request], Response]


DIGITS = 9
"""A policy version has no more."""


def create_app(open_here: Callable[[], Installation]) -> Starlette:
    """The app. `open_here` opens the data folder; each request works on its own short-lived opening of it,

    because what it asks is asked seldom, and policies may have been published since.
    """

    def route(path: str, handler: Handler) -> Route:
        return Route(path, partial(_answer, open_here, handler), methods=["GET"])

    return Starlette(
        routes=[
            Route("/healthz", _health, methods=["GET"]),
            route("/v1/lag", _lag),
            route("/v1/events/{event}", _event),
            route("/v1/plans/{version}", _plan),
        ]
    )


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _answer(open_here: Callable[[], Installation], handler: Handler, request: Request) -> Response:
    """Answer on a thread: opening, reading and compiling block, and the key endpoint shares this loop."""

    def work() -> Response:
        try:
            with closing(open_here()) as here:
                return handler(here, request)
        except LapseError as error:
            return _problem(error)

    return await asyncio.to_thread(work)


def _problem(error: LapseError) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    status = 401 if error.code == "unauthorized" else status
    document = {
        "type": f"urn:lapse:error:{error.code}",
        "title": error.what,
        "status": status,
        "detail": error.do,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(document, status, headers, media_type="application/problem+json")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_admin(here: Installation, request: Request) -> bool:
    return hmac.compare_digest(
        _bearer(request).encode(), here.layout.admin_token.read_text().strip().encode()
    )


def _site_of(here: Installation, request: Request) -> str | None:
    """The site whose token this is; every site is compared, so that the time tells nothing."""
    token, found = _bearer(request).encode(), None
    for site in here.plans.latest.sites:
        if hmac.compare_digest(
            token, str(read_json(here.layout.credentials("sites", site))["token"]).encode()
        ):
            found = site
    return found


def _unauthorized() -> Refused:
    return Refused(
        "unauthorized", "a bearer token is needed", "Authorization", "send the admin token, or the site's"
    )


def _lag(here: Installation, request: Request) -> Response:
    if not _is_admin(here, request):
        raise _unauthorized()
    return JSONResponse(waiting.lag(here).as_json())


def _event(here: Installation, request: Request) -> Response:
    admin = _is_admin(here, request)
    site = None if admin else _site_of(here, request)
    if site is None and not admin:
        raise _unauthorized()
    return JSONResponse(records.outcome_of_event(here, request.path_params["event"], site))


def _plan(here: Installation, request: Request) -> Response:
    text = request.path_params["version"]
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS:
        raise BadInput("usage", "a policy version is a number", "path")
    return JSONResponse(describe(here.plans.version(int(text))))


def describe(plan: PolicyPlan) -> dict[str, object]:
    """What the numbers in records and decisions of this version mean."""
    return {
        "policy": plan.version,
        "sha256": plan.sha256.hex(),
        "purposes": [
            {
                "number": p.number,
                "name": p.name,
                "basis": p.basis,
                "width_us": p.width,
                "terms": p.terms,
                "retention": str(p.retention),
            }
            for p in plan.purposes
        ],
        "categories": [{"number": number, "name": name} for number, name in enumerate(plan.categories)],
        "processors": [{"number": p.number, "name": p.name} for p in plan.processors],
        "sources": [
            {"name": s.name, "fields": {f: plan.categories[c] for f, c in s.fields.items()}}
            for s in plan.sources.values()
        ],
        "mask": "two bits per purpose number: 0 unknown, 1 live, 2 denied, 3 ended",
    }
