"""Crash points on the live system: each process dies there, is started again, and nothing has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.chaos.book import write_policy
from tests.e2e.live.dying import DIED, Mortal
from tests.e2e.live.system import Person, allows, somebody
from tests.support.live import until
from tests.support.points import RUNNING, START

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

DEATHS_WITHIN = 420.0
"""Seconds in which every role must have come past all of its points."""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """A system that is not started yet."""
    folder = tmp_path_factory.mktemp("mortal")
    system = Mortal(
        folder / "data",
        write_policy(folder),
        clock="manual",
        points=(*START, *RUNNING),
    )
    try:
        system.init()
        system.arm()
        yield system
    finally:
        system.end()


def test_a_start_that_dies_is_completed_by_the_next(mortal: Mortal) -> None:
    """Wherever the supervisor dies, the next one goes on: the policy is in force, its recipients approved."""
    for point in START:
        assert (mortal.start_dying(), mortal.left([point])) == (DIED, []), point
    assert mortal.start_dying() == 0
    until(lambda: approved(mortal) == {"approved"}, 240, "the first policy's recipients are approved")


def approved(mortal: Mortal) -> set[str]:
    """The states of all recipients."""
    done = mortal.lapse("processor", "list")
    return {row["state"] for row in done.json()["processors"]} if done.code == 0 else set()


def test_every_stage_dies_between_its_effects_and_nothing_is_lost(mortal: Mortal) -> None:
    """Forms, page views, statements, erasures and expiry go on until everybody has died everywhere."""
    live_and_die(mortal, RUNNING)
    mortal.still(120)
    mortal.conserved()
    opened = mortal.delivery(next(e for e, kind in reversed(mortal.accepted.items()) if kind == "form"))
    assert mortal.keys("crm").open(opened)


def live_and_die(mortal: Mortal, points: tuple[str, ...], within: float = DEATHS_WITHIN) -> None:
    """Let things happen until every point was visited."""
    deadline, people = time.monotonic() + within, list[Person]()
    while left := mortal.left(points):
        assert time.monotonic() < deadline, f"nobody came past {left}"
        at = str(mortal.run["clock"]["now"])
        for _ in range(4):
            people.append(somebody())
            mortal.send(people[-1], *allows("marketing_email"), collected_at=at)
            mortal.browse_much(at)
        mortal.say(people[-2], granted=False, collected_at=at)
        if any(point.startswith(("control.", "connect.", "receipts.")) for point in left):
            done, _ = mortal.until_done("subject", "erase", people[-1].who, "--reason", "asked", "--yes")
            assert done.code == 0, done.err
        if any(point.startswith(("expire.", "forget.", "expand.")) for point in left):
            done, _ = mortal.until_done("clock", "advance", "PT1H30M", "--confirm")
            assert done.code == 0, done.err
    at = str(mortal.run["clock"]["now"])
    mortal.send(somebody(), *allows("marketing_email"), collected_at=at)
