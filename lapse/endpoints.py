"""The `keys` role: the key endpoint and the admin API, each on its port, both over TLS, in one process."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from lapse import main
from lapse.admin import create_app as create_admin
from lapse.collector.protocol import WithoutPayload, allow_files
from lapse.initialise import read_marker
from lapse.keyservice import build
from lapse.layout import Layout
from lapse.main import Installation
from lapse.rolestate import RoleState
from lapse.serving import Server, configured
from schemas.errors import Bug, Unavailable

DRAIN_SECONDS = 5
LOOK_SECONDS = 1.0


def run(here: Installation, state: RoleState) -> int:
    """Serve until SIGTERM."""
    allow_files()
    logging.getLogger("uvicorn.error").addFilter(WithoutPayload())
    return uvloop.run(_serve(here, state))


async def _serve(here: Installation, state: RoleState) -> int:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ports = here.runtime.ports
    async with build.key_app(here) as keys:
        servers = [
            _server(here, keys, ports.keys),
            _server(here, create_admin(here.layout, lambda: _opening(here.layout)), ports.admin),
        ]
        running = [asyncio.create_task(server.serve()) for server in servers]
        while not (all(s.started for s in servers) or any(t.done() for t in running)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # uvicorn says that it listens in a plain attribute
        if any(task.done() for task in running):
            return 1
        state.ready()
        watch = asyncio.create_task(_watch(here, state))
        await stopping.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
    return 0


async def _watch(here: Installation, state: RoleState) -> None:
    """Say, whenever it changes, whether requests have to be answered 503 because the vault is closed."""
    while True:
        state.ready(await asyncio.to_thread(_vault_closed, here))
        await asyncio.sleep(LOOK_SECONDS)


def _vault_closed(here: Installation) -> str | None:
    try:
        with here.vault.transaction(write=False) as tx:
            tx.policy_count()
    except Unavailable as error:
        return f"the vault: {error.what}" + (f" ({error.where})" if error.where else "")
    return None


def _server(here: Installation, app: ASGIApp, port: int) -> Server:
    layout = here.layout
    return Server(
        configuration(
            app, host=here.runtime.host, port=port, certificate=layout.tls_certificate, key=layout.tls_key
        )
    )


def configuration(app: ASGIApp, *, host: str, port: int, certificate: Path, key: Path) -> uvicorn.Config:
    """How both are served: TLS 1.2 or newer, and the collector's protocol with its limits."""
    config = configured(
        app,
        finish_seconds=DRAIN_SECONDS,
        host=host,
        port=port,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
    )
    config.load()
    if config.ssl is None:
        raise Bug("bug", "no TLS context was made", str(certificate))
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    config.ssl.options |= ssl.OP_NO_RENEGOTIATION
    return config


def _opening(layout: Layout) -> Installation:
    """A fresh opening of the data folder, for one request of the admin API."""
    return Installation(layout, read_marker(layout), main.settings())
