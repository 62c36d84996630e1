"""Sends a grammar's requests to the three servers in their own process, and judges every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.attack.grammar import CANARY, Credentials, Grammar
from tests.unit.attack.servers import NAMES

REPOSITORY = Path(__file__).parents[3]
AT_ONCE = 48
PATIENCE = 0.25
"""Seconds the answer to a damaged request is waited for: if it was cut short, none comes."""
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ")
DOCUMENTED = frozenset({200, 202, 204, 303, 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 429, 431, 503})


@dataclass
class Target:
    """The process of the three servers."""

    process: subprocess.Popen[bytes]
    log: Path
    given: dict[str, Any]
    tls: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.tls = ssl.create_default_context(cafile=self.given["ca"])

    @property
    def resident(self) -> int:
        """Its memory in KiB (VmRSS)."""
        status = Path(f"/proc/{self.given['pid']}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])

    @property
    def files(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.given['pid']}/fd").iterdir()))

    def credentials(self) -> Credentials:
        """What the attacker was given."""
        return Credentials(
            **{name: self.given[name] for name in ("site_key", "site_token", "processor", "admin")}
        )


@contextlib.contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Start the process, and stop it in order."""
    log = folder / "servers.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.attack.servers", str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=REPOSITORY,
        )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        try:
            yield Target(process, log, json.loads(line))
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Answers:
    """What came back, counted, and whatever should not have."""

    statuses: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    wrong: list[tuple[str, bytes, bytes]] = field(default_factory=list)

    def judge(self, server: str, request: bytes, answer: bytes) -> None:
        """Count the statuses of one connection; keep what is not documented, malformed or a leak."""
        self.sent += 1
        statuses = [int(each) for each in _HEAD.findall(answer)]
        self.statuses.update(statuses or [0])
        bad = [status for status in statuses if status not in DOCUMENTED and status != 100]
        leaks = CANARY.encode() in answer
        if bad or leaks or not _well_formed(answer):
            self.wrong.append((server, request[:600], answer[:600]))


def _well_formed(answer: bytes) -> bool:
    """Whether every error, as far as it came, is a problem document and says no more than that."""
    for head, body in _split(answer):
        status = int(_HEAD.findall(head)[0])
        if status < 400 or b"schemaregistry" in head or b"content-length: 0\r\n" in head:
            continue
        if b"application/problem+json" not in head and not (status == 503 and b'"ready"' in body):
            return False
        try:
            said = json.loads(body)["status"] if body else status
        except (ValueError, KeyError, TypeError):
            return False
        if said != status:
            return False
    return True


def _split(answer: bytes) -> Iterator[tuple[bytes, bytes]]:
    while answer.startswith(b"HTTP/1.1 "):
        head, found, rest = answer.partition(b"\r\n\r\n")
        length = re.findall(rb"content-length: (\d+)", head)
        without = rest.startswith(b"HTTP/1.1 ")  # the answer to a HEAD: the next one follows at once
        size = int(length[0]) if length and not without else 0
        if not found or (len(rest) < size and rest):
            return
        yield head + b"\r\n", rest[:size]
        answer = rest[size:]


async def flood(at: Target, seed: int, count: int) -> Answers:
    """Send `count` times, many at once, over connections that are kept where the server keeps them."""
    grammar, answers = Grammar(seed, at.credentials()), Answers()
    numbers = iter(range(count))

    async def worker() -> None:
        lines = {name: Line(at, name) for name in NAMES}
        for number in numbers:
            server = NAMES[number % len(NAMES)]
            request, tidy = grammar.request(server)
            answers.judge(server, request, await lines[server].say(request, tidy))
        for line in lines.values():
            line.drop()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return answers


@dataclass
class Line:
    """A connection to one server, made anew where the last request or answer ended it."""

    at: Target
    server: str
    _open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def say(self, request: bytes, tidy: bool) -> bytes:
        """Send, and return what comes: one answer where the request is tidy, else all until it ends."""
        found = bytearray()
        ended = False
        try:
            reader, writer = self._open = self._open or await self._connect()
            writer.write(request)
            async with asyncio.timeout(10):
                await writer.drain()
            while not ended and not (tidy and _whole(bytes(found), request)):
                more = await asyncio.wait_for(reader.read(65536), 10 if tidy or found else PATIENCE)
                found, ended = found + more, not more
        except (ConnectionError, TimeoutError, ssl.SSLError):
            ended = True
        if ended or not tidy or b"connection: close" in found:
            self.drop()
        return bytes(found)

    def drop(self) -> None:
        """Leave without a word."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = None if self.server == "collector" else self.at.tls
        name = "localhost" if tls else None
        port = self.at.given["ports"][self.server]
        return await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)


def _whole(answer: bytes, request: bytes) -> bool:
    """Whether one answer is here, to its last byte."""
    if answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.findall(rb"content-length: (\d+)", head)
    return bool(found) and (request.startswith(b"HEAD ") or not length or len(body) >= int(length[0]))
