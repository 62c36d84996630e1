"""`LAPSE_FAULT=<point>[,<point>]`: on test data a process dies at the points named, as by SIGKILL."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lapse.collector_faults
import processors.faults
import streams.faults
import vault.faults
from lapse.layout import Layout
from schemas.errors import BadInput
from vault.faults import Crash, never

MADE = "init.made"
"""Keys and credentials of a new data folder are there, its policy is not."""
KEPT = "init.kept"
"""Everything is, but the marker that says so."""
FIRST = "up.policy"
"""The first policy is in the vault; there are no topics, and nobody is approved."""
PREPARED = "up.prepared"
"""Topics, users and rights are there; nobody is approved."""
ORDERED = "up.ordered"
"""The first commands are on `control`; the vault does not say that they are."""
STARTED = "up.started"
"""The roles run; `roles.json` does not say so."""
READY = "up.ready"
"""All are ready; `run.json` does not say so."""
STOPPING = "up.stopping"
"""`run.json` is gone; the roles still run."""
MOVED = "clock.moved"
"""The manual clock stands at a due instant; what is due has not ended."""
PUBLISHED = "publish.ordered"
"""A policy is in force; the data folder has no copy of it."""
COPIED = "publish.copied"
"""It has; `run.json` still names the one before."""
ROTATED = "rotate.user"
"""Kafka knows a recipient's new password; its file has the old one."""
LET_IN = "rotate.token"
"""The key endpoint knows its new token, too; its file has the old one."""
OWN = (
    *(MADE, KEPT, FIRST, PREPARED, ORDERED, STARTED, READY, STOPPING),
    *(MOVED, PUBLISHED, COPIED, ROTATED, LET_IN),
)
POINTS = (
    *vault.faults.POINTS,
    *processors.faults.POINTS,
    *streams.faults.POINTS,
    *lapse.collector_faults.POINTS,
    *OWN,
)
"""Every point there is."""


def armed(points: str | None, layout: Layout) -> Crash:
    """What is called at the points: dies the first time each of these is reached in a data folder's life.

    Once, because the supervisor starts the role again and the same point would come at once. A marker in
    `DATA/state` remembers; remove it to arm the point again.
    """
    if points is None:
        return never
    wanted = frozenset(points.split(","))
    if unknown := wanted - frozenset(POINTS):
        said = f"there is no crash point of this name: {min(unknown)}"
        raise BadInput("bad_setting", said, "LAPSE_FAULT", ", ".join(POINTS))

    def crash(here: str) -> None:
        if here in wanted and not marker(layout, here).exists():
            marker(layout, here).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            marker(layout, here).touch(mode=0o600)
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


def marker(layout: Layout, point: str) -> Path:
    """The file that says that a point was reached."""
    return layout.state / f"fault.{point}"
