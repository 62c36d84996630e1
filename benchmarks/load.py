"""Requests over kept connections, cheap enough that a server and its load fit on two cores."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    """What came of the requests: statuses, and seconds from when each was to be sent until its answer."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    began: float = 0.0
    """When the first one was to be sent, of an open loop (`time.perf_counter`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where requests go."""

    port: int
    context: ssl.SSLContext | None = None

    async def connect(self) -> Connection:
        """A connection that is kept."""
        name = "127.0.0.1" if self.context else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname=name, limit=1 << 24
        )
        return Connection(reader, writer)


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; its status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        at = head.lower().find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 : head.index(b"\r\n", at)])
        body = await self._reader.readexactly(length) if length else b""
        return int(head[9:12]), body

    def close(self) -> None:
        """Let go."""
        self._writer.close()


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """An HTTP/1.1 request, whole."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def closed_loop(server: Server, requests: Iterable[bytes], connections: int) -> Sent:
    """Send everything as fast as so many connections let."""
    waiting, sent = iter(requests), Sent()

    async def work() -> None:
        connection = await server.connect()
        for each in waiting:
            began = time.perf_counter()
            status, _ = await connection.ask(each)
            sent.statuses[status] += 1
            sent.seconds.append(time.perf_counter() - began)
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return sent


async def open_loop(server: Server, requests: Sequence[bytes], rate: float, connections: int = 64) -> Sent:
    """Send `rate` requests a second whatever the answers do; the wait for a free connection counts."""
    sent, free = Sent(), deque([await server.connect() for _ in range(connections)])
    spare, running = asyncio.Semaphore(connections), set()

    async def one(each: bytes, due: float) -> None:
        async with spare:
            connection = free.popleft()
            status, _ = await connection.ask(each)
            free.append(connection)
        sent.statuses[status] += 1
        sent.seconds.append(time.perf_counter() - due)

    began = sent.began = time.perf_counter()
    for number, each in enumerate(requests):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(each, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in free:
        connection.close()
    return sent
