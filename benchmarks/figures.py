"""What every benchmark hands back: figures beside their goals and peers, as a table and as JSON."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.hot import REFERENCE, cpu, yardstick


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row: what was measured, in which unit, what is wanted, and what a peer does in the same run.

    Without a goal it is there to explain another row. `at_most`: smaller is better.
    """

    of: str
    what: str
    figure: float
    unit: str
    goal: float | None = None
    at_most: bool = False
    peer: str = ""
    peer_figure: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.figure <= self.goal if self.at_most else self.figure >= self.goal

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of the peer's."""
        return self.figure / self.peer_figure if self.peer_figure else None

    def said(self) -> dict[str, Any]:
        """As JSON says it."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass(slots=True)
class Meter:
    """CPU seconds per thing over a few rounds; `read` gives those used so far, by default this process's.

    Each round is divided by how slow the machine is then, measured by `hot.yardstick`.
    """

    read: Callable[[], float] = cpu
    costs: list[float] = field(default_factory=list)
    slowness: list[float] = field(default_factory=list)

    @contextmanager
    def round(self, count: int = 1) -> Iterator[None]:
        """Measure what is done inside, which is done to `count` things."""
        slow, before = yardstick(), self.read()
        yield
        used = self.read() - before
        slow = (slow + yardstick()) / 2 / REFERENCE
        self.slowness.append(slow)
        self.costs.append(used / count / slow)

    @property
    def cost(self) -> float:
        """Median CPU seconds for one."""
        return statistics.median(self.costs)

    @property
    def rate(self) -> float:
        """How many a CPU second is enough for."""
        return 1 / self.cost


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all lie at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Sequence[Figure]) -> Table:
    """The figures for people."""
    made = Table(title="Lapse: goals and figures")
    for column in ("of", "what", "goal", "figure", "unit", "peer", "ratio", ""):
        made.add_column(column, justify="right" if column in {"goal", "figure", "ratio"} else "left")
    for each in figures:
        bound = "" if each.goal is None else f"{'<=' if each.at_most else '>='} {_number(each.goal)}"
        peer = "" if each.peer_figure is None else f"{each.peer}: {_number(each.peer_figure)}"
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        judged = {True: "met", False: "[bold]missed[/bold]", None: ""}[each.met]
        made.add_row(each.of, each.what, bound, _number(each.figure), each.unit, peer, ratio, judged)
    return made


def document(figures: Sequence[Figure]) -> bytes:
    """The figures for programs."""
    return msgspec.json.format(msgspec.json.encode({"figures": [each.said() for each in figures]}))


def run(measure: Callable[[], Sequence[Figure]], doc: str | None) -> None:
    """The command of one module: measure and print; with `-o json` as JSON."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("-o", choices=("table", "json"), default="table", dest="output")
    chosen = parser.parse_args()
    show(measure(), json=chosen.output == "json")


def show(figures: Sequence[Figure], *, json: bool, file: Path | None = None) -> None:
    """Print the figures, and keep their JSON where a file is named."""
    if file is not None:
        file.write_bytes(document(figures))
    if json:
        sys.stdout.write(document(figures).decode() + "\n")
        return
    console = Console()
    console.width = max(console.width, 150)
    console.print(table(figures))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
