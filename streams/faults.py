"""Where a process can be told to die, by name: `LAPSE_FAULT=<point>`, honoured on test data alone."""

from __future__ import annotations

from collections.abc import Callable

STAGES = ("tag", "route", "signals", "control", "receipts")
"""The stages behind the chunk protocol."""
STEPS = ("read", "committed", "produced", "settled")
"""Before commit 1; after it; after the broker has acknowledged all; after commit 2, before Kafka's."""
ANNOUNCED = "announce.sent"
"""Messages are acknowledged, and the vault still owes them."""
ENDED = "expire.ended"
"""Keys are destroyed, and nobody was told."""
POINTS = (*(f"{stage}.{step}" for stage in STAGES for step in STEPS), ANNOUNCED, ENDED)
"""Every point there is."""

Crash = Callable[[str], None]
"""Dies if the point is the one it was armed with."""


def never(_point: str) -> None:
    """Go on."""
