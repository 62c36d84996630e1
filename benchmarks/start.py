"""How long `lapse up` takes to be ready, and how much memory it holds when nothing comes.

    python -m benchmarks.start [-o json]

Real time and resident memory, summed over every process with the broker's; pages that processes share count
for each. The first start makes the broker's files; the second finds them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.figures import Figure, run
from tests.support.live import REPOSITORY, Live

IDLE_SECONDS = 5.0
POLICY = REPOSITORY / "policies" / "company.yaml"


def resident(live: Live) -> float:
    """Megabytes of every process of a running system."""
    assert live.process is not None
    parent = psutil.Process(live.process.pid)
    return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)]) / 1e6


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        return list(_measured(Live(data=Path(name) / "data", policy=POLICY)))


def _measured(live: Live) -> Iterator[Figure]:
    live.init()
    for number, which in enumerate(("first", "second")):
        began = time.monotonic()
        try:
            live.start()
            took = time.monotonic() - began
            time.sleep(IDLE_SECONDS)
            memory = resident(live)
        finally:
            live.end()
        yield Figure(
            of="start",
            what=f"seconds until ready, {which} start",
            figure=took,
            unit="s",
            goal=15 if number else None,
            at_most=True,
        )
    yield Figure(
        of="start",
        what="memory of the idle system with its broker",
        figure=memory,
        unit="MB",
        goal=900,
        at_most=True,
    )


if __name__ == "__main__":
    run(measure, __doc__)
