"""Clients that take their time, many of them: the servers go on serving others, and let the slow ones go."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from lapse.collector import protocol
from lapse.collector.protocol import Waiting, allow_files, most_waiting
from tests.unit.attack.servers import NAMES, Server, Servers, all_three, everything
from tests.unit.attack.test_framing import BODY, JSON, TARGETS, post

HELD = 40
"""Connections at a time in these tests; the limit on those that owe a request is set to half of it."""
HALVES: dict[str, Callable[[str], bytes]] = {
    "nothing at all": lambda _name: b"",
    "half a header": lambda _name: b"POST / HTTP/1.1\r\nHost: x\r\nX-A: b",
    "half a body": lambda name: post(TARGETS[name], JSON, "Content-Length: 99", body=BODY[:5]),
    "half a chunk": lambda name: post(TARGETS[name], JSON, "Transfer-Encoding: chunked", body=b"ff\r\n{"),
}


async def healthy(server: Server) -> bool:
    """Whether a client who does not dawdle is served."""
    answer = await server.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return answer.startswith(b"HTTP/1.1 200 ")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def few(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Servers that let few connections owe them a request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "MOST_WAITING", HELD // 2)
        async with all_three(tmp_path_factory.mktemp("few")) as running:
            yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("half", HALVES)
async def test_slow_senders_take_each_others_place_and_nobody_elses(few: Servers, half: str) -> None:
    """With twice as many slow connections as are allowed, the oldest are given up and others are served."""
    for name in NAMES:
        lines = []
        for _ in range(HELD):
            reader, writer = await few[name].connect()
            writer.write(HALVES[half](name))
            lines.append((reader, writer))
        assert await healthy(few[name]), name
        gone = [asyncio.create_task(everything(reader)) for reader, _ in lines[: HELD // 2 - 1]]
        for answer in await asyncio.wait_for(asyncio.gather(*gone), 10):
            assert answer == b"" or answer[9:12] in (b"503", b"400", b"401", b"405"), answer
        assert await healthy(few[name]), name
        for _, writer in lines:
            writer.transport.abort()


async def test_headers_that_stall_are_given_up_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that brings no headers is given up by the key endpoint and the admin API too."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.1)
    async with all_three(tmp_path) as running:
        for name in NAMES:
            assert (await running[name].say(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 "), name
            assert await running[name].say(b"") == b"", name


async def test_an_endless_body_behind_an_early_answer_is_given_up_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger who is told 401 cannot go on sending for ever."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.1)
    async with all_three(tmp_path) as running:
        for name in ("keys", "admin"):
            answer = await running[name].say(post("/v1/keys", JSON, "Content-Length: 999999", body=BODY))
            assert answer[9:12] in (b"401", b"404"), answer


async def test_who_never_reads_the_answers_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks for page after page and takes none of them loses its connection."""
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.2)
    async with all_three(tmp_path) as running:
        reader, writer = await running["collector"].connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # sockets' transports have it
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        assert await healthy(running["collector"])
        del reader


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", NAMES)
async def test_requests_sent_far_ahead_are_not_queued_without_end(few: Servers, name: str) -> None:
    """Twenty thousand requests at once: the connection ends at the 65th, and no more is done."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    answer = await few[name].say(asked, 30)
    assert answer.count(b"HTTP/1.1 200 ") <= protocol.MOST_PIPELINED
    assert await healthy(few[name])


class Connection:
    """Stands for a connection; remembers that it was given up."""

    gone = False

    def give_up(self) -> None:
        """End."""
        self.gone = True


def test_the_one_that_waits_longest_goes_first() -> None:
    """Entering again does not make a connection younger; one whose request came whole is safe."""
    waiting = Waiting(2)
    first, second, third = Connection(), Connection(), Connection()
    for each in (first, second, first):
        waiting.add(each)  # type: ignore[arg-type]  # as much of a connection as is needed
    waiting.add(third)  # type: ignore[arg-type]  # same
    assert (first.gone, second.gone, third.gone) == (True, False, False)
    waiting.remove(second)  # type: ignore[arg-type]  # same
    waiting.add(first)  # type: ignore[arg-type]  # same
    assert (second.gone, third.gone, len(waiting)) == (False, False, 2)


def test_at_most_half_of_the_files_may_be_owed_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit follows what the process may open, which is raised as far as it may be."""
    monkeypatch.setattr(protocol, "MOST_WAITING", 10_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        assert most_waiting() == 150
        allow_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    finally:
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
