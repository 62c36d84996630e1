"""The key endpoint as an ASGI app.

| Route | Who | Answer |
|---|---|---|
| `POST /v1/keys` | a processor | keys of its deliveries, or why they are closed |
| `POST /v1/receipts` | a processor | 202 once its receipts are durable |
| `POST /v1/callbacks/{processor}/{object}` | a business partner, by signature | 202; 403 for a wrong
signature | | `GET /healthz` | anyone | 200 while the vault answers |
| `GET /openapi.json` | anyone | this, for machines |
| `GET /schemas/ids/{id}` | anyone | an Avro schema in the shape of Confluent's registry |

Errors are `application/problem+json` and repeat nothing of the request. Unknown, erased and tampered handles
get the same answer after the same work: each wrap costs one block of AES and one row.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapse.keyservice.desk import Desk
from lapse.keyservice.openapi import document
from lapse.keyservice.rates import Rates
from lapse.keyservice.shapes import BODY_BYTES, TooMany, read_keys, read_receipts
from processors.messages import Secrets, read_status
from processors.opening import PlansIn
from schemas import codec
from schemas.errors import BadInput, LapseError, Unavailable
from schemas.ids import Micros
from vault.port import Vault

BODY_SECONDS = 30.0
"""A body that is not whole by then is not waited for."""
CALLBACK_BYTES = 64 * 1024
"""Largest callback read: its sender is unknown until the signature over the whole body is checked."""
REGISTRY_JSON = "application/vnd.schemaregistry.v1+json"
PartnerSecrets = Callable[[str], Secrets | None]
"""Returns the webhook secrets of a business partner, None where there is no such partner."""


class _Answer(Exception):
    """A whole-request answer."""

    def __init__(self, status: int, code: str, detail: str, *, pointer: str = "", wait: float = 0.0) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.pointer, self.wait = status, code, detail, pointer, wait


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What the handlers work with."""

    desk: Desk
    rates: Rates
    partners: PartnerSecrets


def create_app(
    vault: Vault,
    plans: PlansIn,
    *,
    receipt_partitions: int = 4,
    partners: PartnerSecrets = lambda _name: None,
    rates: Rates | None = None,
    wall: Callable[[], Micros] = lambda: Micros(time.time_ns() // 1000),
) -> Starlette:
    """Return the app. `plans` gives every published policy as of a transaction; it is called from several
    threads, one at a time. `partners` reads the webhook secrets with which callbacks are checked.
    """
    desk = Desk(vault=vault, plans=plans, receipt_partitions=receipt_partitions, wall=wall)
    endpoint = _Endpoint(desk, rates or Rates(clock=time.monotonic), partners)

    def route(path: str, handler: Callable[[_Endpoint, Request], Awaitable[Response]], method: str) -> Route:
        return Route(path, partial(_guarded, endpoint, handler), methods=[method])

    app = Starlette(
        exception_handlers={404: _no_route, 405: _no_route},
        routes=[
            route("/v1/keys", _keys, "POST"),
            route("/v1/receipts", _receipts, "POST"),
            route("/v1/callbacks/{processor}/{object}", _callback, "POST"),
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
    answer = _Answer(405, "bad_method", "this address does not take this method")
    response = _problem(answer if allow else _Answer(404, "not_found", "there is no such address here"))
    response.headers.update(allow)
    return response


async def _guarded(
    endpoint: _Endpoint, handler: Callable[[_Endpoint, Request], Awaitable[Response]], request: Request
) -> Response:
    try:
        return await handler(endpoint, request)
    except _Answer as answer:
        return _problem(answer)
    except TooMany as error:
        return _problem(_Answer(413, error.code, error.what, pointer=error.where))
    except BadInput as error:
        return _problem(_Answer(400, error.code, error.what, pointer=error.where))
    except Unavailable as error:
        return _problem(_Answer(503, error.code, "the vault does not answer; try again", wait=1.0))
    except ClientDisconnect:
        return Response(status_code=400)
    except LapseError as error:
        return _problem(_Answer(500, error.code, "this request met a fault of ours"))


async def _keys(endpoint: _Endpoint, request: Request) -> Response:
    processor = await _authenticated(endpoint, request)
    asked = read_keys(await _body(request))
    return JSONResponse(await run_in_threadpool(endpoint.desk.keys, processor, asked), headers=_PRIVATE)


async def _receipts(endpoint: _Endpoint, request: Request) -> Response:
    processor = await _authenticated(endpoint, request)
    given = read_receipts(await _body(request))
    ids = await run_in_threadpool(endpoint.desk.receive, processor, given)
    return JSONResponse({"receipt_ids": ids}, status_code=202, headers=_PRIVATE)


async def _callback(endpoint: _Endpoint, request: Request) -> Response:
    processor = request.path_params["processor"]
    secrets = await run_in_threadpool(endpoint.partners, processor)
    body = await _body(request, CALLBACK_BYTES)
    if secrets is None or not secrets.verified(body, request.headers):
        raise _Answer(403, "unauthorized", "the signature is missing, wrong or older than five minutes")
    status = read_status(body)
    if status is None:
        raise _Answer(400, "malformed", "not an OpenDSR status")
    try:
        ref = bytes.fromhex(request.path_params["object"])
    except ValueError:
        ref = b""
    if not await run_in_threadpool(endpoint.desk.report, processor, ref, status, body):
        raise _Answer(404, "not_found", "no such request is awaited, or it has ended already")
    return Response(status_code=202)


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
        raise _Answer(503, error.code, "the schema registry does not answer") from None
    except (LapseError, ValueError):
        missing = {"error_code": 40403, "message": "Schema not found"}
        return JSONResponse(missing, status_code=404, media_type=REGISTRY_JSON)
    return JSONResponse({"schema": json.dumps(schema, separators=(",", ":"))}, media_type=REGISTRY_JSON)


_PRIVATE = {"Cache-Control": "no-store"}


async def _authenticated(endpoint: _Endpoint, request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    known = scheme.lower() == "bearer" and bool(token)
    processor = await run_in_threadpool(endpoint.desk.who, token.strip()) if known else None
    if processor is None:
        raise _Answer(401, "unauthorized", "the bearer token is missing or not valid")
    wait = endpoint.rates.wait(processor)
    if wait:
        raise _Answer(429, "rate_limited", "too many requests", wait=wait)
    return processor


async def _body(request: Request, most: int = BODY_BYTES) -> bytes:
    """Read the body up to its limits of size and time; a longer one is not read to its end."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise _Answer(413, "too_large", f"the body is larger than {most} bytes")
    except TimeoutError:
        raise _Answer(400, "timeout", "the body did not come in time") from None
    return bytes(body)


_TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


def _problem(answer: _Answer) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:lapse:error:{answer.code}",
        "title": _TITLES[answer.status],
        "status": answer.status,
        "detail": answer.detail,
    }
    if answer.pointer:
        body["pointer"] = answer.pointer
    headers = dict(_PRIVATE)
    if answer.wait:
        headers["Retry-After"] = str(max(1, math.ceil(answer.wait)))
    if answer.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        body, status_code=answer.status, media_type="application/problem+json", headers=headers
    )
