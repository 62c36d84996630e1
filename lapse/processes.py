"""One child process of the supervisor: started, watched, started again after pauses, stopped in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lapse.kernel import die_with_parent
from lapse.layout import Layout, read_json
from lapse.nursery import Born, Nursery

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a role that ended is started again: doubled each time, forgotten after a good minute."""
GOOD_RUN = 60.0
STOP_SECONDS = 25.0
"""How long a role may take to drain; a worker whose broker is away ends itself after 20 s."""


@dataclass(slots=True, kw_only=True)
class RoleProcess:
    """A role, and the process that plays it at the moment.

    `command` starts it where there is no nursery to bear it, or none that can.
    """

    role: str
    command: Sequence[str]
    environment: Mapping[str, str]
    layout: Layout
    nursery: Nursery | None = None
    process: subprocess.Popen[bytes] | Born | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    resume_at: float = 0.0
    restarts: int = 0
    _log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def log_path(self) -> Path:
        """Where the role's output goes."""
        return self.layout.logs / f"{self.role}.log"

    @property
    def pid(self) -> int | None:
        """The process id, while one runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self) -> None:
        """Start the role; its old word about itself no longer counts."""
        self.layout.role_state(self.role).unlink(missing_ok=True)
        self.layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            born = self.nursery.bear(self.role, self.environment, log.fileno()) if self.nursery else None
            self.process = born or self._started_plainly(log)
        self.started = time.monotonic()

    def _started_plainly(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(self.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(self.environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def ready(self) -> bool:
        """Whether this very process has said that it is ready."""
        word = self.word()
        return self.pid is not None and word.get("pid") == self.pid and bool(word.get("ready"))

    def word(self) -> dict[str, object]:
        """What the role last said of itself: `{pid, ready, waiting_for, metrics_url}`."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return dict(read_json(self.layout.role_state(self.role)))
        return {}

    def tend(self) -> bool:
        """Start the role again if it ended; true when its process changed."""
        if self.pid is not None:
            return False
        now = time.monotonic()
        if self.process is not None:
            self.pause = FIRST_PAUSE if now - self.started > GOOD_RUN else min(self.pause * 2, LONGEST_PAUSE)
            self.process, self.resume_at = None, now + self.pause
            self.restarts += 1
            return True
        if now < self.resume_at:
            return False
        try:
            self.start()
        except OSError:  # no room for its log, no more processes: tried again, the others go on
            self.resume_at = now + LONGEST_PAUSE
            return False
        return True

    def ask_to_stop(self) -> None:
        """SIGTERM: drain, commit, leave."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def wait_stopped(self, seconds: float = STOP_SECONDS) -> int | None:
        """Wait for the end, then insist; returns the exit status, if there was a process."""
        if self.process is None:
            return None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def last_lines(path: Path, count: int = 12) -> list[str]:
    """The end of a log file, for an error message."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        return file.read().decode(errors="replace").splitlines()[-count:]
