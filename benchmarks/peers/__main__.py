"""The tag and route workers on Kafka beside what a user would pick instead, all in one run on one broker.

    python -m benchmarks.peers [-o json]

Ours is `benchmarks.worker`. `stock` are Faust agents that do the same work event by event; `copying` is Kafka
Streams, which copies the same bytes in and out and does nothing else. All CPU is that of the process
(getrusage; in Java what the JVM says of its own), divided by the yardstick of that time. Kafka Streams is
left out where it cannot be built, and why is said on standard error.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import worker
from benchmarks.figures import Figure, run
from benchmarks.hot import GOALS
from benchmarks.peers import copying, stock
from benchmarks.peers.shapes import shapes
from benchmarks.worker import PEOPLE, Task
from schemas.errors import Unavailable
from streams.engine import KafkaAccess
from tests.support.broker import new_embedded

EVENTS, STOCK_EVENTS = 20_000, 1_000
TIMES_FAUST, TIMES_STREAMS = 8, 2
"""How many times cheaper than stock Faust, and at most how many times dearer than Kafka Streams."""
WANTED = {"tag": GOALS["repeat"], "route": GOALS["route"]}


@dataclass(slots=True, kw_only=True)
class Found:
    """Corrected CPU microseconds of an event, by role."""

    ours: dict[str, float] = field(default_factory=dict)
    faust: dict[str, float] = field(default_factory=dict)
    copied: dict[str, float] = field(default_factory=dict)
    copied_whole: dict[str, float] = field(default_factory=dict)


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        return list(figures(found_in(Path(name))))


def found_in(folder: Path) -> Found:
    """Measure everything on one broker: route's peer reads what our tag worker has written."""
    ours, fresh, tagged, copies = (folder / name for name in ("ours", "fresh", "tagged", "copies"))
    ours.mkdir()
    copies.mkdir()
    _, _, traffic = worker.prepare(ours)
    copy_vault(ours, fresh)
    found = Found()
    with new_embedded(folder / "kafka") as kafka:
        access = worker.access_to(kafka)
        worker.fill(access, traffic, EVENTS)
        found.ours["tag"] = _corrected(worker.measure(ours, Task(role="tag", events=EVENTS, access=access)))
        copy_vault(ours, tagged)
        found.ours["route"] = _corrected(
            worker.measure(ours, Task(role="route", events=EVENTS, access=access))
        )
        copying.make_topics(access, [stock.COPIES])
        for role, place in (("route", tagged), ("tag", fresh), ("copy", fresh)):
            task = Task(role=role, events=STOCK_EVENTS, access=access)
            found.faust[role] = _corrected(worker.measure(place, task, module=stock.__name__))
        _copy(copies, access, found)
    return found


def copy_vault(ours: Path, to: Path) -> None:
    """A vault that knows the same people and has the same keys."""
    to.mkdir()
    for part in ours.iterdir():
        if part.name in {"keys", "backup"}:
            shutil.copytree(part, to / part.name)
        elif part.name.startswith("vault.db") or part.name == "pixel.json":
            shutil.copy(part, to)


def _copy(folder: Path, access: KafkaAccess, found: Found) -> None:
    try:
        for role, own in shapes(folder, range(PEOPLE)).items():
            cost = copying.measure(folder, access, role, own)
            found.copied[role], found.copied_whole[role] = cost.us / cost.slow, cost.whole / cost.slow
    except Unavailable as error:
        sys.stderr.write(f"Kafka Streams is left out: {error}\n")


def _corrected(cost: Mapping[str, Any]) -> float:
    corrected: float = cost["us"] / cost["slow"]
    return corrected


def figures(found: Found) -> Iterator[Figure]:
    """The rows: what the whole worker does, how it compares, and what the peers do."""
    for role, us in found.ours.items():
        yield Figure(
            of="worker",
            what=f"{role}: the whole worker on Kafka, events per CPU second",
            figure=1e6 / us,
            unit="/s",
            goal=WANTED[role],
            peer="stock Faust",
            peer_figure=1e6 / found.faust[role],
        )
        yield Figure(
            of="peers",
            what=f"{role}: times as many as stock Faust agents that do the same",
            figure=found.faust[role] / us,
            unit="times",
            goal=TIMES_FAUST,
        )
    what = "stock Faust agents that only send each event on, events per CPU second"
    yield Figure(of="peers", what=what, figure=1e6 / found.faust["copy"], unit="/s")
    started = f"its start and {copying.EVENTS:,} events"
    for role, us in found.copied.items():
        yield Figure(
            of="peers",
            what=f"{role}: times as dear as Kafka Streams that only copies the bytes",
            figure=found.ours[role] / us,
            unit="times",
            goal=TIMES_STREAMS,
            at_most=True,
        )
        for what, cost in (("warm", us), (started, found.copied_whole[role])):
            what = f"{role}: Kafka Streams copying, {what}, events per CPU second"
            yield Figure(of="peers", what=what, figure=1e6 / cost, unit="/s")


if __name__ == "__main__":
    run(measure, __doc__)
