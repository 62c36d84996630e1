"""Requests two servers in a row could read differently: all three of ours refuse them."""

from __future__ import annotations

import pytest

from tests.unit.attack.servers import NAMES, Servers
from tests.unit.collector.harness import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = b'{"fields":{}}'
JSON = "Content-Type: application/json"
LENGTH, CHUNKED, LAST = "Content-Length: 13", "Transfer-Encoding: chunked", "Connection: close"
PIECES = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
TARGETS = {"collector": f"/f/request-demo?k={KEY}", "keys": "/v1/keys", "admin": "/v1/lag"}


def post(target: str, *lines: str, body: bytes = b"", host: str | None = "Host: x") -> bytes:
    """A POST with exactly these header lines."""
    head = [f"POST {target} HTTP/1.1", *([host] if host else []), *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def smuggled(t: str) -> dict[str, bytes]:
    """Framing that is ambiguous (RFC 9112, 11.2), by what is wrong with it."""
    bare = f"POST {t} HTTP/1.1\nHost: x\n{JSON}\n{LENGTH}\n{LAST}\n\n".encode() + BODY
    old = f"POST {t} HTTP/1.0\r\nHost: x\r\n{JSON}\r\n{CHUNKED}\r\n\r\n".encode() + PIECES
    return {
        "a length and chunks": post(t, JSON, LENGTH, CHUNKED, body=PIECES),
        "chunks and a length": post(t, JSON, CHUNKED, LENGTH, body=PIECES),
        "a length twice": post(t, JSON, LENGTH, LENGTH, body=BODY),
        "a list of lengths": post(t, JSON, "Content-Length: 13, 13", body=BODY),
        "a signed length": post(t, JSON, "Content-Length: +13", body=BODY),
        "a length in hex": post(t, JSON, "Content-Length: 0xd", body=BODY),
        "a coding we do not know": post(t, JSON, "Transfer-Encoding: xchunked", body=PIECES),
        "a coding before chunked": post(t, JSON, "Transfer-Encoding: gzip, chunked", LAST, body=PIECES),
        "chunked twice": post(t, JSON, CHUNKED, CHUNKED, body=PIECES),
        "chunked and then not": post(t, JSON, CHUNKED, "Transfer-Encoding: identity", body=PIECES),
        "a coding with a strange space": post(t, JSON, "Transfer-Encoding:\x0bchunked", body=PIECES),
        "a space before the colon": post(t, JSON, "Transfer-Encoding : chunked", body=PIECES),
        "chunks in HTTP/1.0": old,
        "a folded header": post(t, JSON, "X-A: b\r\n chunked", LENGTH, body=BODY),
        "bare line feeds": bare,
        "chunks with bare line feeds": post(t, JSON, CHUNKED, body=PIECES.replace(b"\r\n", b"\n")),
        "a chunk size beyond 64 bits": post(t, JSON, CHUNKED, body=b"f" * 17 + b"\r\n" + BODY),
        "no host": post(t, JSON, LENGTH, LAST, body=BODY, host=None),
        "two hosts": post(t, "Host: y", JSON, LENGTH, LAST, body=BODY),
        "HTTP/0.9": f"GET {t}\r\n\r\n".encode(),
        "HTTP/2 in clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an upgrade with a body": post(
            t, JSON, LENGTH, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", body=BODY
        ),
        "a tunnel": b"CONNECT internal:22 HTTP/1.1\r\nHost: x\r\n\r\n",
        "a method nobody has": b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "a path beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", [*smuggled("/")])
async def test_ambiguous_framing_is_refused_and_the_connection_ends(
    servers: Servers, name: str, case: str
) -> None:
    """400 as a problem document, exactly one answer, nothing published."""
    servers.collector.sent.clear()
    answer = await servers[name].say(smuggled(TARGETS[name])[case])
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"\r\n\r\n") == 1, "one answer"
    assert b"application/problem+json" in answer
    assert servers.collector.sent == []


async def test_a_trailer_is_no_header(servers: Servers) -> None:
    """A credential or an address behind the body counts for nothing: a proxy would not have looked there."""
    servers.collector.sent.clear()
    trailers = b"0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 203.0.113.9\r\nIdempotency-Key: a\r\n\r\n"
    body = b"d\r\n" + BODY + b"\r\n" + trailers
    answer = await servers["collector"].say(post(TARGETS["collector"], JSON, CHUNKED, LAST, body=body))
    assert answer.startswith(b"HTTP/1.1 202 "), answer
    assert len(servers.collector.sent) == 1


async def test_endless_trailers_take_no_memory_and_end_in_time(servers: Servers) -> None:
    """Megabytes of trailers are dropped as they come; the request is answered all the same."""
    line = b"x-a: " + b"y" * 1000 + b"\r\n"
    body = b"d\r\n" + BODY + b"\r\n0\r\n" + line * 5000 + b"\r\n"
    answer = await servers["collector"].say(post(TARGETS["collector"], JSON, CHUNKED, LAST, body=body))
    assert answer.startswith((b"HTTP/1.1 202 ", b"HTTP/1.1 400 ")), answer


@pytest.mark.parametrize("name", NAMES)
async def test_what_follows_connection_close_is_never_done(servers: Servers, name: str) -> None:
    """A second request behind the last one is not run: one answer, nothing published."""
    servers.collector.sent.clear()
    first = f"GET /healthz HTTP/1.1\r\nHost: x\r\n{LAST}\r\n\r\n".encode()
    answer = await servers[name].say(first + post(TARGETS[name], JSON, LENGTH, body=BODY))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert servers.collector.sent == []


@pytest.mark.parametrize("name", NAMES)
async def test_an_upgrade_without_a_body_is_ignored_and_the_next_request_served(
    servers: Servers, name: str
) -> None:
    """There is nothing to upgrade to (RFC 9110, 7.8): both requests are answered as HTTP/1.1."""
    asks = "GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    then = f"GET /healthz HTTP/1.1\r\nHost: x\r\n{LAST}\r\n\r\n"
    answer = await servers[name].say((asks + then).encode())
    assert answer.count(b"HTTP/1.1 200 ") == 2, answer


PATHS = [
    "/../healthz", "/f/../healthz", "/f/%2e%2e/healthz", "/v1/%2e%2e/%2e%2e/etc/passwd", "//healthz",
    "/healthz/", "/healthz%00", "/healthz%0a", "/healthz;x", "/%2fhealthz", "/v1//keys", "/v1/plans/1%00",
    "/v1/plans/..%2f..%2fmarker", "/v1/plans/%ff", "/v1/plans/-1", "/v1/plans/٣", "/v1/events/%ed%a0%80",
    "/v1/events/" + "0" * 30_000, "/schemas/ids/%30%00", "/schemas/ids/" + "9" * 5000, "/schemas/ids/-1",
    "/u/", "/o/%2e%2e.gif%00", "/c/..", "/.well-known/../healthz", "/" + "a/" * 15_000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_no_spelling_of_a_path_reaches_another_place(servers: Servers, name: str) -> None:
    """Dots, slashes, zero bytes, surrogates, thirty thousand characters: each a client's error."""
    for path in PATHS:
        asked = f"GET {path} HTTP/1.1\r\nHost: x\r\n{LAST}\r\n\r\n".encode()
        answer = await servers[name].say(asked)
        assert answer[9:12] in (b"400", b"401", b"404", b"405"), (path[:40], answer[:200])
