"""How our HTTP servers run uvicorn: our protocol and its limits, quiet, signals left to who runs them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from lapse.collector.protocol import EdgeProtocol


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: readiness must fail before it stops accepting."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when requests are answered."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def configured(
    app: Any, *, finish_seconds: int, http: type[EdgeProtocol] = EdgeProtocol, **more: Any
) -> uvicorn.Config:
    """The configuration of an application that gets `finish_seconds` for requests under way at its end."""
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=finish_seconds,
        **more,
    )
