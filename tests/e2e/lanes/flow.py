"""One event through a system on whatever cluster it runs, and what its doctor says of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.live.system import STEADY, System, allows, somebody
from tests.support.live import REPOSITORY

READ_SECONDS = "5"


@contextmanager
def system_on(folder: Path, environment: Mapping[str, str], *, test: bool = False) -> Iterator[System]:
    """`lapse up` with these settings until the block ends."""
    system = System(folder, STEADY, environment=environment)
    try:
        if test:
            system.init()
        system.start()
        yield system
    finally:
        system.end()


def routed(system: System) -> str:
    """Send somebody's form and see it routed to the recipient that may have it; the event's id."""
    person = somebody()
    event_id = system.submit(person, *allows("answer_request", "marketing_email"))
    assert system.ended(event_id, 60)["outcome"] == "routed"
    shown = system.outcome(event_id)
    assert "crm" in {verdict["processor"] for verdict in shown["verdicts"] if verdict["grants"]}
    return event_id


def opened_by_the_example(system: System) -> list[str]:
    """What the example consumer in Python prints, which knows nothing but run.json."""
    command = [sys.executable, str(REPOSITORY / "examples" / "python" / "consumer.py")]
    command += [str(system.data / "run.json"), "crm", READ_SECONDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def examined(system: System) -> dict[str, dict[str, Any]]:
    """Doctor's findings by check."""
    done = system.lapse("doctor")
    return {row["check"]: row for row in done.json()["checks"]}


def bad(system: System) -> dict[str, str]:
    """The checks that are not well, with their figures."""
    return {
        name: row["figure"] for name, row in examined(system).items() if row["state"] not in ("ok", "to do")
    }
