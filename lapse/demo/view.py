"""What the spectator sees: the flow with its rates, buckets ticking to their due date, one person, the
shelves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.layout import Layout as Screen
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

GREEN, DIM, HOT = "green", "dim", "bold yellow"


@dataclass(slots=True, kw_only=True)
class BucketLine:
    """One bucket on the screen."""

    purpose: str
    records: int
    seconds_left: float
    lifetime: float
    state: str


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything the view shows, at one moment."""

    stage: str = "starting"
    elapsed: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    buckets: list[BucketLine] = field(default_factory=list)
    destroyed: int = 0
    person: list[tuple[str, str, str]] = field(default_factory=list)
    """(who, what, style) of the followed person."""
    shelves: dict[str, dict[str, Any]] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)


class View(Protocol):
    """Shows scenes and says lines."""

    def show(self, scene: Scene) -> None:
        """The present state."""

    def say(self, line: str) -> None:
        """Something that stays readable."""

    def close(self) -> None:
        """Leave the screen."""


class Lines:
    """Plain lines, for a terminal that is none: one every few seconds, and every piece of news."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._next, self._told = every, 0.0, 0

    def show(self, scene: Scene) -> None:
        """A line now and then."""
        for line in scene.news[self._told :]:
            self.say(f"  * {line}")
        self._told = len(scene.news)
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        shelves = "  ".join(f"{name} {f['held']}/{f['received']}" for name, f in scene.shelves.items())
        counts = "  ".join(f"{name} {count}" for name, count in scene.counts.items())
        self.say(
            f"{scene.elapsed:4.0f} s  {counts}  | open buckets {len(scene.buckets)}, "
            f"destroyed {scene.destroyed}  | held {shelves}"
        )

    def say(self, line: str) -> None:
        """One line on stdout."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing to leave."""


class LiveScreen:
    """A full screen that changes in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, screen=True, transient=True)
        self._live.start()
        self._kept: list[str] = []

    def show(self, scene: Scene) -> None:
        """Draw it."""
        self._live.update(draw(scene))

    def say(self, line: str) -> None:
        """Printed once the screen is left; until then it would flicker."""
        if self._live.is_started:
            self._kept.append(line)
        else:
            self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()
        for line in self._kept:
            self._console.print(line, markup=False, highlight=False)
        self._kept.clear()


def draw(scene: Scene) -> RenderableType:
    """The whole screen."""
    screen = Screen()
    screen.split_column(
        Screen(_head(scene), size=3),
        Screen(_flow(scene), size=7),
        Screen(name="middle"),
        Screen(_news(scene), size=7),
    )
    screen["middle"].split_row(Screen(_buckets(scene), ratio=3), Screen(name="right", ratio=3))
    screen["right"].split_column(Screen(_person(scene), size=9), Screen(_shelves(scene)))
    return screen


def _head(scene: Scene) -> Panel:
    text = Text.assemble(
        ("Lapse ", "bold"),
        ("keeps the promises of a privacy policy    ", DIM),
        (scene.stage, HOT),
        f"    {scene.elapsed:3.0f} s",
    )
    return Panel(Align.center(text), border_style="blue")


def _flow(scene: Scene) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    steps = list(scene.counts)
    for _ in steps:
        table.add_column(justify="center", ratio=1)
    table.add_row(*(Text(step, style="bold") for step in steps))
    table.add_row(*(Text(f"{scene.counts[step]:,}", style=GREEN) for step in steps))
    table.add_row(
        *(
            Text(f"{scene.rates.get(step, 0.0):.0f}/s" if step in scene.rates else "", style=DIM)
            for step in steps
        )
    )
    arrow = Text(
        "intake ──▶ tag ──▶ records ──▶ route ──▶ decisions, then processor.<name> ──▶ opened late, or refused",
        style=DIM,
    )
    return Panel(Group(table, Align.center(arrow)), title="the flow, on a real Kafka", border_style="blue")


def _buckets(scene: Scene) -> Panel:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    table.add_column("bucket of", ratio=2)
    table.add_column("records", justify="right")
    table.add_column("key dies in", justify="right")
    table.add_column("", ratio=2)
    for line in scene.buckets[:MOST_BUCKETS]:
        left = max(0.0, line.seconds_left)
        style = HOT if left < 3 else ""
        bar = ProgressBar(
            total=max(line.lifetime, 0.1), completed=left, complete_style="green" if left > 3 else "yellow"
        )
        table.add_row(line.purpose, f"{line.records}", Text(f"{left:.1f} s", style=style), bar)
    more = len(scene.buckets) - MOST_BUCKETS
    title = f"one key per purpose and period: {len(scene.buckets)} open, {scene.destroyed} destroyed"
    return Panel(table, title=title, subtitle=f"… and {more} more" if more > 0 else None, border_style="blue")


MOST_BUCKETS = 14


def _person(scene: Scene) -> Panel:
    table = Table.grid(padding=(0, 1))
    for who, what, style in scene.person:
        table.add_row(Text(who, style="bold"), Text(what, style=style))
    return Panel(table, title="one person, from submission to lapse", border_style="magenta")


def _shelves(scene: Scene) -> Panel:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    for column in ("recipient", "received", "holds now", "refused", "told to forget"):
        table.add_column(column, justify="left" if column == "recipient" else "right")
    for name, figures in scene.shelves.items():
        table.add_row(name, *(f"{figures[key]}" for key in ("received", "held", "refused", "lapses")))
    return Panel(table, title="what each recipient can read at this moment", border_style="blue")


def _news(scene: Scene) -> Panel:
    return Panel(Group(*(Text(line) for line in scene.news[-5:])), title="what happens", border_style="blue")


def check_lines(checks: Sequence[tuple[bool, str]]) -> list[str]:
    """The verdicts, one line each."""
    return [f"  {'ok  ' if held else 'FAIL'} {text}" for held, text in checks]
