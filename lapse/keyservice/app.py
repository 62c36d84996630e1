"""The key endpoint as an ASGI app.

| Route | Who | Answer |
|---|---|---|
| `POST /v1/keys` | a processor | keys of its deliveries, or why they are closed |
| `POST /v1/receipts` | a processor | 202 once its receipts are durable |
| `POST /v1/callbacks/{processor}/{object}` | a business partner, by signature | 202; 403 if it is wrong |
| `POST /in/{processor}` | a recipient, as its vendor signs | 200 with its answer, or 202; 403, 404 |
| `GET /in/{processor}` | a vendor that probes | 200 where a recipient is listened to |
| `GET /healthz` | anyone | 200 while the vault answers |
| `GET /openapi.json` | anyone | this, for machines |
| `GET /schemas/ids/{id}` | anyone | an Avro schema in the shape of Confluent's registry |

Errors are `application/problem+json` and repeat nothing of the request. Unknown, erased and tampered handles
get the same answer after the same work: each wrap costs one block of AES and one row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapse.keyservice import inbound
from lapse.keyservice.desk import Desk, Locked
from lapse.keyservice.http import PRIVATE, Answer, problem, read_body
from lapse.keyservice.inbound import Ears, Inbound, Publish
from lapse.keyservice.openapi import document
from lapse.keyservice.rates import Rates
from lapse.keyservice.shapes import BODY_BYTES, TooMany, read_keys, read_receipts
from processors.messages import Secrets, read_status
from processors.opening import PlansIn
from processors.recipient import Post
from schemas import codec
from schemas.errors import BadInput, LapseError, Refused, Unavailable
from schemas.ids import Micros
from schemas.models import SignalReceived
from vault.port import Vault

CALLBACK_BYTES = 64 * 1024
"""Largest callback read: its sender is unknown until the signature over the whole body is checked."""
REGISTRY_JSON = "application/vnd.schemaregistry.v1+json"
PartnerSecrets = Callable[[str], Secrets | None]
"""Returns the webhook secrets of a business partner, None where there is no such partner."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What the handlers work with."""

    desk: Desk
    rates: Rates
    partners: PartnerSecrets
    inbound: Inbound
    publish: Publish


async def _nowhere(_signals: Sequence[SignalReceived]) -> None:
    raise Unavailable("broker", "there is no way to the log from here", "intake.signal", "start it: lapse up")


def create_app(
    vault: Vault,
    plans: PlansIn,
    *,
    receipt_partitions: int = 4,
    partners: PartnerSecrets = lambda _name: None,
    ears: Ears = lambda _plan: None,
    publish: Publish = _nowhere,
    rates: Rates | None = None,
    wall: Callable[[], Micros] = lambda: Micros(time.time_ns() // 1000),
) -> Starlette:
    """Return the app; `plans` gives every published policy as of a transaction.

    It is called from several threads, one at a time. `partners` reads the webhook secrets with which
    callbacks are checked; `ears` says which recipients are listened to, and `publish` puts what they say on
    `intake.signal`.
    """
    locked = Locked.around(plans)
    desk = Desk(vault=vault, plans=locked, receipt_partitions=receipt_partitions, wall=wall)
    said = Inbound(vault=vault, plans=locked, ears=ears, receipt_partitions=receipt_partitions, wall=wall)
    endpoint = _Endpoint(desk, rates or Rates(clock=time.monotonic), partners, said, publish)

    def route(
        path: str, handler: Callable[[_Endpoint, Request], Awaitable[Response]], *methods: str
    ) -> Route:
        return Route(path, partial(_guarded, endpoint, handler), methods=list(methods))

    app = Starlette(
        exception_handlers={404: _no_route, 405: _no_route},
        routes=[
            route("/v1/keys", _keys, "POST"),
            route("/v1/receipts", _receipts, "POST"),
            route("/v1/callbacks/{processor}/{object}", _callback, "POST"),
            route("/in/{processor}", _in, "POST", "GET"),
            route("/healthz", _health, "GET"),
            route("/openapi.json", _openapi, "GET"),
            route("/schemas/ids/{id}", _schema, "GET"),
        ],
    )
    app.router.redirect_slashes = False  # the redirect would name whatever host the request does
    return app


async def _no_route(_request: Request, error: Exception) -> Response:
    """What no route takes, in the one shape of errors."""
    allow = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    answer = Answer(405, "bad_method", "this address does not take this method")
    response = problem(answer if allow else Answer(404, "not_found", "there is no such address here"))
    response.headers.update(allow)
    return response


async def _guarded(
    endpoint: _Endpoint, handler: Callable[[_Endpoint, Request], Awaitable[Response]], request: Request
) -> Response:
    try:
        return await handler(endpoint, request)
    except Answer as answer:
        return problem(answer)
    except TooMany as error:
        return problem(Answer(413, error.code, error.what, pointer=error.where))
    except BadInput as error:
        return problem(Answer(400, error.code, error.what, pointer=error.where))
    except Unavailable as error:
        return problem(Answer(503, error.code, "the vault does not answer; try again", wait=1.0))
    except ClientDisconnect:
        return Response(status_code=400)
    except LapseError as error:
        return problem(Answer(500, error.code, "this request met a fault of ours"))


async def _keys(endpoint: _Endpoint, request: Request) -> Response:
    processor = await _authenticated(endpoint, request)
    asked = read_keys(await read_body(request, BODY_BYTES))
    return JSONResponse(await run_in_threadpool(endpoint.desk.keys, processor, asked), headers=PRIVATE)


async def _receipts(endpoint: _Endpoint, request: Request) -> Response:
    processor = await _authenticated(endpoint, request)
    given = read_receipts(await read_body(request, BODY_BYTES))
    ids = await run_in_threadpool(endpoint.desk.receive, processor, given)
    return JSONResponse({"receipt_ids": ids}, status_code=202, headers=PRIVATE)


async def _callback(endpoint: _Endpoint, request: Request) -> Response:
    processor = request.path_params["processor"]
    secrets = await run_in_threadpool(endpoint.partners, processor)
    body = await read_body(request, CALLBACK_BYTES)
    if secrets is None or not secrets.verified(body, request.headers):
        raise Answer(403, "unauthorized", "the signature is missing, wrong or older than five minutes")
    status = read_status(body)
    if status is None:
        raise Answer(400, "malformed", "not an OpenDSR status")
    try:
        ref = bytes.fromhex(request.path_params["object"])
    except ValueError:
        ref = b""
    if not await run_in_threadpool(endpoint.desk.report, processor, ref, status, body):
        raise Answer(404, "not_found", "no such request is awaited, or it has ended already")
    return Response(status_code=202)


async def _in(endpoint: _Endpoint, request: Request) -> Response:
    """What is said is durable before it is answered; nothing of an unknown sender is believed.

    Vendors that look whether an address is there before they use it (Mailchimp) get a plain yes.
    """
    name, into = request.path_params["processor"], endpoint.inbound
    found = await run_in_threadpool(into.listener, name)
    if found is None:
        raise Answer(404, "not_found", "nobody is listened to under this name")
    if request.method != "POST":
        return Response(status_code=200, headers=PRIVATE)
    plan, ear = found
    body = await read_body(request, inbound.BODY_BYTES)
    peer = request.client.host if request.client else ""
    query = dict(request.query_params)
    post = Post(headers=dict(request.headers), query=query, body=body, peer=peer)
    try:
        heard = await run_in_threadpool(into.heard, ear, post)
    except Refused:
        raise Answer(403, "unauthorized", "this is not from the recipient of this name") from None
    wait = endpoint.rates.wait(f"in/{name}")
    if wait:
        raise Answer(429, "rate_limited", "too many requests", wait=wait)
    await endpoint.publish(into.signals(name, plan, heard, post))
    known = await run_in_threadpool(into.ends, name, heard.said, body)
    if not known and ear.asks_again:
        raise Answer(404, "not_found", "no such request is awaited, or it has ended already")
    answer = await run_in_threadpool(into.answer, ear, heard)
    media = "application/json" if answer else None
    return Response(answer, status_code=200 if answer else 202, media_type=media, headers=PRIVATE)


async def _health(endpoint: _Endpoint, _request: Request) -> Response:
    await run_in_threadpool(endpoint.desk.alive)
    return JSONResponse({"status": "ok"})


async def _openapi(_endpoint: _Endpoint, _request: Request) -> Response:
    return JSONResponse(document())


async def _schema(_endpoint: _Endpoint, request: Request) -> Response:
    try:
        # From a registry, where one is used: the first look at an id is a call to it.
        schema = await run_in_threadpool(codec.schema, int(request.path_params["id"]))
    except Unavailable as error:
        raise Answer(503, error.code, "the schema registry does not answer") from None
    except (LapseError, ValueError):
        missing = {"error_code": 40403, "message": "Schema not found"}
        return JSONResponse(missing, status_code=404, media_type=REGISTRY_JSON)
    return JSONResponse({"schema": json.dumps(schema, separators=(",", ":"))}, media_type=REGISTRY_JSON)


async def _authenticated(endpoint: _Endpoint, request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    known = scheme.lower() == "bearer" and bool(token)
    processor = await run_in_threadpool(endpoint.desk.who, token.strip()) if known else None
    if processor is None:
        raise Answer(401, "unauthorized", "the bearer token is missing or not valid")
    wait = endpoint.rates.wait(processor)
    if wait:
        raise Answer(429, "rate_limited", "too many requests", wait=wait)
    return processor
