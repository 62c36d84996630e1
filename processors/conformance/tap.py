"""Stands between a recipient and its stand-in on loopback: notes every byte, and misbehaves as a run asks.

Real HTTP on both sides; what is forwarded keeps its host, so that addresses in answers lead back here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

from processors.conformance.party import Refusal
from processors.conformance.trace import Trace, template

_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "date", "server"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it arrived."""

    number: int
    method: str
    target: str = field(repr=False)
    raw: bytes = field(repr=False)
    """Method, target, headers and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What becomes of one request instead of plain forwarding."""

    what: Literal["refuse", "lose", "garble", "hold", "hold_answer"]
    refusal: Refusal | None = None
    until: asyncio.Event | None = None


Rule = Callable[[Seen], Act | None]
"""Decides about each request; None forwards it."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer of the stand-in."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def as_is(_: Seen) -> None:
    """Forward everything."""


class Tap:
    """One run's tap."""

    def __init__(self, upstream: str, trace: Trace) -> None:
        self._upstream, self._trace = upstream.rstrip("/"), trace
        self.seen: list[Seen] = []
        self.rule: Rule = as_is
        self.judge: Callable[[Seen], None] = as_is
        self.stale: dict[tuple[str, str], Told] | None = None
        """While a vendor still returns what it has deleted: the answers reads are given."""
        self.reads: dict[tuple[str, str], Told] = {}
        self.held = asyncio.Event()
        self.url = ""
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), trust_env=False, auto_decompress=False
        )
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close both sides."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        lines = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        raw = f"{request.method} {request.raw_path}\n{lines}\n\n".encode() + body
        seen = Seen(number=len(self.seen), method=request.method, target=request.raw_path, raw=raw)
        self.seen.append(seen)
        self.judge(seen)
        act = self.rule(seen)
        if act is not None and act.what == "refuse" and act.refusal is not None:
            return self._refused(seen, act.refusal)
        if act is not None and act.what == "hold":
            await self._wait(seen, act, "before its work")
        told = await self._forward(request, seen, body)
        if act is not None and act.what == "hold_answer":
            await self._wait(seen, act, "after its work")
        return await self._last(request, seen, told, act)

    async def _last(
        self, request: web.BaseRequest, seen: Seen, told: Told, act: Act | None
    ) -> web.StreamResponse:
        if act is not None and act.what == "lose":
            self._say(seen, "done, answer lost")
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if act is not None and act.what == "garble" and act.refusal is not None:
            return self._refused(seen, act.refusal, "done, answer broken")
        self._say(seen, str(told.status))
        return web.Response(status=told.status, headers=told.headers, body=told.body)

    async def _wait(self, seen: Seen, act: Act, where: str) -> None:
        assert act.until is not None
        self._say(seen, f"held {where}")
        self.held.set()
        await act.until.wait()

    async def _forward(self, request: web.BaseRequest, seen: Seen, body: bytes) -> Told:
        key = (seen.method, seen.target)
        if self.stale is not None and key in self.stale:
            return self.stale[key]
        assert self._session is not None
        url = URL(self._upstream + seen.target, encoded=True)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        async with self._session.request(
            seen.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            told = Told(answer.status, kept, await answer.read())
        if seen.method == "GET" and told.status < 300:
            self.reads[key] = told
        return told

    def _refused(self, seen: Seen, refusal: Refusal, note: str = "not done") -> web.Response:
        self._say(seen, f"{refusal.status} ({note})")
        headers = {**refusal.headers, "Content-Type": refusal.content_type}
        return web.Response(status=refusal.status, body=refusal.body, headers=headers)

    def _say(self, seen: Seen, what: str) -> None:
        self._trace.say(f"    {seen.method} {template(seen.target)} -> {what}")
