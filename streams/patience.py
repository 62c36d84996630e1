"""How a stage's failures are met: unavailable means wait and do it again, anything else stops."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence

from schemas.errors import Bug, Conflict, LapseError, Unavailable
from streams.ports import Outcome, Seek, Sheaf, SheafHandle

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
"""Seconds between two attempts at a chunk, doubling from the first to the longest."""

_log = logging.getLogger(__name__)


def patient(
    handle: SheafHandle, *, giving_up: Callable[[], bool], note: Callable[[str | None], None]
) -> SheafHandle:
    """Do a sheaf again while `handle` raises `Unavailable`, until `giving_up()`.

    Meanwhile heartbeats go on and `note` is told what is waited for. A sheaf given up (the worker stops, or
    partitions are being revoked) is dropped unacknowledged: it comes again, here or elsewhere.
    """

    async def handled(sheaf: Sheaf) -> Sequence[Outcome]:
        wait = FIRST_WAIT
        while True:
            try:
                outcomes = await handle(sheaf)
            except Conflict:
                await asyncio.sleep(0)
                if giving_up():
                    return _dropped(sheaf)
            except Unavailable as error:
                note(f"{error.what}" + (f" ({error.where})" if error.where else ""))
                _log.warning("chunk waits", extra={"code": error.code, "partition": sheaf[0].partition})
                if await _given_up(wait, giving_up):
                    note(None)
                    return _dropped(sheaf)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                note(None)
                return outcomes

    return handled


def _dropped(sheaf: Sheaf) -> list[Outcome]:
    return [Seek(chunk.first_offset) for chunk in sheaf]


async def _given_up(seconds: float, giving_up: Callable[[], bool]) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not giving_up():
        left = until - loop.time()
        if left <= 0:
            return False
        await asyncio.sleep(min(left, 0.05))
    return True


def discreet(handle: SheafHandle) -> SheafHandle:
    """Turn any foreign exception into a `Bug` that names its type and line but not its text.

    Texts of exceptions can hold what a person typed, and what stops a worker is logged.
    """

    async def handled(sheaf: Sheaf) -> Sequence[Outcome]:
        try:
            return await handle(sheaf)
        except LapseError:
            raise
        except Exception as error:  # noqa: BLE001 the text of an unknown exception must not reach a log
            where = ", ".join(f"{c.topic}/{c.partition} {c.first_offset}-{c.last_offset}" for c in sheaf)
            cause = f"{type(error).__name__} in {_line(error)}"
        raise Bug(code="bug", what=cause, where=where)

    return handled


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
