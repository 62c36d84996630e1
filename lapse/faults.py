"""`LAPSE_FAULT=<point>`: on test data a process can be told to die at a named point, once, as by SIGKILL."""

from __future__ import annotations

import os
import signal

from lapse.layout import Layout
from schemas.errors import BadInput
from streams.faults import POINTS, Crash, never


def armed(point: str | None, layout: Layout) -> Crash:
    """What stages call at their points: dies the first time this one is reached in a data folder's life.

    Once, because the supervisor starts the role again and the same point would come at once. A marker in
    `DATA/state` remembers; remove it to arm the point again.
    """
    if point is None:
        return never
    if point not in POINTS:
        raise BadInput(
            "bad_setting", "there is no crash point of this name", "LAPSE_FAULT", ", ".join(POINTS)
        )
    marker = layout.state / f"fault.{point}"

    def crash(here: str) -> None:
        if here == point and not marker.exists():
            marker.touch(mode=0o600)
            os.kill(os.getpid(), signal.SIGKILL)

    return crash
