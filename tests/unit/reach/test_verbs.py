"""Verbs that live tests fork are to them what verbs that are started would be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from lapse import faults
from lapse.main import shipped_policy
from tests.support import verbs
from tests.support.live import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are started")

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
MAKE = ["init", "--test", "--policy", str(shipped_policy("company"))]


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One verb."""
    return verbs.run([*arguments], environment={**ENVIRONMENT, **more}, folder=REPOSITORY, timeout=60)


@pytest.mark.parametrize(
    "verb", [("--help",), ("nothing",), ("clock", "show"), ("policy", "check", "x.yaml", "-o", "json")]
)
def test_a_forked_verb_says_and_returns_what_a_started_one_does(
    monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """Byte for byte, on both outputs."""
    forked = run(*verb)
    monkeypatch.setenv("LAPSE_TEST_PLAIN", "1")
    started = run(*verb)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode,
        started.stdout,
        started.stderr,
    )
    assert forked.stdout + forked.stderr


def test_a_forked_verb_has_the_environment_it_is_given_and_may_be_killed(tmp_path: Path) -> None:
    """It dies at the point that is named, by the signal; without it the same verb goes through."""
    killed = run(*MAKE, str(tmp_path / "data"), LAPSE_FAULT=faults.MADE)
    assert killed.returncode == -signal.SIGKILL
    assert run(*MAKE, str(tmp_path / "data")).returncode == 0


def test_a_forked_verb_ends_in_time() -> None:
    """Or is ended."""
    with pytest.raises(subprocess.TimeoutExpired):
        verbs.run(["clock", "show"], environment=ENVIRONMENT, folder=REPOSITORY, timeout=0)


def test_forked_verbs_run_side_by_side() -> None:
    """Each thread has its own answer."""
    found: dict[str, int] = {}
    threads = [
        Thread(target=lambda name=name: found.setdefault(name, run(name, "--help").returncode))
        for name in ("up", "wait", "doctor", "none")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {"up": 0, "wait": 0, "doctor": 0, "none": 2}
