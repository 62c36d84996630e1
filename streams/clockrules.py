"""When the clock may be believed: a clock that steps back or jumps stops expiry until somebody confirms it.

The wall clock is held against the machine's steady clock (which also counts sleep). The pair is kept in the
vault, so a restart of the process does not blind the rule; after a reboot only the wall clock is left, and a
long gap needs confirmation. Pure; the expiry loop does the reading and the keeping.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.ids import Micros

SLEW: int = 1000
"""NTP slews the wall clock by at most 500 parts in a million; one part in this many is allowed."""
LONGEST_OUTAGE: int = 24 * 3600 * 1_000_000
"""After a reboot nothing vouches for a gap longer than this."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Both clocks at one moment, in microseconds, and which boot the steady one counts from."""

    wall: Micros
    steady: int
    boot: str


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The wall clock moved by `by` microseconds by itself: back, ahead, or across an unwitnessed gap."""

    kind: Literal["stepped back", "jumped", "unwitnessed gap"]
    by: int
    seen: Reading


def judge(last: Reading | None, now: Reading, step: int) -> Moved | None:
    """Say whether the wall clock parted from time by more than `step` microseconds since the last reading."""
    if last is None:
        return None
    passed = now.wall - last.wall
    if now.boot != last.boot:
        if passed < -step:
            return Moved(kind="stepped back", by=-passed, seen=now)
        return Moved(kind="unwitnessed gap", by=passed, seen=now) if passed > LONGEST_OUTAGE else None
    elapsed = max(0, now.steady - last.steady)
    parted = passed - elapsed
    allowed = step + elapsed // SLEW
    if parted < -allowed:
        return Moved(kind="stepped back", by=-parted, seen=now)
    return Moved(kind="jumped", by=parted, seen=now) if parted > allowed else None
