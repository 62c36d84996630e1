"""Requests and answers on plain ASGI, and the one shape of every error: RFC 9457 problem details.

No text here ever quotes a request: a code, a sentence of ours and a JSON pointer to the member at fault.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

import msgspec

from schemas.codes import CODES
from schemas.errors import LapseError
from schemas.models import Clear

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

PROBLEM_TYPE = b"application/problem+json"
_ONCE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "content-encoding",
        "idempotency-key",
        "origin",
        "x-lapse-site-key",
    }
)
"""Headers that mean nothing when they come twice."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class Address(NamedTuple):
    """An address as its version (4 or 6), number and one canonical text."""

    version: int
    number: int
    text: str


class Problem(LapseError):
    """A request that is refused: HTTP status and a code of `schemas.codes`; `where` is a JSON pointer."""

    exit_code = 2

    def __init__(
        self, status: int, code: str, what: str, where: str = "", headers: Headers = (), do: str = ""
    ) -> None:
        super().__init__(code, what, where, do)
        self.status = status
        self.headers = headers

    def response(self) -> "Response":
        """The answer: `{type, title, status, detail, pointer?}`."""
        document: dict[str, object] = {
            "type": f"urn:lapse:error:{self.code}",
            "title": CODES[self.code].meaning,
            "status": self.status,
            "detail": self.what,
        }
        if self.where:
            document["pointer"] = self.where
        body = msgspec.json.encode(document)
        return Response(status=self.status, body=body, media_type=PROBLEM_TYPE, headers=self.headers)


def pointer(base: str, name: object) -> str:
    """A JSON pointer to a member of `base`; names that could be somebody's data are left out (RFC 6901)."""
    text = str(name)
    return f"{base}/{text}" if isinstance(name, int) or _NAME.fullmatch(text) else base


class Response(Clear, frozen=True, kw_only=True):
    """An answer, whole."""

    status: int
    body: bytes = b""
    media_type: bytes | None = None
    headers: Headers = ()

    async def send(self, send: Send, exchange: "Exchange | None" = None) -> None:
        """Write it, in one piece where the server can."""
        headers = self.headers
        if self.media_type:
            headers = (*headers, (b"content-type", self.media_type))
        if exchange is not None and exchange.answer(self.status, headers, self.body):
            return
        await send_whole(send, self.status, headers, self.body)


async def send_whole(send: Send, status: int, headers: Headers, body: bytes, *, head: bool = False) -> None:
    """Send an answer in ASGI's messages; to HEAD, only how long its body would be."""
    if not without_length(status):
        headers = ((b"content-length", b"%d" % len(body)), *headers)
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b"" if head else body})


def without_length(status: int) -> bool:
    """Whether an answer has no body, and so no `Content-Length` (RFC 9110, 8.6)."""
    return status == 204


def json_response(status: int, document: object, headers: Headers = ()) -> Response:
    """An answer in JSON."""
    return Response(
        status=status, body=msgspec.json.encode(document), media_type=b"application/json", headers=headers
    )


class Exchange(Protocol):
    """What our own server offers beyond ASGI, as `EXCHANGE` in the scope; each says where it cannot."""

    def whole(self) -> bytes | None:
        """The body, if all of it is here."""

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole answer and its length at once; false where it has to be sent the long way."""


EXCHANGE = "lapse.exchange"
CLOSE = (b"connection", b"close")
"""Says that the connection ends with this answer."""


class Request(Clear, frozen=True, kw_only=True):
    """What came in but for its body; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: Address | None
    """The peer's address, or the one a trusted proxy vouches for."""
    receive: Receive
    exchange: Exchange | None = None


def read_headers(raw: Collection[tuple[bytes, bytes]]) -> dict[str, str]:
    """Join repeated headers (RFC 9110, 5.3); raises Problem 400 for those that must stand alone."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if len(headers) == len(raw):
        return headers
    headers = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            raise Problem(400, "malformed", f"the header {name} came twice")
        else:
            headers[name] = f"{headers[name]}, {value}"
    return headers


@lru_cache(maxsize=256)
def read_query(raw: bytes) -> Mapping[str, str]:
    """The query's parameters, the last of each name; raises Problem 400 where it is not UTF-8."""
    if raw.isascii() and b"%" not in raw and b"+" not in raw and b"&" not in raw:
        # One parameter as it stands, such as a site's key.
        name, _, value = raw.decode("ascii").partition("=")
        return {name: value} if raw else {}
    try:
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        )
    except ValueError:
        raise Problem(400, "malformed", "the query cannot be read") from None
