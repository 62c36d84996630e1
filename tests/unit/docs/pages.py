"""The documentation as the tests read it: pages, their links and anchors, and the commands they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


class Shown(NamedTuple):
    """A command line that a page shows: the page's name and the words after `lapse`."""

    page: str
    words: tuple[str, ...]


def name(page: Path) -> str:
    """How a page is called in a test's id."""
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[str]:
    """The targets of a page's links and images, code left out."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """What may follow `#`: each heading as GitHub spells it."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spans(text: str) -> list[str]:
    """The code spans of a text."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands() -> Iterator[Shown]:
    """Every call of `lapse` in a code span or a shell block of any page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in re.split(r"\n|&&", block)] + spans(text)
        for line in lines:
            found = re.match(r"\s*(?:[\w./]*/)?lapse ((?:[a-z]|--).*)", line)
            if found:
                yield Shown(name(page), tuple(shlex.split(found[1], comments=True)))
