"""Headings within a module are one line each: `# ---- what follows`, ruled to the margin."""

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
