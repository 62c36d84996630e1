"""How every fake is served: on a port of this machine, inside the caller's event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from schemas.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A fake that answers at `url` until it is stopped; `state` is the fake itself."""

    url: str
    state: Any
    runner: web.AppRunner

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self.runner.cleanup()


async def serve(app: web.Application, *, host: str, port: int, state: Any) -> Running:
    """Serve an application; port 0 takes a free one."""
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
