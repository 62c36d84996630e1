"""One role's worker as a process: its loop, its logs, its signals, its exit code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from faust.worker import Worker

from streams.collecting import collect_less
from streams.engine import Engine
from streams.engine.logs import quieten
from streams.heap import give_back

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class _Process(Worker):  # type: ignore[misc]  # Faust ships no types
    """Faust's worker without spinner, chdir and talk, and with the stop guard."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            engine.app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False, debug=False
        )
        self.spinner = None
        self._engine = engine

    def _schedule_shutdown(self, signal: Any) -> None:
        self._engine.guard.arm()
        super()._schedule_shutdown(signal)

    def on_worker_shutdown(self) -> None:
        """Also a crash must end: its stop can hang on an absent broker as well."""
        self._engine.guard.arm()
        super().on_worker_shutdown()


def run(
    build: Callable[[], Engine],
    *,
    level: int = logging.INFO,
    watch: Callable[[Engine], Coroutine[Any, Any, None]] | None = None,
) -> int:
    """Run the engine `build` makes until SIGTERM, SIGINT or a crash; returns the exit code, 0 or 1.

    `watch` runs beside it from the first moment: Faust starts an app's own tasks only once the group has been
    joined, and what keeps it from that is what has to be said. If it fails, the worker ends with 1.

    `build` is called after uvloop has become the loop policy, because Faust takes its loops when an app is
    made. SIGTERM lets the chunk in hand finish, commits and leaves the group. Logging is left alone if the
    root logger has handlers already. Once a stop has begun, the guard ends the process after 20 s even if the
    caller or a thread goes on: exit with what is returned.
    """
    if not logging.root.handlers:
        logging.basicConfig(level=level, format=_FORMAT)
    give_back()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    engine = build()
    quieten(level)
    collect_less()
    watching = None if watch is None else loop.create_task(_watched(engine, watch))
    code = 0
    try:
        _Process(engine, loop).execute_from_commandline()
    except SystemExit as end:  # how Faust's worker always ends
        code = int(end.code or 0)
    if watching is not None and not loop.is_closed():
        watching.cancel()
    return code


async def _watched(engine: Engine, watch: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    try:
        await watch(engine)
    except Exception as error:  # noqa: BLE001 - whatever it was, Faust ends the worker for it and says so
        await engine.app.crash(error)
