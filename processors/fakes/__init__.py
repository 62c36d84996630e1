"""Stand-ins for recipients that ship with Lapse: stateful, strict about what they are sent, unpleasant on
request.

`NAMES` are the fakes there are; `start` runs one inside an event loop, `serve` until a signal ends it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from processors.fakes import partner
from processors.fakes.serving import Running
from processors.tokens import make_secret
from schemas.errors import NotFound

NAMES = ("partner",)
"""What can be started by name."""
EVENTS = "/events"
"""Where a fake partner takes events, under its URL; erasure requests go to `/events/requests`."""


async def start(
    name: str,
    *,
    secret_file: Path | None,
    host: str = "127.0.0.1",
    port: int = 0,
    ca_file: Path | None = None,
) -> Running:
    """Start the fake of this name; without a file it makes a secret of its own. `NotFound` where there is
    none.
    """
    if name not in NAMES:
        raise NotFound("not_found", f"there is no fake {name!r}", "fake", f"use one of {', '.join(NAMES)}")
    secret = partner.read_secret(secret_file) if secret_file else make_secret()
    return await partner.start(secret, host=host, port=port, ca_file=ca_file)


def serve(
    name: str,
    *,
    port: int,
    secret_file: Path | None,
    announce: Callable[[str], None],
    host: str = "127.0.0.1",
    ca_file: Path | None = None,
) -> None:
    """Run a fake until SIGTERM or SIGINT; `announce` is given its URL once it answers."""

    async def run() -> None:
        running = await start(name, secret_file=secret_file, host=host, port=port, ca_file=ca_file)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        announce(running.url)
        await stopped.wait()
        await running.stop()

    asyncio.run(run())


__all__ = ["EVENTS", "NAMES", "Running", "serve", "start"]
