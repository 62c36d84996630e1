"""What should be flat, is it? Pure: a run's looks in, sentences about what grew out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.year.looks import Look

RSS_MIB_A_YEAR = 40.0
"""What a role may grow in memory over the last third, extrapolated to a year of these days. Earlier it still
grows into its work: a scan has full batches only once the log has as many messages as a batch takes.
"""
FILES_MORE = 10
"""Open files and threads a role may have more at the end than at its most in the first half."""
PER_PERSON = 4.0
"""Rows of people's tables for everybody who ever came."""
PER_EVENT = 4.0
"""KiB of log for each event, all topics together."""
PASSING = ("plan", "outbox", "request")
"""Tables that hold only what is under way."""
CHORES = 8
"""Looks among which each chore, done by the real clock while simulated days fly by, has surely had its turn:
a table is as large as in the leanest of them.
"""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How many rows there may be, for what was sent."""

    passing: int = 200
    seen_days: int = 5
    buckets_a_day: int = 25
    residue_cells: int = 400


def judge(looks: Sequence[Look], bounds: Bounds = Bounds()) -> list[str]:
    """What grew and should not; empty where everything is as it should be."""
    found = [*_memory(looks), *_files(looks), *_rows(looks, bounds), *_disk(looks)]
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line of least squares through these points."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    square = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0


def _memory(looks: Sequence[Look]) -> Iterator[str]:
    late = looks[2 * len(looks) // 3 :]
    for role in late[-1].rss:
        points = [(each.day, each.rss[role]) for each in late if role in each.rss]
        growth = slope(points) * 365
        if role != "broker" and growth > RSS_MIB_A_YEAR:
            yield f"memory of {role} grows by {growth:.0f} MiB a year"


def _files(looks: Sequence[Look]) -> Iterator[str]:
    half = len(looks) // 2
    for what in ("open_files", "threads"):
        for role, last in getattr(looks[-1], what).items():
            early = max(getattr(each, what).get(role, 0) for each in looks[: half + 1])
            if role != "broker" and last > early + FILES_MORE:
                yield f"{what.replace('_', ' ')} of {role}: {early} in the first half, {last} at the end"


def _rows(looks: Sequence[Look], bounds: Bounds) -> Iterator[str]:
    last = looks[-1]
    limits: Mapping[str, float] = {
        **dict.fromkeys(PASSING, bounds.passing),
        "seen": bounds.seen_days * last.sent / max(last.day, 1) * 2 + bounds.passing,
        "subject": last.people * PER_PERSON + bounds.passing,
        "bucket": last.day * bounds.buckets_a_day + bounds.passing,
        "residue_cell": bounds.residue_cells,
        "meta": 4 * last.rows["open buckets"] + bounds.passing,
        "holding": last.people * PER_PERSON + bounds.passing,
        "object": last.people + bounds.passing,
    }
    for table, most in limits.items():
        rows = min(each.rows[table] for each in looks[-CHORES:])
        if rows > most:
            yield f"table {table} has {rows} rows, expected at most {most:.0f}"


def _disk(looks: Sequence[Look]) -> Iterator[str]:
    last = looks[-1]
    intake = last.disk.get("broker intake", 0.0)
    if intake > 1.0:
        yield f"{intake} MiB of intake are still on the disk"
    log = (
        sum(size for name, size in last.disk.items() if name.startswith("broker ")) * 1024 / max(last.sent, 1)
    )
    if log > PER_EVENT:
        yield f"{log:.1f} KiB of log for each event"
