"""How a stage's failures are met: unavailable means wait and do it again, anything else stops."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

from schemas.errors import Bug, Conflict, LapseError, Unavailable
from streams.ports import Chunk, Handle, Outcome, Seek

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
"""Seconds between two attempts at a chunk, doubling from the first to the longest."""

_log = logging.getLogger(__name__)


def patient(handle: Handle, *, giving_up: Callable[[], bool], note: Callable[[str | None], None]) -> Handle:
    """Do a chunk again while `handle` raises `Unavailable`, until `giving_up()`.

    Meanwhile heartbeats go on and `note` is told what is waited for. A chunk given up (the worker stops, or
    its partitions are being revoked) is dropped unacknowledged: it comes again, here or elsewhere.
    """

    async def handled(chunk: Chunk) -> Outcome:
        wait = FIRST_WAIT
        while True:
            try:
                outcome = await handle(chunk)
            except Conflict:
                await asyncio.sleep(0)
                if giving_up():
                    return Seek(chunk.first_offset)
            except Unavailable as error:
                note(f"{error.what}" + (f" ({error.where})" if error.where else ""))
                _log.warning("chunk waits", extra={"code": error.code, "partition": chunk.partition})
                if await _given_up(wait, giving_up):
                    note(None)
                    return Seek(chunk.first_offset)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                note(None)
                return outcome

    return handled


async def _given_up(seconds: float, giving_up: Callable[[], bool]) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not giving_up():
        left = until - loop.time()
        if left <= 0:
            return False
        await asyncio.sleep(min(left, 0.05))
    return True


def discreet(handle: Handle) -> Handle:
    """Turn any foreign exception into a `Bug` that names its type and line but not its text.

    Texts of exceptions can hold what a person typed, and what stops a worker is logged.
    """

    async def handled(chunk: Chunk) -> Outcome:
        try:
            return await handle(chunk)
        except LapseError:
            raise
        except Exception as error:  # noqa: BLE001 the text of an unknown exception must not reach a log
            where = f"{chunk.topic}/{chunk.partition} {chunk.first_offset}-{chunk.last_offset}"
            cause = f"{type(error).__name__} in {_line(error)}"
        raise Bug(code="bug", what=cause, where=where)

    return handled


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
