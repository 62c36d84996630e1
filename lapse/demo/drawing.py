"""The screen: the flow with its rates, every key ticking to its end, one person, the recipients.

It fits itself to the terminal: everything from 110 columns and 30 lines, the essential from 80 by 24.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout as Screen
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lapse.demo.scene import BucketLine, Reader, Scene, cleaned

ALIVE, DIM, HOT, GONE = "green", "dim", "bold yellow", "bright_black"
FRAME = "blue"
ROOMY_COLUMNS, ROOMY_LINES = 110, 30
"""From this size on everything is shown."""
SOON_SECONDS = 3.0
"""A key that lives no longer is about to die."""
MOST_SQUARES = 40
"""Keys of one purpose that are shown, the youngest."""
BAR = 8
"""Columns of a shelf's bar."""
SECONDS_UP_TO, MINUTES_UP_TO, HOURS_UP_TO = 120, 7200, 172_800
"""Seconds up to which a length of time is told in this unit."""
UNDER = {
    "sent": "over HTTP",
    "accepted": "intake.*",
    "tags": "purpose, due date",
    "delivered": "sealed",
    "opened": "at use",
    "lapses": "told to forget",
}


def draw(scene: Scene) -> RenderableType:
    """The whole screen, at whatever size the terminal has."""
    return _Stage(cleaned(scene))


@dataclass(frozen=True, slots=True)
class _Stage:
    scene: Scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        roomy = options.max_width >= ROOMY_COLUMNS and height >= ROOMY_LINES
        yield _wide(self.scene) if roomy else _narrow(self.scene)


def _wide(scene: Scene) -> Screen:
    screen = Screen()
    screen.split_column(
        Screen(_head(scene), size=3), Screen(_flow(scene, under=True), size=5), Screen(name="middle")
    )
    screen["middle"].split_row(Screen(name="left", ratio=11), Screen(name="right", ratio=10))
    screen["left"].split_column(Screen(_keys(scene), size=len(scene.used) + 3), Screen(_Next(scene)))
    screen["right"].split_column(
        Screen(_recipients(scene), size=len(scene.shelves) + 4),
        Screen(_News(scene)),
    )
    return screen


def _narrow(scene: Scene) -> Screen:
    screen = Screen()
    screen.split_column(
        Screen(_title(scene, motto=False), size=1),
        Screen(_flow(scene, under=False), size=4),
        Screen(_keys(scene), size=len(scene.used) + 3),
        Screen(_person(scene)),
    )
    return screen


def _head(scene: Scene) -> Panel:
    return Panel(_title(scene, motto=True), border_style=FRAME)


def _title(scene: Scene, *, motto: bool) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="center", no_wrap=True)
    grid.add_column(ratio=1, justify="right", no_wrap=True)
    name = Text.assemble(("Lapse", "bold"), ("  privacy promises, kept" if motto else "", DIM))
    grid.add_row(name, Text(scene.stage, style=HOT), f"{scene.elapsed:.0f} s")
    return grid


def _flow(scene: Scene, *, under: bool) -> Panel:
    grid = Table.grid(expand=True)
    names, figures, rates = [Text()], [Text()], [Text()]
    for number, (step, count) in enumerate(scene.counts.items()):
        if number:
            grid.add_column(justify="center")
            names.append(Text())
            figures.append(Text("──▶" if under else "▶", style=DIM))
            rates.append(Text())
        grid.add_column(justify="center", ratio=1, no_wrap=True)
        rate = scene.rates.get(step, 0.0)
        names.append(Text(step, style="bold"))
        figures.append(
            Text.assemble((f"{count:,}", f"bold {ALIVE}"), (f"  {rate:.0f}/s" if rate >= 1 else "", DIM))
        )
        rates.append(Text(UNDER.get(step, ""), style=DIM))
    for row in (names, figures, rates) if under else (names, figures):
        grid.add_row(*row[1:])
    return Panel(grid, title="the flow, on a real Kafka", border_style=FRAME)


# ---- keys --------------------------------------------------------------------------------------------------
def _keys(scene: Scene) -> Panel:
    """A row per purpose, a square per key; destroyed ones stay as dots, so the wave of ends is seen."""
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("held for", no_wrap=True)
    table.add_column("keeps", justify="right", no_wrap=True)
    table.add_column("one key per period, oldest first", ratio=1, no_wrap=True, overflow="crop")
    table.add_column("next dies", justify="right", no_wrap=True)
    for purpose, lines in scene.used.items():
        alive = [line for line in lines if line.state != "destroyed"]
        left = min((line.seconds_left for line in alive), default=None)
        table.add_row(
            purpose,
            Text(span(lines[0].lifetime), style=DIM),
            _squares(lines),
            Text(
                "" if left is None else span(left, digits=1),
                style=HOT if left is not None and _soon(left) else "",
            ),
        )
    title = f"keys: {len(scene.living)} alive, {scene.destroyed} destroyed for ever"
    legend = Text.assemble(
        ("■", ALIVE), " opens  ", ("■", "yellow"), " about to die  ", ("·", GONE), " destroyed"
    )
    return Panel(table, title=title, subtitle=legend, border_style=FRAME)


def _squares(lines: Sequence[BucketLine]) -> Text:
    text = Text()
    for line in lines[-MOST_SQUARES:]:
        if line.state == "destroyed":
            text.append("·", style=GONE)
        else:
            text.append("■", style="yellow" if _soon(line.seconds_left) else ALIVE)
    return text


def _soon(seconds: float) -> bool:
    return seconds < SOON_SECONDS


@dataclass(frozen=True, slots=True)
class _Next:
    """The keys that die next, as many as fit."""

    scene: Scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        living, room = self.scene.living, max(0, height - 3)
        table = Table(box=None, expand=True, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("key", no_wrap=True, min_width=16)
        table.add_column("records", justify="right", no_wrap=True)
        table.add_column("dies in", justify="right", no_wrap=True, min_width=7)
        table.add_column("", ratio=1)
        for line in living[:room]:
            left = max(0.0, line.seconds_left)
            colour = "yellow" if _soon(left) else ALIVE
            bar = ProgressBar(
                total=max(line.lifetime, 0.1), completed=left, complete_style=colour, finished_style=colour
            )
            table.add_row(
                line.purpose,
                f"{line.records}",
                Text(span(left, digits=1), style=HOT if _soon(left) else ""),
                bar,
            )
        more = len(living) - room
        yield Panel(
            table,
            title="the next to die",
            subtitle=Text(f"and {more} more", style=DIM) if more > 0 else None,
            border_style=FRAME,
            height=height,
        )


def span(seconds: float, *, digits: int = 0) -> str:
    """A length of time, in the unit people would use."""
    if seconds < SECONDS_UP_TO:
        return f"{max(0.0, seconds):.{digits}f} s"
    if seconds < MINUTES_UP_TO:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < HOURS_UP_TO else f"{seconds / 86400:.0f} d"


# ---- people and recipients ---------------------------------------------------------------------------------
def _person(scene: Scene) -> Panel:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for reader in sorted(scene.readers, key=lambda each: not each.could):  # where there is least room
        grid.add_row(_sign(reader), Text(reader.name, style="bold"), _fields(reader))
    title = f"one person: {scene.followed}, from submission to lapse"
    return Panel(grid, title=title, border_style="magenta")


def _sign(reader: Reader) -> Text:
    if reader.can:
        return Text("●", style=ALIVE)
    return Text("○", style="yellow") if reader.could else Text("·", style=DIM)


def _fields(reader: Reader) -> Text:
    """Its fields: green while it can read them, struck out once their last key is gone."""
    if not reader.could:
        return Text("nothing", style=DIM)
    text = Text("" if reader.can else "gone: ", style=HOT)
    for name in (*reader.can, *(name for name in reader.could if name not in reader.can)):
        text.append(name, style=ALIVE if name in reader.can else f"strike {GONE}")
        text.append(" ")
    return text


def _recipients(scene: Scene) -> Panel:
    """A row per recipient: what lies on its shelf, and what of the followed person it can read."""
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("recipient", no_wrap=True)
    table.add_column("holds", justify="right", no_wrap=True)
    table.add_column("", min_width=BAR, max_width=BAR)
    table.add_column(f"of {scene.followed}", ratio=1, no_wrap=True, overflow="ellipsis")
    readers = {reader.name: reader for reader in scene.readers}
    for shelf in scene.shelves:
        reader = readers.get(shelf.name) or Reader(name=shelf.name, could=(), can=())
        bar = ProgressBar(
            total=max(shelf.received, 1),
            completed=shelf.held,
            width=BAR,
            complete_style=ALIVE,
            finished_style=ALIVE,
        )
        holds = Text.assemble((f"{shelf.held}", "bold"), (f" of {shelf.received}", DIM))
        table.add_row(_sign(reader), Text(shelf.name, style="bold"), holds, bar, _fields(reader))
    story = Text.assemble((scene.followed, "bold magenta"), " sent a form and agreed to news by mail")
    story.no_wrap, story.overflow = True, "ellipsis"
    title = f"every recipient's shelf, and {scene.followed} on it"
    return Panel(Group(story, table), title=title, border_style="magenta")


@dataclass(frozen=True, slots=True)
class _News:
    """What happened last, as much as fits."""

    scene: Scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        grid = Table.grid(padding=(0, 1))
        grid.add_column(justify="right", style=DIM, no_wrap=True, min_width=5)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        room = max(1, height - 2)
        for news in self.scene.news[-room:]:
            grid.add_row(f"{news.at:.0f} s", Text(news.text))
        yield Panel(grid, title="what happens", border_style=FRAME, height=height)
