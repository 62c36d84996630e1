"""The admin API as an ASGI app: lag, plans, and what became of an event.

| Route | Who | Answer |
|---|---|---|
| `GET /healthz` | anyone | 200 while the process lives |
| `GET /openapi.json` | anyone | this, for machines |
| `GET /v1/lag` | admin | `{total, groups, outbox, spool}`; 200 also when it is not 0 |
| `GET /v1/events/{id}` | admin, or the site that sent it | `{event_id, outcome, code}` |
| `GET /v1/tasks` | admin | `{tasks}`: what somebody has to do because a recipient did not answer |
| `GET /v1/plans/{version}` | anyone | the numbers a policy version's records use, by name |

Errors are `application/problem+json` and repeat nothing of the request. Who asks is judged by the files of
the data folder alone: a stranger's request opens no vault, compiles no policy and reads no topic.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from contextlib import closing
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapse import records, tasks, waiting
from lapse.admin.openapi import document
from lapse.layout import Layout, read_json
from lapse.main import Installation
from schemas.errors import BadInput, LapseError, NotFound, Refused, Unavailable
from schemas.plan import PolicyPlan

STATUS: dict[type[LapseError], int] = {BadInput: 400, Refused: 403, NotFound: 404, Unavailable: 503}
Opening = Callable[[], Installation]
Handler = Callable[[Layout, Opening, Request], Response]
DIGITS = 9
"""A policy version has no more."""
RETRY_SECONDS = "5"


def create_app(layout: Layout, open_here: Opening) -> Starlette:
    """The app; `open_here` opens the data folder at `layout`.

    Each request works on its own short-lived opening of it, because what it asks is asked seldom, and
    policies may have been published since.
    """
    published: dict[int, dict[str, object]] = {}

    def plan(_layout: Layout, open_it: Opening, request: Request) -> Response:
        number = _version(request.path_params["version"])
        if number not in published:  # a version never changes, so it is compiled for strangers once
            with closing(open_it()) as here:
                published[number] = describe(here.plans.version(number))
        return JSONResponse(published[number])

    def route(path: str, handler: Handler) -> Route:
        return Route(path, partial(_answer, layout, open_here, handler), methods=["GET"])

    app = Starlette(
        exception_handlers={404: _no_route, 405: _no_route},
        routes=[
            Route("/healthz", _health, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
            route("/v1/lag", _lag),
            route("/v1/events/{event}", _event),
            route("/v1/tasks", _tasks),
            route("/v1/plans/{version}", plan),
        ],
    )
    app.router.redirect_slashes = False  # the redirect would name whatever host the request does
    return app


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _openapi(_request: Request) -> Response:
    return JSONResponse(document())


async def _no_route(_request: Request, error: Exception) -> Response:
    """What no route takes, in the one shape of errors."""
    allow = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if allow:
        return _document(405, "bad_method", "this address does not take this method", "see: Allow", allow)
    return _document(404, "not_found", "there is no such address here", "see: GET /openapi.json")


async def _answer(layout: Layout, open_here: Opening, handler: Handler, request: Request) -> Response:
    """Answer on a thread: opening, reading and compiling block, and the key endpoint shares this loop."""

    def work() -> Response:
        try:
            return handler(layout, open_here, request)
        except LapseError as error:
            return _problem(error)

    return await asyncio.to_thread(work)


def _problem(error: LapseError) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    status = 401 if error.code == "unauthorized" else status
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": RETRY_SECONDS}}.get(status, {})
    return _document(status, error.code, error.what, error.do, headers)


def _document(
    status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    body = {"type": f"urn:lapse:error:{code}", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _bearer(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


def _is_admin(layout: Layout, request: Request) -> bool:
    token = layout.admin_token.read_text().strip().encode()
    # An emptied file lets nobody in, least of all those who bring no token.
    return hmac.compare_digest(_bearer(request), token) and bool(token)


def _site_of(layout: Layout, request: Request) -> str | None:
    """The site whose token this is; every site is compared, so that the time tells nothing."""
    token, found = _bearer(request), None
    for path in sorted(layout.credentials("sites", "x").parent.glob("*.json")):
        if hmac.compare_digest(token, str(read_json(path)["token"]).encode()) and token:
            found = path.stem
    return found


def _unauthorized() -> Refused:
    return Refused(
        "unauthorized", "a bearer token is needed", "Authorization", "send the admin token, or the site's"
    )


def _lag(layout: Layout, open_here: Opening, request: Request) -> Response:
    if not _is_admin(layout, request):
        raise _unauthorized()
    with closing(open_here()) as here:
        return JSONResponse(waiting.lag(here).as_json())


def _tasks(layout: Layout, open_here: Opening, request: Request) -> Response:
    if not _is_admin(layout, request):
        raise _unauthorized()
    with closing(open_here()) as here:
        return JSONResponse({"tasks": tasks.listed(here, processor=None, every=False)})


def _event(layout: Layout, open_here: Opening, request: Request) -> Response:
    admin = _is_admin(layout, request)
    site = None if admin else _site_of(layout, request)
    if site is None and not admin:
        raise _unauthorized()
    with closing(open_here()) as here:
        if site is not None and site not in here.plans.latest.sites:
            raise _unauthorized()  # the policy no longer names it
        return JSONResponse(records.outcome_of_event(here, request.path_params["event"], site))


def _version(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS:
        raise BadInput("usage", "a policy version is a number", "path", f"at most {DIGITS} digits")
    return int(text)


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
