"""Values that command a terminal or a log: on a screen they are visible text, in a log one line of JSON."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from lapse import logs
from lapse.cli import output
from lapse.cli.output import Lines, Output, say, show, show_error, show_rows
from lapse.demo.drawing import draw
from lapse.demo.scene import BucketLine, News, Reader, Scene, ShelfLine
from lapse.demo.view import Lines as PlainView
from schemas.errors import BadInput, Finding, LapseError

HOSTILE = [
    "\x1b[2J\x1b[31mowned",  # clears the screen, turns red
    "\x1b]0;owned\x07",  # sets the window's title
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",  # a link that says another address
    "\x1bP+q544e\x1b\\",  # asks the terminal to answer as if typed
    "\x9b31mowned",  # the same in one character of C1
    "a\rb\x08\x08c\x7f",  # writes over what stands there
    "line\nerror: all is well",  # a line of its own
    "\u202eelif.exe\u2066",  # turns the direction of reading
    "a\u2028b\u0085c\u200bd\ufeff",  # lines and gaps nobody sees
    "[bold red]markup[/bold red] [link=https://evil.example]x[/link]",
    "=cmd|' /C calc'!A0",
]
SEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def visible(text: str) -> bool:
    """Whether nothing in a text commands a terminal; line feeds are ours."""
    return not any(unicodedata.category(c) in SEEN for c in text if c != "\n")


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """For people, not for programs."""
    token = output.mode.set(Output.TABLE)
    yield
    output.mode.reset(token)


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_and_sentences_show_what_is_there(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One thing, many things, a thing in things, and a sentence: visible characters on lines of our own."""
    show({text: text, "in": {text: [text]}, "lines": Lines([text])})
    show_rows("rows", ("a", "b"), [{"a": text, "b": [text]}, {"a": None, "b": {text: text}}], empty="none")
    say(text)
    said = capsys.readouterr()
    assert visible(said.out) and visible(said.err)
    assert "owned" not in text or "owned" in said.out
    assert "\nerror: all is well" not in said.out + said.err
    assert "bold" not in text or "[bold red]" in said.out, "markup is text"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [LapseError, BadInput])
def test_errors_show_what_is_there(
    text: str, kind: type[LapseError], capsys: pytest.CaptureFixture[str]
) -> None:
    """File names, policy keys and places come from outside; code, place and advice stay on their lines."""
    finding = Finding(where=text, what=text, do=text)
    error = (
        BadInput("usage", text, text, text, (finding,)) if kind is BadInput else kind("bug", text, text, text)
    )
    show_error(error)
    said = capsys.readouterr().err
    assert visible(said)
    assert [line.split()[0] for line in said.splitlines()[:3] if line] == ["error", "where", "do"]
    output.mode.set(Output.JSON)
    show_error(error)
    [line] = capsys.readouterr().err.splitlines()
    assert visible(line)
    assert json.loads(line)["error"]["what"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_json_for_programs_is_ascii(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Escaped, so that a terminal shows it and a parser gets it back."""
    output.mode.set(Output.JSON)
    show({"a": text})
    show_rows("rows", ("a",), [{"a": text}], empty="none")
    said = capsys.readouterr().out
    assert said.isascii()
    assert visible(said)


@pytest.mark.parametrize("text", HOSTILE)
def test_the_demo_shows_what_is_there(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and news on the screen and in its plain lines."""
    scene = Scene(
        stage="traffic",
        purposes={text: [BucketLine(purpose=text, records=1, seconds_left=1, lifetime=2, state="open")]},
        followed=text,
        readers=[Reader(name=text, could=(text,), can=(text,))],
        shelves=[ShelfLine(name=text, received=1, held=1, lapses=1)],
        news=[News(at=1.0, text=text)],
    )
    PlainView(every=0.0).show(scene)
    assert visible(capsys.readouterr().out)
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=False)
    console.print(draw(scene))
    assert visible(console.file.getvalue())  # type: ignore[attr-defined]  # a StringIO


LOGGING = """
import logging, structlog, sys
from lapse import logs
logs.to_stdout("info")
for text in eval(sys.stdin.read()):
    logging.getLogger("uvicorn.error").warning("bad %s", text)
    logging.getLogger(text).warning(text, extra={"where": text})
    structlog.get_logger("finding").warning(text, what=text, where={text: [text]})
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("x").exception("failed: %s", text)
raise KeyError("secret")
"""


def test_a_log_line_is_one_line_of_json_whatever_it_holds() -> None:
    """Line feeds, escapes and the end of the process: each event one object, its text escaped."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGING],
        input=repr(HOSTILE),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4 * len(HOSTILE) + 1
    assert all("event" in json.loads(line) for line in lines)
    assert visible(done.stdout) and done.stdout.isascii()
    assert "secret" not in done.stdout + done.stderr


def test_libraries_that_quote_what_they_read_are_silent() -> None:
    """The multipart parser logs bytes of a body it stumbles over; not here."""
    assert logs.QUIET["python_multipart"] == logging.CRITICAL
