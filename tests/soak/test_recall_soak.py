"""A recall of a hundred thousand objects, with a worker that dies half way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.processors.recalling import LIMITS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
COUNT, MEGABYTES = 100_000, 200.0


def run(what: str, folder: Path) -> Any:
    """Run one half of it as a process; what it printed."""
    command = [sys.executable, "-m", "tests.soak.recall_run", what, str(folder), str(COUNT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3000)
    return json.loads(done.stdout)


def test_a_large_recall_stays_small_and_repeats_at_most_a_page(tmp_path: Path) -> None:
    """Under 200 MB of memory, everything given back, and answered as one."""
    run("fill", tmp_path)
    found = run("recall", tmp_path)
    assert found["left"] == 0 and found["done"]
    assert COUNT <= found["erasures"] <= COUNT + LIMITS.batch
    assert found["megabytes"] < MEGABYTES
