"""The table of attackers in docs/threats.md: every test it names exists, every attack module stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs" / "threats.md").read_text().partition("## Tried")[2].partition("\n## ")[0]
NAMED = set(re.findall(r"`(test_\w+)`", TABLE))


def names_in(path: Path) -> set[str]:
    """The names of a module's tests."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_")}


def test_every_test_the_table_names_exists() -> None:
    """A row without its test would be a claim."""
    known: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= names_in(path)
    assert known >= NAMED, NAMED - known
    assert len(NAMED) > 40


def test_every_module_of_attacks_stands_in_the_table() -> None:
    """And a test without its row would be known to nobody."""
    modules = [
        *(ROOT / "tests" / "unit" / "attack").glob("test_*.py"),
        ROOT / "tests/e2e/live/test_attackers.py",
    ]
    assert [path.name for path in modules if not names_in(path) & NAMED] == []


def test_every_row_has_its_four_cells() -> None:
    """Attacker (or the one above), what they try, what they get, the test."""
    rows = [line for line in TABLE.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 25
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert all(cells[1:]), row
