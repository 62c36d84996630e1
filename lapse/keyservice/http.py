"""Whole-request answers of the key endpoint, and bodies read within limits of size and time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

BODY_SECONDS = 30.0
"""A body that is not whole by then is not waited for."""
PRIVATE = {"Cache-Control": "no-store"}
"""Headers of what is for the one who asked."""


class Answer(Exception):
    """A whole-request answer that is no success."""

    def __init__(self, status: int, code: str, detail: str, *, pointer: str = "", wait: float = 0.0) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.pointer, self.wait = status, code, detail, pointer, wait


async def read_body(request: Request, most: int) -> bytes:
    """Read the body up to its limits of size and time; a longer one is not read to its end."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise Answer(413, "too_large", f"the body is larger than {most} bytes")
    except TimeoutError:
        raise Answer(400, "timeout", "the body did not come in time") from None
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


def problem(answer: Answer) -> Response:
    """Return the answer as `application/problem+json`; it repeats nothing of the request."""
    body: dict[str, Any] = {
        "type": f"urn:lapse:error:{answer.code}",
        "title": _TITLES[answer.status],
        "status": answer.status,
        "detail": answer.detail,
    }
    if answer.pointer:
        body["pointer"] = answer.pointer
    headers = dict(PRIVATE)
    if answer.wait:
        headers["Retry-After"] = str(max(1, math.ceil(answer.wait)))
    if answer.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        body, status_code=answer.status, media_type="application/problem+json", headers=headers
    )
