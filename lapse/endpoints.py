"""The `keys` role: the key endpoint and the admin API, each on its port, both over TLS, in one process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.types import ASGIApp

from lapse import main
from lapse.admin import create_app as create_admin
from lapse.initialise import read_marker
from lapse.keyservice import build
from lapse.layout import Layout
from lapse.main import Installation
from lapse.rolestate import RoleState

DRAIN_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: one process, two servers, one answer to SIGTERM."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `run`."""
        yield


def run(here: Installation, state: RoleState) -> int:
    """Serve until SIGTERM."""
    return uvloop.run(_serve(here, state))


async def _serve(here: Installation, state: RoleState) -> int:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ports = here.runtime.ports
    async with build.key_app(here) as keys:
        servers = [
            _server(here, keys, ports.keys),
            _server(here, create_admin(lambda: _opening(here.layout)), ports.admin),
        ]
        running = [asyncio.create_task(server.serve()) for server in servers]
        while not (all(s.started for s in servers) or any(t.done() for t in running)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # uvicorn says that it listens in a plain attribute
        if any(task.done() for task in running):
            return 1
        state.ready()
        await stopping.wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
    return 0


def _server(here: Installation, app: ASGIApp, port: int) -> _Server:
    layout = here.layout
    return _Server(
        uvicorn.Config(
            app,
            host=here.runtime.host,
            port=port,
            ssl_certfile=str(layout.tls_certificate),
            ssl_keyfile=str(layout.tls_key),
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )


def _opening(layout: Layout) -> Installation:
    """A fresh opening of the data folder, for one request of the admin API."""
    return Installation(layout, read_marker(layout), main.settings())
