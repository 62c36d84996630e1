"""Every crash point of the running system, on the live system; `make test` visits some of them there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lapse.faults import POINTS
from tests.chaos.book import write_policy
from tests.chaos.faults import alive
from tests.e2e.live.dying import DIED, Mortal, second_version
from tests.e2e.live.test_points import live_and_die
from tests.support.live import until
from tests.support.points import COMMANDS, EPOCH, INIT, SPOOL, START, STARTED, STOP

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

ELSEWHERE = frozenset((*COMMANDS, *EPOCH, *INIT, *SPOOL, *START, *STARTED, *STOP))
"""What a system that only runs does not come past."""


def test_every_point_of_a_running_system_is_survived(tmp_path: Path) -> None:
    """Supervisor and roles die at each of their points; afterwards all accepted is where it belongs."""
    points = tuple(point for point in POINTS if point not in ELSEWHERE)
    mortal = Mortal(
        tmp_path / "data",
        write_policy(tmp_path),
        clock="manual",
        points=(*STARTED, *points, *COMMANDS, *STOP),
    )
    try:
        mortal.init()
        mortal.arm()
        for point in STARTED:
            assert (mortal.start_dying(), mortal.left([point])) == (DIED, []), point
        assert mortal.start_dying() == 0
        live_and_die(mortal, points, within=1500)
        mortal.still(180)
        mortal.conserved()
        give_again(mortal)
        stop_dying(mortal)
    finally:
        mortal.end()


def give_again(mortal: Mortal) -> None:
    """A clock moved, a policy published, credentials changed: whole the next time."""
    done, deaths = mortal.until_done("clock", "advance", "PT1M", "--confirm")
    assert done.code == 0 and (deaths or "clock.moved" not in mortal.left())
    done, deaths = mortal.until_done("policy", "publish", str(second_version(mortal.policy)), "--yes")
    assert (done.code, deaths) == (0, 2), done.err
    assert mortal.run["policy"]["version"] == 2
    assert (
        Path(mortal.run["policy"]["file"]).read_bytes() == mortal.policy.with_name("second.yaml").read_bytes()
    )
    done, deaths = mortal.until_done("processor", "credentials", "crm", "--rotate", "--yes")
    assert (done.code, deaths) == (0, 2), done.err
    assert mortal.keys("crm").post("/v1/keys", json.dumps({"deliveries": []}).encode())[0] != 401
    assert mortal.kafka("crm").read("processor.crm")


def stop_dying(mortal: Mortal) -> None:
    """The supervisor dies with run.json already gone: its roles end, and the next start has everything."""
    pids = mortal.roles()
    assert mortal.stop() == DIED
    assert not mortal.run_file.exists() and mortal.left() == []
    until(lambda: not any(alive(pid) for name, pid in pids.items() if name != "broker"), 60, "orphans end")
    mortal.disarm()
    mortal.start()
    mortal.still(120)
    mortal.conserved()
    assert mortal.stop() == 0
