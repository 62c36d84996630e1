"""Poison: finding the records that break a stage, and the budget that keeps a bug from eating a topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from schemas.errors import Bug, Unavailable
from streams.ports import Chunk, Handle, Inbound

BUGS_PER_MINUTE = 5
"""Offenders quarantined as `bug` within a minute before the worker stops instead."""


async def bisect(handle: Handle, chunk: Chunk) -> tuple[Inbound, ...]:
    """Records on which `handle` raises anything but `Unavailable`, found by halving the chunk.

    Each offender costs about 2 log2(len) calls. `handle` is called on sub-chunks in offset order and must
    be harmless to repeat.
    """
    try:
        await handle(chunk)
    except Unavailable:
        raise
    except Exception:  # noqa: BLE001 whatever it is, the record that causes it is what is looked for
        return await _halves(handle, chunk)
    return ()


async def _halves(handle: Handle, chunk: Chunk) -> tuple[Inbound, ...]:
    if len(chunk) == 1:
        return (chunk.records[0],)
    middle = len(chunk) // 2
    left = await bisect(handle, replace(chunk, records=chunk.records[:middle], token=None))
    return left + await bisect(handle, replace(chunk, records=chunk.records[middle:], token=None))


def offenders(
    judge: Callable[[Sequence[Inbound]], object], records: Sequence[Inbound]
) -> tuple[Inbound, ...]:
    """Records on which the pure function `judge` raises anything but `Unavailable`, in offset order."""
    if not records:
        return ()
    try:
        judge(records)
    except Unavailable:
        raise
    except Exception:  # noqa: BLE001 whatever it is, the record that causes it is what is looked for
        if len(records) == 1:
            return (records[0],)
        middle = len(records) // 2
        return offenders(judge, records[:middle]) + offenders(judge, records[middle:])
    return ()


class BugBudget:
    """Counts offenders; more than `limit` within a minute of `now` (seconds) raise `Bug`."""

    def __init__(self, now: Callable[[], float], limit: int = BUGS_PER_MINUTE) -> None:
        self._now = now
        self._limit = limit
        self._spent: deque[float] = deque()

    def spend(self, offenders: int = 1) -> None:
        """Count offenders about to be quarantined as `bug`."""
        now = self._now()
        self._spent.extend([now] * offenders)
        while self._spent and self._spent[0] <= now - 60:
            self._spent.popleft()
        if len(self._spent) > self._limit:
            raise Bug(
                code="bug",
                what=f"{len(self._spent)} records within a minute broke the stage",
                where="poison",
                do="mend the stage; the records are still on their topic",
            )
