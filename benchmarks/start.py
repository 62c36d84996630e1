"""How long `lapse up` takes to be ready, and how much memory it holds when nothing comes.

    python -m benchmarks.start [-o json]

Real time, processor time until ready, and memory, summed over every process with the broker's. Memory is the
proportional share (PSS): a page that several processes share counts once. The first start makes the broker's
files; the second finds them.
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


def everybody(live: Live) -> list[psutil.Process]:
    """Every process of a running system."""
    assert live.process is not None
    parent = psutil.Process(live.process.pid)
    return [parent, *parent.children(recursive=True)]


def memory(live: Live) -> float:
    """Megabytes, each page once."""
    return sum(each.memory_full_info().pss for each in everybody(live)) / 1e6


def worked(live: Live) -> float:
    """CPU-seconds so far, of processes that have ended among them."""
    return sum(sum(each.cpu_times()[:4]) for each in everybody(live))


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
            took, work = time.monotonic() - began, worked(live)
            time.sleep(IDLE_SECONDS)
            held = memory(live)
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
        yield Figure(of="start", what=f"processor time until ready, {which} start", figure=work, unit="s")
    yield Figure(
        of="start",
        what="memory of the idle system with its broker",
        figure=held,
        unit="MB",
        goal=900,
        at_most=True,
    )


if __name__ == "__main__":
    run(measure, __doc__)
