"""Where a vendor that calls us is heard in a run, as the key endpoint does at `POST /in/<processor>`."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from processors.recipient import Post

Hear = Callable[[Post], bytes]
"""Reads one request and returns the answer."""


class Hook:
    """Listens on a free port of this machine."""

    def __init__(self, hear: Hear) -> None:
        self._hear, self._runner = hear, web.ServerRunner(web.Server(self._answer, access_log=None))
        self.url = ""

    async def start(self) -> None:
        """Begin to listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/in"

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        post = Post(headers=headers, query=dict(request.query), body=await request.read())
        return web.Response(body=self._hear(post), content_type="application/json")
