"""Requests at a rate that no answer holds up: each connection is a few calls, and more are opened as needed.

`benchmarks.load` waits for one of a fixed number of connections; here a server that stops answering for
seconds gets what it would get from the world.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

TURN_SECONDS = 0.001
LONG_SECONDS = 30.0
"""Nobody waits longer for an answer."""
IDLE_SECONDS = 5.0
"""A connection idle for so long is not used again: servers close such ones, in that very moment."""


@dataclass(slots=True)
class Asked:
    """One request: when it was due, sent and answered (`time.monotonic`; 0: never), and with what."""

    due: float
    sent: float = 0.0
    answered: float = 0.0
    status: int = 0
    body: bytes = b""


class _Connection(asyncio.Protocol):
    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._transport: asyncio.Transport | None = None
        self._asked: Asked | None = None
        self._read = b""
        self._since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def ask(self, asked: Asked, request: bytes) -> None:
        assert self._transport is not None
        self._asked, self._read = asked, b""
        asked.sent = time.monotonic()
        self._transport.write(request)

    @property
    def stale(self) -> bool:
        """Whether it is closed, or may be any moment."""
        gone = self._transport is None or self._transport.is_closing()
        return gone or time.monotonic() - self._since > IDLE_SECONDS

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        asked = self._asked
        if len(body) < length or asked is None:
            return
        asked.answered = self._since = time.monotonic()
        asked.status, asked.body = int(head[9:12]), body
        self._asked = None
        self._flood.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if self._asked is not None:
            self._flood.lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@dataclass(slots=True)
class Flood:
    """Sends `rate` requests a second, out of `requests` in turn, to one port for `seconds`."""

    port: int
    requests: Sequence[bytes]
    rate: float
    seconds: float
    most: int = 2_000
    """Connections; what is due while all are waiting is sent later, and late by its own clock."""
    asked: list[Asked] = field(default_factory=list)
    _waiting: deque[int] = field(default_factory=deque)
    _free: list[_Connection] = field(default_factory=list)
    _open: int = 0
    _opening: int = 0
    _under_way: int = 0

    async def run(self) -> list[Asked]:
        """Send everything and wait for the answers."""
        began, count = time.monotonic(), int(self.rate * self.seconds)
        while len(self.asked) < count:
            now = time.monotonic()
            due = min(count, int((now - began) * self.rate) + 1)
            for n in range(len(self.asked), due):
                self.asked.append(Asked(began + n / self.rate))
                self._waiting.append(n)
            self._send()
            await asyncio.sleep(TURN_SECONDS)
        deadline = time.monotonic() + LONG_SECONDS
        while (self._under_way or self._waiting) and time.monotonic() < deadline:  # noqa: ASYNC110 a clock too
            await asyncio.sleep(TURN_SECONDS)
        for each in self._free:
            each.close()
        return self.asked

    def free(self, connection: _Connection) -> None:
        """An answer has come."""
        self._under_way -= 1
        self._free.append(connection)
        self._send()

    def lost(self) -> None:
        """A connection has gone without an answer."""
        self._under_way -= 1
        self._open -= 1

    def _send(self) -> None:
        while self._waiting and self._free:
            connection = self._free.pop()
            if connection.stale:
                connection.close()
                self._open -= 1
                continue
            n = self._waiting.popleft()
            self._under_way += 1
            connection.ask(self.asked[n], self.requests[n % len(self.requests)])
        wanted = min(len(self._waiting) - self._opening, self.most - self._open - self._opening)
        for _ in range(wanted):
            self._opening += 1
            asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), "127.0.0.1", self.port
            )
        except OSError:
            return
        finally:
            self._opening -= 1
        self._open += 1
        self._free.append(connection)
        self._send()
