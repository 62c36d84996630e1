"""Every crash point of the running system, on the live system; `make test` visits some of them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.faults import POINTS
from tests.chaos.book import write_policy
from tests.e2e.live.dying import Mortal
from tests.e2e.live.test_points import live_and_die
from tests.support.points import COMMANDS, EPOCH, INIT, SPOOL, START, STOP

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

ELSEWHERE = frozenset((*COMMANDS, *EPOCH, *INIT, *SPOOL, *START, *STOP))
"""What a system that only runs does not come past."""


def test_every_point_of_a_running_system_is_survived(tmp_path: Path) -> None:
    """Each role dies at each of its points in turn; afterwards everything accepted is where it belongs."""
    points = tuple(point for point in POINTS if point not in ELSEWHERE)
    mortal = Mortal(tmp_path / "data", write_policy(tmp_path), clock="manual", points=points)
    try:
        mortal.init()
        mortal.arm()
        mortal.start()
        live_and_die(mortal, points, within=1500)
        mortal.still(180)
        mortal.conserved()
    finally:
        mortal.end()
