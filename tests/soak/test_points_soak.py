"""Every crash point of the running system, on the live system; `make test` visits some of them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.faults import POINTS
from tests.chaos.book import write_policy
from tests.e2e.live.dying import DIED, Mortal
from tests.e2e.live.test_points import live_and_die
from tests.support.points import COMMANDS, EPOCH, INIT, SPOOL, START, STARTED, STOP

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

ELSEWHERE = frozenset((*COMMANDS, *EPOCH, *INIT, *SPOOL, *START, *STARTED, *STOP))
"""What a system that only runs does not come past."""


def test_every_point_of_a_running_system_is_survived(tmp_path: Path) -> None:
    """Supervisor and roles die at each of their points; afterwards all accepted is where it belongs."""
    points = tuple(point for point in POINTS if point not in ELSEWHERE)
    mortal = Mortal(tmp_path / "data", write_policy(tmp_path), clock="manual", points=(*STARTED, *points))
    try:
        mortal.init()
        mortal.arm()
        for point in STARTED:
            assert (mortal.start_dying(), mortal.left([point])) == (DIED, []), point
        assert mortal.start_dying() == 0
        live_and_die(mortal, points, within=1500)
        mortal.still(180)
        mortal.conserved()
    finally:
        mortal.end()
