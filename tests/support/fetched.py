"""What tests want of other authors and no package of ours brings, held to a hash.

It is fetched once per user by its own package client and kept in the user's cache. Where it cannot be had the
test is skipped and says why.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

COMPLETE = ".complete"
PATIENCE = 540.0
"""Seconds for one fetch, a build on a busy machine among them; without a registry it mostly ends sooner."""


def cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache; `fetch` fills it the first time, or skips the test.

    Safe when two processes want it at once; an interrupted fetch leaves no marker and is done again.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lapse" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fetch(folder)
            (folder / COMPLETE).touch()
    return folder


def program(name: str, why: str) -> str:
    """Return the path of a program of this machine, or skip the test, which wants it for `why`."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed, which {why}")
    return found


def must(
    what: str, command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None
) -> None:
    """Run a package client; skip the test where it fails: mostly its registry is out of reach."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} was not to be had within {PATIENCE:.0f} s")
    if done.returncode != 0:
        pytest.skip(f"{what} was not to be had: {(done.stdout + done.stderr).strip()[-300:]}")
