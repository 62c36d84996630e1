"""Stand-ins for recipients, shipped with Lapse: stateful, strict about requests, unpleasant on demand.

`NAMES` are the fakes there are; `start` runs one inside an event loop, `serve` several until a signal ends
them. A vendor's fake is `processors.fakes.<kind>` with `start(host=, port=, credentials=)`; where random
words will not do as its credentials, it has `credentials()`, too.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import secrets
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processors.credentials import read_credentials
from processors.registry import KINDS, vendor
from processors.tokens import make_secret
from schemas.errors import NotFound

if TYPE_CHECKING:
    from processors.fakes.serving import Running  # with a web server, which the names of fakes need not

PARTNER = "partner"
"""The fake behind the connector `webhook`; every other one has its connector's name."""
NAMES = (PARTNER, *(kind.name for kind in KINDS if kind.vendor))
"""What can be started by name."""
EVENTS = "/events"
"""Where a fake partner takes events, under its URL; erasure requests go to `/events/requests`."""


def name_of(connector: str) -> str:
    """Return the fake that plays recipients of a connector."""
    return PARTNER if connector == "webhook" else connector


def credentials(name: str) -> dict[str, str]:
    """Return new credentials of the kind this vendor gives out; `NotFound` where there is no fake of it."""
    offered, module = vendor(name) if name != PARTNER else None, _module(name)
    if offered is None:
        raise _unknown(name)
    made = getattr(module, "credentials", None)
    return made() if made else {key: f"fake_{secrets.token_urlsafe(24)}" for key in sorted(offered.secrets)}


async def start(
    name: str,
    *,
    secret_file: Path | None,
    host: str = "127.0.0.1",
    port: int = 0,
    ca_file: Path | None = None,
) -> Running:
    """Start the fake of this name with the secrets of a file, made where it is missing.

    Without a file it makes its own. `NotFound` where there is no such fake.
    """
    module = _module(name)
    if name == PARTNER:
        secret = module.read_secret(secret_file) if secret_file else make_secret()
        running: Running = await module.start(secret, host=host, port=port, ca_file=ca_file)
        return running
    running = await module.start(host=host, port=port, credentials=_known(name, secret_file))
    return running


def _known(name: str, secret_file: Path | None) -> dict[str, str]:
    if secret_file is None:
        return credentials(name)
    if not secret_file.exists():
        _write(secret_file, json.dumps(credentials(name), indent=2) + "\n")
    return read_credentials(secret_file)


def _module(name: str) -> Any:
    if name not in NAMES:
        raise _unknown(name)
    return importlib.import_module(f"{__name__}.{name}")  # each has what it alone needs


def _unknown(name: str) -> NotFound:
    return NotFound("not_found", f"there is no fake {name!r}", "fake", f"use one of {', '.join(NAMES)}")


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One fake to run: its name, the file of what both sides share, and where."""

    name: str
    secret_file: Path | None
    host: str = "127.0.0.1"
    port: int = 0
    ca_file: Path | None = None


def serve(players: Sequence[Player], *, announce: Callable[[Sequence[str]], None]) -> None:
    """Run fakes until SIGTERM or SIGINT; `announce` is given their addresses once all answer."""

    async def run() -> None:
        stopped = asyncio.Event()
        running: list[Running] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            for one in players:
                running.append(
                    await start(
                        one.name,
                        secret_file=one.secret_file,
                        host=one.host,
                        port=one.port,
                        ca_file=one.ca_file,
                    )
                )
            announce([each.url for each in running])
            await stopped.wait()
        finally:
            for each in running:
                await each.stop()

    asyncio.run(run())


__all__ = ["EVENTS", "NAMES", "Player", "credentials", "name_of", "serve", "start"]
