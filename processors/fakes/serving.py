"""How every fake is served: a port of this machine, the caller's event loop, a page with its shelf."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from processors.fakes.page import HEADERS, Called, Mark, page, part
from schemas.errors import Unavailable

CALLS, MARKS = 20, 400
"""Calls, and moments of the curve, that are remembered."""
MARK_SECONDS = 0.25
Held = Callable[[], Sequence[dict[str, Any]]]
"""Returns what a fake holds: `{id, fields, ...}` each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A fake that answers at `url` until it is stopped; `state` is the fake itself."""

    url: str
    state: Any
    runner: web.AppRunner

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self.runner.cleanup()


@dataclass(slots=True)
class Shop:
    """What a fake's page shows besides the shelf: who called, and how many objects there were when."""

    name: str
    held: Held
    calls: deque[Called] = field(default_factory=lambda: deque(maxlen=CALLS))
    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))

    def open(self, app: web.Application) -> None:
        """Watch every call, and show the page at `/`."""
        app.middlewares.append(self._watching())
        app.router.add_get("/", self._show)

    def _watching(self) -> Any:
        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            own = request.path == "/" or request.path.startswith("/_")
            if own and not _of_this_machine(request.host):
                return web.Response(status=403, text="ask under the address of this machine")
            status = 500
            try:
                answer = await handler(request)
                status = answer.status
                return answer
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                if not own:
                    self.calls.appendleft(Called(time.monotonic(), request.method, request.path, status))
                self._mark()

        return watch

    def _mark(self) -> None:
        now = time.monotonic()
        if self.marks and now - self.marks[-1].at < MARK_SECONDS:
            return  # a large shelf is not counted at every call
        objects = len(self.held())
        if not self.marks or self.marks[-1].objects != objects:
            self.marks.append(Mark(now, objects))

    async def _show(self, request: web.Request) -> web.Response:
        self._mark()
        inner = part(self.held(), self.marks, self.calls, time.monotonic())
        text = inner if "part" in request.query else page(self.name, inner)
        return web.Response(text=text, content_type="text/html", headers=HEADERS)


def _of_this_machine(host: str) -> bool:
    """Whether a Host names this machine by its own words.

    A stranger's page may let a name lead here (rebinding) and would read the shelf.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name in ("localhost", "127.0.0.1", "[::1]")


async def serve(
    app: web.Application, *, host: str, port: int, state: Any, held: Held | None = None
) -> Running:
    """Serve an application; port 0 takes a free one. The page shows what `held` (`state.held`) returns."""
    shelf = held or getattr(state, "held", None)
    if shelf is not None:
        Shop(type(state).__module__.rpartition(".")[2], shelf).open(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        where, do = f"{host}:{port}", "choose another port, or 0 for a free one"
        raise Unavailable(
            "unavailable", f"port {port} is in use, or not ours to listen on", where, do
        ) from None
    bound = runner.addresses[0][1]
    return Running(url=f"http://{host}:{bound}", state=state, runner=runner)
