"""For Starlette, FastAPI, Quart, Litestar and any other ASGI application."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lapse_client.context import read_cookies, read_visit, visit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class VisitMiddleware:
    """`app.add_middleware(VisitMiddleware)`, or `VisitMiddleware(app)`."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Serve one request as its visit."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        pairs = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        # HTTP/2 may bring cookies in several headers (RFC 9113, 8.2.3).
        cookies = read_cookies("; ".join(value for name, value in pairs if name == "cookie"))
        client = scope.get("client")
        with visit(read_visit(dict(pairs), cookies, client[0] if client else None)):
            await self._app(scope, receive, send)
