"""What a vendor's answer becomes before a connector judges it: real HTTP on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from processors.answers import Pause, Retry
from processors.http import ANSWER_BYTES, Http, Reply

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def peer() -> AsyncIterator[Callable[[Say], Awaitable[Http]]]:
    """Return a maker of peers that answer every request with the bytes given."""
    servers: list[asyncio.Server] = []
    clients: list[Http] = []
    finished = asyncio.Semaphore(0)

    async def make(say: Say) -> Http:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):  # a client that has read enough hangs up
                await reader.readuntil(b"\r\n\r\n")
                await say(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            finished.release()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        clients.append(Http(f"http://127.0.0.1:{port}/", where="x", allow_private=True))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
        await finished.acquire()
    for server in servers:
        server.close()
        await server.wait_closed()


def _saying(*pieces: bytes) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # the pieces must leave as packets of their own

    return say


async def test_an_answer_in_several_packets_is_read_whole(peer: Callable[[Say], Awaitable[Http]]) -> None:
    """A body is not taken for complete when its first bytes have arrived."""
    http = await peer(
        _saying(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Id: 7\r\n\r\n{"a', b'": ', b'"b"}')
    )
    reply = await http.ask("GET", "/x", headers={})
    assert isinstance(reply, Reply)
    assert reply.object == {"a": "b"}
    assert reply.evidence("x-id") == hashlib.sha256(b'200\n{"a": "b"}\nx-id: 7').digest()
    assert reply.evidence("x-id") != reply.evidence()


async def test_no_more_than_the_bound_of_an_answer_is_read(peer: Callable[[Say], Awaitable[Http]]) -> None:
    """An endless answer ends at the bound."""
    http = await peer(_saying(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 * ANSWER_BYTES)))
    reply = await http.ask("GET", "/x", headers={})
    assert isinstance(reply, Reply)
    assert len(reply.body) == ANSWER_BYTES


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "vendor_timeout"),
        (b"nonsense\r\n\r\n", "vendor_timeout"),
        (b"", "vendor_timeout"),
    ],
)
async def test_half_an_answer_or_none_may_have_landed(
    peer: Callable[[Say], Awaitable[Http]], said: bytes, code: str
) -> None:
    """Whatever breaks after the request was sent counts as possibly done."""
    http = await peer(_saying(said))
    assert await http.ask("POST", "/x", headers={}, body=b"y") == Retry(code=code)


async def test_a_refused_connection_asked_nothing() -> None:
    """Nobody listens: nothing can have landed."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    http = Http(f"http://127.0.0.1:{port}", where="x", allow_private=True)
    assert await http.ask("GET", "/", headers={}) == Retry(code="vendor_down", landed=False)
    await http.close()


async def test_a_name_that_leads_to_a_private_address_is_not_called() -> None:
    """The address is judged again where the connection is made."""
    http = Http("https://localhost:1", where="x")
    assert isinstance(answer := await http.ask("GET", "/", headers={}), Pause)
    assert answer.code == "address_refused"
    await http.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/html", b"{}"), ("application/json", b"{"), ("application/json", b"\xff"), ("", b"[" * 100_000)],
)
def test_what_is_not_json_is_nobodys_word(kind: str, body: bytes) -> None:
    """Pages and broken bodies have no JSON."""
    assert Reply(status=200, headers={"content-type": kind}, body=body).json is None
