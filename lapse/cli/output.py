"""How a command answers: tables for people, JSON for programs; data on stdout, the rest on stderr."""

from __future__ import annotations

import datetime as dt
import enum
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapse.visible import visible
from schemas.errors import BadInput, LapseError
from schemas.ids import Micros


class Output(enum.StrEnum):
    """The two ways to answer."""

    TABLE = "table"
    JSON = "json"


mode: ContextVar[Output] = ContextVar("mode", default=Output.TABLE)
"""What the running command was asked for; the error handler needs it too."""


def choose(value: Output) -> Output:
    """Typer callback of `-o`: remember the choice before the command runs."""
    mode.set(value)
    return value


PIPE_WIDTH = 180
"""Columns of a table that nobody's terminal limits."""


def stdout() -> Console:
    """Where data goes."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(file=sys.stderr, highlight=False)


def say(text: str) -> None:
    """One line of progress."""
    stderr().print(Text(visible(text)), soft_wrap=True)


def plain(value: object) -> str:
    """A value as table text: bytes as hex, nothing as a dash, control characters made visible."""
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return (
            "; ".join(
                f"{plain(key)} {plain(item)}" for key, item in value.items() if item not in (None, [], {})
            )
            or "-"
        )
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(plain(item) for item in value) or "-"
    return visible(value)


def jsonable(value: object) -> Any:
    """Plain JSON values: bytes as hex, sets sorted, mappings with text keys."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(jsonable(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def brief(value: object) -> object:
    """A moment as people read it in a table: to the second, without the T; anything else as it is."""
    if isinstance(value, str) and len(value) == MOMENT_CHARS and value[10] == "T" and value.endswith("Z"):
        return value[:10] + " " + value[11:19]
    return value


MOMENT_CHARS = 24


def moment(at: Micros | int | None) -> str | None:
    """RFC 3339 in UTC."""
    if at is None:
        return None
    return (
        dt.datetime.fromtimestamp(at / 1_000_000, dt.UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


class Lines(list[str]):
    """A value that a table shows as several lines."""


def show(document: Mapping[str, object]) -> None:
    """One thing: its fields."""
    if mode.get() is Output.JSON:
        _print_json(document)
        return
    table = Table.grid(padding=(0, 2))
    for key, value in document.items():
        lines = value if isinstance(value, Lines) else [plain(value)]
        for number, line in enumerate(lines or ["-"]):
            table.add_row(
                Text(plain(key).replace("_", " ") if number == 0 else "", style="dim"), Text(visible(line))
            )
    stdout().print(table)


SHORT = 20
"""A column whose every value is at most this long is never broken."""


def show_rows(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    *,
    empty: str,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Many things: `{name: [...]}` as JSON, else a table of the named columns, or the sentence `empty`."""
    listed = list(rows)
    if mode.get() is Output.JSON:
        _print_json({name: listed, **(extra or {})})
        return
    if not listed:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        short = number == 0 or all(len(plain(row.get(column))) <= SHORT for row in listed)
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=short)
    for row in listed:
        table.add_row(*(Text(plain(brief(row.get(column)))) for column in columns))
    stdout().print(table)


def show_error(error: LapseError) -> None:
    """What went wrong, where, and what to do: one line each, or the JSON shape."""
    if mode.get() is Output.JSON:
        sys.stderr.write(json.dumps(error.as_json()) + "\n")
        return
    console = stderr()
    console.print(
        Text("error ", style="bold red") + Text(visible(f"{error.code}: {error.what}")), soft_wrap=True
    )
    if error.where:
        console.print(Text("where ", style="dim") + Text(visible(error.where)), soft_wrap=True)
    if error.do:
        console.print(Text("do    ", style="dim") + Text(visible(error.do)), soft_wrap=True)
    if isinstance(error, BadInput):
        for finding in error.findings:
            what = Text(visible(f"{finding.what}; {finding.do}"))
            console.print(Text(f"  {visible(finding.where)}: ", style="bold") + what)


def _print_json(document: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(jsonable(document), indent=2) + "\n")
