"""How a fake misbehaves on request: the next so many calls get a fault, its details drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
from aiohttp import web

FaultKind = Literal["429", "5xx", "slow", "lost_answer", "html", "400", "401", "410", "redirect"]
"""What a call can meet.

429, 5xx, 400, 401, 410, redirect, html: answered without doing the work. slow: done, after a while.
lost_answer: done, but the connection breaks before the answer.
"""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PUT /_fault`; `times` 0 ends what was asked before."""

    kind: FaultKind
    times: int = 1
    skip: int = 0
    """So many calls are let through before it strikes."""
    seed: int = 0
    seconds: float | None = None
    """How slow `slow` is; drawn from the seed, up to 2 s, if not stated."""


Work = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Faults:
    """The fault in force at one fake and how often it still strikes."""

    fault: Fault | None = None
    skipping: int = 0
    left: int = 0
    struck: int = 0
    _draws: random.Random = random.Random(0)  # noqa: S311, RUF009  # replaced at every order; repeatable on purpose

    def order(self, fault: Fault) -> None:
        """Misbehave so from the next call on."""
        self.fault, self.left, self.skipping = fault, fault.times, fault.skip
        self._draws = random.Random(fault.seed)  # noqa: S311  # a seed makes misbehaviour repeatable

    async def meet(self, request: web.Request, work: Work) -> web.StreamResponse:
        """Do the work, or what the fault makes of it."""
        if self.fault is None or self.left <= 0:
            return await work(request)
        if self.skipping > 0:
            self.skipping -= 1
            return await work(request)
        self.left -= 1
        self.struck += 1
        return await self._strike(self.fault, request, work)

    async def _strike(self, fault: Fault, request: web.Request, work: Work) -> web.StreamResponse:
        if fault.kind == "slow":
            drawn = self._draws.uniform(0.2, 2.0)
            await asyncio.sleep(drawn if fault.seconds is None else fault.seconds)
            return await work(request)
        if fault.kind == "lost_answer":
            await work(request)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        await request.read()
        return self._answer(fault)

    def _answer(self, fault: Fault) -> web.Response:
        match fault.kind:
            case "429":
                return web.Response(status=429, headers={"Retry-After": str(self._draws.randint(0, 1))})
            case "5xx":
                return web.Response(status=self._draws.choice((500, 502, 503, 504)), text="not now")
            case "html":
                page = "<!doctype html><title>Sign in</title>"
                return web.Response(text=page, content_type="text/html")
            case "redirect":
                return web.Response(status=307, headers={"Location": "/elsewhere"})
            case _:
                return web.Response(status=int(fault.kind))

    async def handle(self, request: web.Request) -> web.Response:
        """Serve `PUT /_fault`."""
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.MsgspecError:
            kinds = ", ".join(get_args(FaultKind))
            return web.json_response({"title": "kind, times and seed, please", "kinds": kinds}, status=400)
        self.order(fault)
        return web.json_response({"kind": fault.kind, "times": fault.times, "seed": fault.seed})
