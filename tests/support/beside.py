"""A stand-in with judges beside it, who were not written together with it.

Every request goes to the stand-in and, with what that answered, to them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from processors.conformance import Party, Stand
from processors.conformance.party import Wall

HOP = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what the stand-in answered."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int
    answer: bytes = field(repr=False)
    content_type: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


Judge = Callable[[Exchange], Awaitable[Sequence[str]]]
"""Says what is wrong with a request, or with its answer."""


@dataclass(slots=True)
class Verdicts:
    """What judges said: how many requests they saw, and each fault once."""

    seen: int = 0
    faults: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Beside:
    """A stand-in as the kit sees it: behind this port stands the real one, and the judges look on."""

    inner: Stand
    judges: Sequence[Judge]
    verdicts: Verdicts
    url: str = ""
    _runner: web.ServerRunner | None = None
    _session: aiohttp.ClientSession | None = None

    @property
    def state(self) -> Any:
        """The stand-in's own."""
        return self.inner.state

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._session = aiohttp.ClientSession(trust_env=False, auto_decompress=False)
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        await self.inner.stop()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        url = URL(self.inner.url + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as told:
            said = await told.read()
            kept = {name: value for name, value in told.headers.items() if name.lower() not in HOP}
        if not request.path.startswith("/_"):
            exchange = Exchange(
                method=request.method,
                target=request.raw_path,
                headers=headers,
                body=body,
                status=told.status,
                answer=said,
                content_type=told.content_type,
            )
            self.verdicts.seen += 1
            for judge in self.judges:
                self.verdicts.faults |= dict.fromkeys(await judge(exchange))
        return web.Response(status=told.status, headers=kept, body=said)


def beside(party: Party, *judges: Judge) -> tuple[Party, Verdicts]:
    """Return the party with these judges beside its stand-in, and what they will have said."""
    verdicts = Verdicts()

    async def start(wall: Wall) -> Stand:
        made = _Beside(await party.start(wall), judges, verdicts)
        await made.start()
        return made

    return replace(party, start=start), verdicts


@asynccontextmanager
async def another_server(
    name: str, url: str, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Judge]:
    """Give a judge that is a server: what it refuses and the stand-in takes is a fault."""
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def judge(of: Exchange) -> list[str]:
            sent = {**of.headers, **(headers or {})}
            async with session.request(
                of.method, URL(url + of.target, encoded=True), headers=sent, data=of.body or None
            ) as told:
                text = await told.text()
            good = of.status < 300 and told.status >= 300
            return [f"{of.method} {of.path}: {name} answers {told.status}: {text[:300]}"] if good else []

        yield judge


@asynccontextmanager
async def printing_its_port(*command: str | Path) -> AsyncIterator[str]:
    """Run a server that prints `{"port": ...}` first; give its address."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["port"]
        draining = asyncio.create_task(process.stdout.read())
        yield f"http://127.0.0.1:{port}"
        draining.cancel()
    finally:
        process.kill()
        await process.wait()
