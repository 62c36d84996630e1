"""Requests answered without a task: the awkward ends, and that both ways mean the same."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lapse.collector.direct import Turn
from lapse.collector.framing import Spooled
from lapse.collector.opens import GIF
from tests.unit.collector.harness import KEY, SERVER, Running, running, token
from tests.unit.collector.test_pixels import settle

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = b'{"fields":{"email":"jo@example.org"}}'
EVENTS = b'{"events":[{"name":"view","url":"https://x/"}]}'


def asked(method: str, path: str, body: bytes = b"", *lines: str, version: str = "1.1") -> bytes:
    """A request as bytes."""
    head = [f"{method} {path} HTTP/{version}", "Host: x", *lines]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join((*head, "", "")).encode() + body


POST = asked("POST", f"/f/request-demo?k={KEY}", FORM)
GET = asked("GET", f"/o/{token()}.gif")
LAST = asked("GET", "/healthz", b"", "Connection: close")


class Held:
    """Kafka's twin, which takes events and keeps whoever sent them waiting for its word."""

    def __init__(self, edge: Running) -> None:
        self.waiting: list[Spooled] = []
        self.came, self.word = asyncio.Event(), asyncio.Event()
        self._edge = edge
        vars(edge.producer)["send"] = self.send  # a broker that is asked to wait

    async def send(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Take events, wait, and say what Kafka's twin says then."""
        self.waiting.extend(events)
        self.came.set()
        await self.word.wait()
        return await type(self._edge.producer).send(self._edge.producer, events)


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer, whole."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = re.search(rb"content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - uvicorn says nothing when it has told a connection
            await asyncio.sleep(0.001)


def meaning(said: bytes) -> bytes:
    """An answer without what differs from one to the next: date, ids, and whether the connection ends."""
    said = re.sub(rb"(date: [^\r]*|connection: close)\r\n", b"", said)
    head, _, body = re.sub(rb"[0-9a-f]{32}", b"id", said).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return b"\n".join((first, *sorted(lines), body))


ALIKE = {
    "a form": POST,
    "a form with an origin": asked("POST", f"/f/request-demo?k={KEY}", FORM, "Origin: https://elsewhere"),
    "a form of a server": asked("POST", "/f/request-demo", FORM, f"Authorization: {SERVER['authorization']}"),
    "no credential": asked("POST", "/f/request-demo", FORM),
    "a foreign field": asked("POST", f"/f/request-demo?k={KEY}", b'{"fields":{"shoe":"x"}}'),
    "no JSON": asked("POST", f"/f/request-demo?k={KEY}", b"{"),
    "what would become of it": asked("POST", f"/f/request-demo?k={KEY}&dry_run=1", FORM),
    "no length": asked("POST", f"/f/request-demo?k={KEY}"),
    "too many bytes": asked("POST", f"/f/request-demo?k={KEY}", FORM.ljust(65_537)),
    "two origins": asked("POST", f"/e?k={KEY}", EVENTS, "Origin: a", "Origin: b"),
    "events": asked("POST", f"/e?k={KEY}", EVENTS),
    "events and their ids": asked("POST", f"/e?k={KEY}&ids=1", EVENTS),
    "a signal": asked(
        "POST", f"/s?k={KEY}", b'{"cookie_id":"c","consents":[{"purpose":"analytics","granted":true}]}'
    ),
    "a gif": GET,
    "a gif with a body": asked("GET", f"/o/{token()}.gif", b"x"),
    "a forged gif": asked("GET", "/o/x%20y.gif"),
    "nowhere": asked("GET", "/nowhere?a=%zz"),
    "another method": asked("GET", "/e"),
    "health": asked("GET", "/healthz"),
}


@pytest.mark.parametrize("name", ALIKE)
async def test_both_ways_answer_alike(edge: Running, name: str) -> None:
    """The same request, whole on a kept connection and with `Connection: close`, has one meaning."""
    data = ALIKE[name]
    direct = await edge.raw(data + LAST)
    direct = direct[: direct.rindex(b"HTTP/1.1 200 OK")]
    await settle(edge, len(edge.sent))
    sent = len(edge.sent)
    by_task = await edge.raw(data.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n", 1))
    assert meaning(direct) == meaning(by_task)
    assert b"connection: close" not in direct
    assert b"connection: close" in by_task
    if name in {"a form", "events", "a signal", "a gif"}:
        await settle(edge, 2)
        assert len(edge.sent) == 2 >= sent


@pytest.mark.parametrize("at", [1, 20, len(POST) - len(FORM) - 3, len(POST) - len(FORM), len(POST) - 1])
async def test_a_request_in_two_pieces_is_one_request(edge: Running, at: int) -> None:
    """Wherever a packet ends, the answer is that of the whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
    writer.write(POST[:at])
    await writer.drain()
    assert (await edge.http.get("/healthz")).status_code == 200
    writer.write(POST[at:])
    assert (await answer(reader)).startswith(b"HTTP/1.1 202 ")
    writer.write(POST)
    assert (await answer(reader)).startswith(b"HTTP/1.1 202 ")
    writer.close()
    assert len(edge.sent) == 2


async def test_a_usual_request_waits_without_a_task(tmp_path: Path) -> None:
    """While Kafka thinks, there is no task for a request that came whole, and one for any other."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
        before = len(asyncio.all_tasks())
        writer.write(POST)
        await held.came.wait()
        assert len(asyncio.all_tasks()) == before
        held.came.clear()
        other, close = await asyncio.open_connection("127.0.0.1", edge.collector.port)
        close.write(POST.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        await held.came.wait()
        assert len(asyncio.all_tasks()) == before + 1
        held.word.set()
        assert (await answer(reader)).startswith(b"HTTP/1.1 202 ")
        assert (await answer(other)).startswith(b"HTTP/1.1 202 ")
        writer.close()
        close.close()


async def test_requests_sent_ahead_are_answered_in_order(tmp_path: Path) -> None:
    """Ten requests in one packet, the first of which waits for Kafka, have ten answers in their order."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        reading = asyncio.create_task(
            edge.raw(POST + GET + POST[:-1] + b" " + b"".join([POST, GET] * 3) + LAST)
        )
        await held.came.wait()
        assert len(held.waiting) == 1
        held.word.set()
        said = await reading
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [
            *(b"202", b"200", b"400"),
            *([b"202", b"200"] * 3),
            b"200",
        ]
        assert said.count(GIF) == 4


async def test_many_requests_in_one_packet_have_one_turn_each(edge: Running) -> None:
    """Only the first of a packet is answered where it is read; the others wait, as many as may."""
    said = await edge.raw(asked("GET", "/healthz") * 50 + LAST)
    assert said.count(b"HTTP/1.1 200 ") == 51
    said = await edge.raw(asked("GET", "/healthz") * 200)
    assert 1 <= said.count(b"HTTP/1.1 200 ") < 65


async def test_a_client_that_is_gone_loses_nothing(tmp_path: Path) -> None:
    """What Kafka takes after its sender has hung up is kept, and the next client is answered."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        _, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
        writer.write(POST)
        await held.came.wait()
        writer.transport.abort()
        await until(lambda: not connections(edge))
        held.word.set()
        await settle(edge, 1)
        assert (await edge.form()).status_code == 202
        assert len(edge.sent) == 2


def connections(edge: Running) -> list[Any]:
    """The server's connections."""
    server = edge.collector._server  # noqa: SLF001 - what uvicorn knows of its connections
    assert server is not None
    return list(server.server_state.connections)


async def test_a_broker_that_goes_while_a_request_waits_sends_it_to_the_spool(tmp_path: Path) -> None:
    """The client waits for the disk instead, is told so, and the event reaches Kafka when it is back."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        posting = asyncio.create_task(edge.form())
        await held.came.wait()
        edge.producer.away = True
        held.word.set()
        response = await posting
        assert (response.status_code, response.json()["stored"]) == (202, "spool")
        edge.producer.away = False
        await settle(edge, 1)
        assert [each.event_id for each in edge.sent] == [held.waiting[0].event_id]


async def test_a_stop_lets_requests_finish_and_ends_their_connections(tmp_path: Path) -> None:
    """Whoever waits for Kafka when the collector is stopped gets an answer, the connection's last."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
        writer.write(POST)
        await held.came.wait()
        stopping = asyncio.create_task(edge.stop())
        await until(lambda: any(each.cycle and not each.cycle.keep_alive for each in connections(edge)))
        held.word.set()
        said = await answer(reader)
        assert said.startswith(b"HTTP/1.1 202 ")
        assert b"connection: close" in said
        assert await reader.read() == b""
        await stopping
        writer.close()
        assert len(edge.sent) == 1


async def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """Who would still wait when the time to finish is over is told that it failed."""
    async with running(tmp_path) as edge:
        held = Held(edge)
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
        writer.write(POST)
        await held.came.wait()
        await edge.stop()
        said = await answer(reader)
        assert said.startswith(b"HTTP/1.1 500 ")
        assert b"connection: close" in said
        assert await reader.read() == b""
        writer.close()


async def test_an_error_in_the_middle_of_a_request_is_answered_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours behind the wait for Kafka is 500, logged without its text; the connection ends."""

    async def broken(_events: Sequence[Spooled]) -> list[Spooled]:
        await asyncio.sleep(0)
        raise RuntimeError("jo@example.org")

    async with running(tmp_path) as edge:
        vars(edge.producer)["send"] = broken  # a client that fails in a new way
        said = await edge.raw(POST)
        assert said.startswith(b"HTTP/1.1 500 ")
        assert b"connection: close\r\n" in said
        assert b"jo@" not in said
    assert "RuntimeError" in caplog.text
    assert "jo@" not in caplog.text


async def test_a_request_is_gone_once_it_is_answered(edge: Running) -> None:
    """Nothing of a request waits for Python to look for garbage: a connection keeps its latest turn alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
    gc.collect()
    before = sum(type(each) is Turn for each in gc.get_objects())
    gc.disable()
    try:
        for _ in range(20):
            writer.write(POST)
            await answer(reader)
        after = sum(type(each) is Turn for each in gc.get_objects())
    finally:
        gc.enable()
    writer.close()
    assert after - before <= 1


@pytest.mark.parametrize(
    ("data", "status", "ends"),
    [
        (asked("HEAD", f"/o/{token()}.gif"), b"200", False),
        (asked("POST", f"/f/request-demo?k={KEY}", FORM, version="1.0"), b"202", True),
        (
            asked("POST", f"/f/request-demo?k={KEY}", FORM, "Connection: keep-alive", version="1.0"),
            b"202",
            True,
        ),
        (asked("POST", f"/f/request-demo?k={KEY}", FORM, "Connection: close"), b"202", True),
        (asked("POST", f"/f/request-demo?k={KEY}", FORM, "Upgrade: x", "Connection: upgrade"), b"400", True),
        (asked("GET", "http://x/healthz"), b"200", False),
        (asked("GET", "/healthz#a"), b"200", False),
        (asked("GET", "/e%00"), b"400", True),
    ],
    ids=["HEAD", "1.0", "1.0 kept", "close", "upgrade", "absolute", "fragment", "control"],
)
async def test_what_is_not_usual_goes_the_long_way(
    edge: Running, data: bytes, status: bytes, ends: bool
) -> None:
    """Its answer is what it always was, and the connection goes on where it may."""
    said = await edge.raw(data + LAST)
    heads = re.findall(rb"HTTP/1.1 (\d+)", said)
    assert heads == ([status] if ends else [status, b"200"])


async def test_a_kept_connection_ends_after_its_rest(edge: Running) -> None:
    """A connection that brings nothing is closed after the keep-alive time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.collector.port)
    writer.write(POST)
    await answer(reader)
    (mine,) = [each for each in connections(edge) if each.client == writer.get_extra_info("sockname")[:2]]
    mine.timeout_keep_alive = 0.05
    writer.write(POST)
    await answer(reader)
    mine._look()  # noqa: SLF001 - its timer was set for ten seconds
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
