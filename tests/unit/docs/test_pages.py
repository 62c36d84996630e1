"""The pages hang together: links lead somewhere, commands of the README exist, pictures stand alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lapse.demo.run import CLAIMS
from schemas.codes import CODES
from tests.unit.docs.pages import PAGES, README, ROOT, anchors, links, name

PICTURES = sorted((ROOT / "docs").glob("*.svg"))
MACHINE = re.compile(r"(?<![\w.])/(work|root|home/\w+|Users/\w+|tmp)(/|\b)")
"""Paths of somebody's machine."""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files exist, and so do the headings linked to."""
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [*PAGES, *PICTURES], ids=name)
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    """Everything shown works in any checkout."""
    assert MACHINE.search(page.read_text(encoding="utf-8")) is None


def test_every_page_is_reached_from_the_readme() -> None:
    """Nobody has to know a page's name: links lead from the README to all of them."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [
                (page.parent / link.partition("#")[0]).resolve()
                for link in links(page)
                if not link.startswith(("http", "#"))
            ]
    assert set(PAGES) - reached == set()


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    """`make ...` in the README works."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"sure"}
    assert {"demo", "test"} <= used <= targets


def test_the_readme_fits_three_screens() -> None:
    """Longer, and nobody reads it."""
    assert len(README.splitlines()) <= 120


def test_the_readme_quotes_the_demo_as_it_speaks() -> None:
    """The claims in its sample are those the demo prints."""
    quoted = dict(re.findall(r"^  ok +(\d+)  (.+)$", README, re.MULTILINE))
    assert quoted
    assert quoted == {number: CLAIMS[int(number)] for number in quoted}


@pytest.mark.parametrize("picture", PICTURES, ids=name)
def test_a_picture_is_well_formed_and_loads_nothing(picture: Path) -> None:
    """It shows offline, and tells nobody who looks at it; it says in words what it shows."""
    text = picture.read_text(encoding="utf-8")
    ElementTree.fromstring(text)  # noqa: S314 our own file
    assert set(re.findall(r"https?://[^\"'\s)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "aria-label" in text


def test_every_code_is_documented() -> None:
    """docs/codes.md has a row for each."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "codes.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(CODES)
