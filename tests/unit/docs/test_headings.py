"""Headings of modules are one line each, ruled to the margin; decisions and changes stand apart, and once."""

from __future__ import annotations

import re

from tests.unit.docs.pages import ROOT

FOLDERS = ("benchmarks", "lapse", "lapse_client", "processors", "schemas", "streams", "tests", "vault")
RULED = re.compile(r"\s*# ---- \S.* -{3,}")
MARGIN = 110


def test_every_heading_is_ruled_to_the_margin() -> None:
    """A ruler that broke onto a line of its own, or stops early, looks like a mistake, and is one."""
    lines = [
        (f"{path.relative_to(ROOT)}:{number}", line)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*# ?(--|==)", line)
    ]
    assert len(lines) > 100
    assert [where for where, line in lines if not RULED.fullmatch(line) or len(line) != MARGIN] == []


def test_every_decision_stands_apart_and_once() -> None:
    """A merge that joins two paragraphs, or keeps both versions of one, is seen."""
    text = (ROOT / "docs" / "decisions.md").read_text()
    named = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert len(named) > 100
    assert sorted(set(named)) == sorted(named)
    assert len(named) == len(re.findall(r"\n\n\*\*", text))


def test_every_change_is_grouped_once() -> None:
    """Each release has a heading for each group of readers, and says nothing twice."""
    for release in (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1:]:
        for found in (re.findall(pattern, release, re.MULTILINE) for pattern in (r"^### .+$", r"^- .+$")):
            assert sorted(set(found)) == sorted(found)
