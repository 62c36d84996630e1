"""The whole system under faults drawn from seeds: `make soak ARGS="--minutes 20 --seeds 1,2"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.driver import ordeal, written

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

RESULTS = Path("build") / "soak"
"""Where the results lie, one JSON file a seed."""


def test_an_ordeal_of_this_seed_breaks_no_promise(seed: int, minutes: float, tmp_path: Path) -> None:
    """Traffic, commands, faults; then all is recomputed from outside, before and after everything lapsed."""
    with ordeal(tmp_path, seed) as running:
        try:
            with running.running():
                running.storm(minutes * 60)
            running.judge(intake_too=True)
            found = written(running.report(), RESULTS / f"seed-{seed}.json")
        finally:
            running.keep(RESULTS / f"seed-{seed}")
    broken = [check for check in found["checks"] if not check["held"]]
    assert not broken
    assert found["lost"] == 0
    assert found["leaked"] == 0
