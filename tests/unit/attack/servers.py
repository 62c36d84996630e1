"""The three HTTP servers of an installation on real sockets, as they run, on a double of Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from starlette.types import ASGIApp

from lapse import endpoints, logs
from lapse.admin import create_app as create_admin
from lapse.collector import Limits
from lapse.collector.framing import Spooled
from lapse.initialise import initialise, read_marker, read_policy
from lapse.keyservice.app import create_app as create_keys
from lapse.keyservice.inbound import Ear
from lapse.keyservice.rates import Rates
from lapse.layout import Layout
from lapse.main import Installation
from lapse.serving import Server as Uvicorn
from lapse.settings import Settings
from processors.messages import Secrets
from processors.partner_events import PartnerEar
from processors.tokens import make_secret
from schemas.ids import Micros
from schemas.plan import ProcessorPlan
from tests.unit.collector.harness import KEY, POLICY, TOKEN, Running, running, settings
from tests.unit.processors.world import TOKENS, World
from vault.values import PolicyRow

NAMES = ("collector", "keys", "admin")


def partner(plan: ProcessorPlan) -> Ear | None:
    """The one recipient that is listened to, under a secret nobody has."""
    return Ear(hears=PartnerEar(Secrets((make_secret(),)))) if plan.name == "partner" else None


@dataclass
class Server:
    """One of the three; `tls` is None for the collector, which speaks plain HTTP behind the site's proxy."""

    name: str
    port: int
    tls: ssl.SSLContext | None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of a stranger."""
        name = "localhost" if self.tls else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=name)

    async def say(self, data: bytes, seconds: float = 15.0) -> bytes:
        """Write these bytes and read until the server ends the connection."""
        reader, writer = await self.connect()
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            return await asyncio.wait_for(everything(reader), seconds)
        finally:
            writer.close()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, or a reset, which a client that went on writing may see."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65536):
            found += more
    return found


@dataclass
class Servers:
    """All three, with what lies behind them."""

    collector: Running
    world: World
    layout: Layout
    by_name: dict[str, Server]

    def __getitem__(self, name: str) -> Server:
        return self.by_name[name]


def installation(folder: Path) -> Layout:
    """A data folder as `lapse init` makes it, its policy published, on which nothing has ever run."""
    layout = Layout(folder)
    marker = initialise(folder, POLICY, test=True, clock="system", hosts=("localhost", "127.0.0.1"))
    text, policy = read_policy(POLICY)
    with contextlib.closing(Installation(layout, marker, Settings())) as here:
        row = PolicyRow(
            version=policy.version,
            effective=Micros(0),
            sha256=bytes.fromhex(marker.policy_sha256),
            body=text.decode(),
        )
        with here.vault.transaction() as tx:
            tx.put_policy(row)
    return layout


def opened(layout: Layout) -> Installation:
    """An opening for one request, as the keys role makes it."""
    return Installation(layout, read_marker(layout), Settings())


@contextlib.asynccontextmanager
async def all_three(folder: Path, limits: Limits | None = None) -> AsyncIterator[Servers]:
    """Start them in this loop and stop them in order."""
    layout, world = installation(folder / "data"), World()
    rates = Rates(per_second=1e9, burst=1e9, clock=time.monotonic)
    keys = create_keys(world.vault, world.book.within, rates=rates, ears=partner)
    admin = create_admin(layout, partial(opened, layout))
    tls = ssl.create_default_context(cafile=str(layout.ca))
    async with (
        running(folder / "collector", with_settings=settings(folder / "collector", limits)) as collector,
        serving(layout, keys) as keys_port,
        serving(layout, admin) as admin_port,
    ):
        yield Servers(
            collector=collector,
            world=world,
            layout=layout,
            by_name={
                "collector": Server("collector", collector.collector.port, None),
                "keys": Server("keys", keys_port, tls),
                "admin": Server("admin", admin_port, tls),
            },
        )


GENEROUS = Limits(form_rate=1e9, form_burst=10**9, beacon_rate=1e9, beacon_burst=10**9)
"""For floods that are to get behind the rates."""


@contextlib.asynccontextmanager
async def serving(layout: Layout, app: ASGIApp) -> AsyncIterator[int]:
    """Serve an app as the keys role serves it; the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        config = endpoints.configuration(
            app, host="127.0.0.1", port=0, certificate=layout.tls_certificate, key=layout.tls_key
        )
        server = Uvicorn(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn says so in a plain attribute
            await asyncio.sleep(0.01)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await task


class Newest(list[Spooled]):
    """The last events alone: if a flood were remembered, the memory of the process would tell nothing."""

    total = 0

    def append(self, event: Spooled) -> None:
        """Keep it for a while."""
        self.total += 1
        if len(self) >= KEPT:
            self.clear()
        super().append(event)


KEPT = 100


async def run(folder: Path) -> None:
    """Serve in a process of its own until SIGTERM; the first line of stdout says where."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with all_three(folder, GENEROUS) as servers:
        servers.collector.producer.sent = Newest()
        print(json.dumps(whereabouts(servers)), flush=True)  # noqa: T201 - the parent reads it
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.2)
            with servers.world.vault.transaction() as tx:  # the announcer would have taken them
                tx.delete_outbox([row.id for row in tx.outbox(10_000)])


def whereabouts(servers: Servers) -> dict[str, Any]:
    """What an attacker is given: addresses, the key of a site, tokens of a site, a processor, an admin."""
    layout = servers.layout
    return {
        "pid": os.getpid(),
        "ports": {name: server.port for name, server in servers.by_name.items()},
        "ca": str(layout.ca),
        "admin": layout.admin_token.read_text().strip(),
        "processor": TOKENS["crm"],
        "site_key": KEY,
        "site_token": TOKEN,
    }


if __name__ == "__main__":
    logs.to_stdout("info")
    logging.getLogger().handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]  # a StreamHandler
    uvloop.run(run(Path(sys.argv[1])))
