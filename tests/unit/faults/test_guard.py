"""Every crash point is visited by a test, and every one that is named is really reached by some code."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lapse.collector_faults
import lapse.faults
import processors.faults
import streams.faults
import vault.faults
from lapse.faults import POINTS, armed
from lapse.layout import Layout
from schemas.errors import BadInput
from tests.support.points import VISITED
from vault.faults import never

ROOT = Path(__file__).parents[3]
MODULES = (vault.faults, processors.faults, streams.faults, lapse.collector_faults, lapse.faults)
NAMES = {value: name for module in MODULES for name, value in vars(module).items() if isinstance(value, str)}
CRASHES = {"crash", "_crash"}


@cache
def called() -> frozenset[str]:
    """The names handed to a crash function: `crash(faults.MOVED)`, `self._crash(SENT)`."""
    found = set()
    for folder in ("vault", "processors", "streams", "lapse"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _name(node.func) in CRASHES and node.args:
                    found.add(_name(node.args[0]))
    return frozenset(found)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_point_has_a_visit() -> None:
    """A new point without a test that dies there fails here."""
    assert frozenset(POINTS) == VISITED
    assert len(POINTS) == len(set(POINTS)), "two points share a name"


@pytest.mark.parametrize("point", POINTS)
def test_every_point_stands_in_the_code(point: str) -> None:
    """A point nobody passes would be visited by nobody; stages name theirs by their steps."""
    stage, _, step = point.partition(".")
    if stage in streams.faults.STAGES and step in streams.faults.STEPS:
        text = (ROOT / "streams" / "chunks.py").read_text(encoding="utf-8")
        assert f'self._at("{step}")' in text
    else:
        assert NAMES[point] in called()


def test_nothing_dies_where_no_point_is_named(tmp_path: Path) -> None:
    """Unarmed it goes on; a name that is none is a wrong setting."""
    assert armed(None, Layout(tmp_path)) is never
    armed("tag.read", Layout(tmp_path))("tag.committed")
    with pytest.raises(BadInput, match="no crash point"):
        armed("tag.read,tag.nowhere", Layout(tmp_path))


def test_a_process_dies_once_at_each_of_its_points(tmp_path: Path) -> None:
    """As by SIGKILL: the next process goes past the point it died at, to the next one."""
    script = (
        "import sys; from pathlib import Path\n"
        "from lapse.faults import armed; from lapse.layout import Layout\n"
        "crash = armed('tag.read,tag.told', Layout(Path(sys.argv[1])))\n"
        "crash('tag.read'); crash('tag.told'); crash('tag.read')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    ends = [subprocess.run(command, cwd=ROOT, env=os.environ, check=False).returncode for _ in range(3)]
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
