"""`make bench`: every benchmark in turn, and one table: goal, figure, peer, ratio, met or missed.

    python -m benchmarks.all [--only keys,expire] [-o FILE]

Each runs in a process of its own. `-o` keeps the figures as JSON. Ends with 1 if a benchmark could not be
run; a goal that is missed is a figure, not a failure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median

import msgspec

from benchmarks.figures import Figure, show
from benchmarks.hot import GOALS, REFERENCE, SIZES, Bench, Run, yardstick

MODULES = ("peers", "keys", "expire", "connect", "collector", "publisher", "start", "endtoend")
EVENTS, ROUNDS = 2_000, 3
SECONDS = 300
"""No benchmark takes longer than this, or it counts as failed."""
ROWS = {
    "repeat": "tag: people repeat",
    "known": "tag: every person read",
    "new": "tag: everybody new",
    "route repeat": "route: people repeat",
    "route known": "route: every person read",
}


class Answer(msgspec.Struct):
    """What a module prints; whether a goal is met follows from the rest."""

    figures: list[dict[str, object]]


def hot() -> Iterator[Figure]:
    """The rows of `benchmarks.hot`."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Bench(Path(folder)), EVENTS, None)
        for _ in range(ROUNDS):
            run.round()
    for row, what in ROWS.items():
        microseconds = mean(median(times) for (name, _), times in run.times.items() if name == row)
        goal = GOALS[row.split()[0]]
        what = f"{what}, events per CPU second"
        yield Figure(of="hot", what=what, figure=1e6 / microseconds, unit="/s", goal=goal)
    for kind, most in SIZES.items():
        what = f"bytes in records and decisions per byte of {kind}"
        yield Figure(of="size", what=what, figure=run.sizes[kind], unit="", goal=most, at_most=True)


def elsewhere(name: str) -> list[Figure]:
    """What one module measures in a process of its own; raises where it fails or takes too long."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "-o", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=SECONDS, check=True)
    figures = msgspec.json.decode(done.stdout, type=Answer).figures
    derived = {"met", "ratio"}
    return [msgspec.convert({k: v for k, v in each.items() if k not in derived}, Figure) for each in figures]


def main() -> int:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(("hot", *MODULES)), help="names, with commas between")
    parser.add_argument("-o", type=Path, dest="file", help="keep the figures as JSON here, too")
    chosen = parser.parse_args()
    found: list[Figure] = []
    failed: list[str] = []
    for name in chosen.only.split(","):
        sys.stderr.write(f"{name} ...\n")
        try:
            found += hot() if name == "hot" else elsewhere(name)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            failed.append(f"{name}: {type(error).__name__}")
    slow = yardstick() / REFERENCE
    what = "how many times dearer a yardstick is now than on the reference machine"
    found.append(Figure(of="machine", what=what, figure=slow, unit="times"))
    show(found, json=False, file=chosen.file)
    return _closing(found, failed)


def _closing(found: Sequence[Figure], failed: Sequence[str]) -> int:
    judged = [each.met for each in found if each.met is not None]
    print(f"{sum(judged)} of {len(judged)} goals met; CPU times are divided by the machine's slowness")
    for each in failed:
        print(f"could not be run: {each}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
