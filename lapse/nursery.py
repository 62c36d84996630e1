"""Where roles are born: one process that has imported what they need and forks a new one when asked.

A role that starts by itself imports for one to two seconds and keeps its own copy of everything. Forked, it
is there in milliseconds and shares that memory until somebody writes to it. This is the supervisor's end,
`lapse/cradle.py` is the process. Where there is no nursery a role is started plainly; nothing else differs.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from lapse import kernel
from lapse.layout import Layout

NAME = "nursery"
PREPARED = b"prepared"
"""What a nursery says once its imports are done."""
IMPORT_SECONDS, BIRTH_SECONDS = 240.0, 30.0
"""How long these may take on a busy host; then the role is started plainly and the nursery anew."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a nursery that ended is started again; doubled until a birth succeeds."""
MOST_BYTES = 1 << 16
"""Of a request; whoever has a larger environment starts roles plainly."""
PID_BYTES = 8
ROOM = "." * 16
"""Makes the nursery's command line long enough to show a role's in its place."""
_LOST = 255
"""The status of a child whose own was taken by somebody else."""
_LOOK_SECONDS = 0.02

log = structlog.get_logger("nursery")


@dataclass(slots=True, kw_only=True)
class Born:
    """A child of this process that it did not start itself: what `subprocess.Popen` is to those it did."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = _LOST
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status once it has ended; `subprocess.TimeoutExpired` where that takes longer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_LOOK_SECONDS)
        return status

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


@dataclass(slots=True, kw_only=True)
class Nursery:
    """The supervisor's end: starts the process, asks it for roles, starts it again when it ended."""

    layout: Layout
    environment: Mapping[str, str]
    program: str = "lapse.cradle"
    patience: float = BIRTH_SECONDS
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _asking: socket.socket | None = field(default=None, repr=False)
    _prepared: bool = False
    _pause: float = FIRST_PAUSE
    _resume_at: float = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; its imports go on while the caller does. Raises `OSError` as starting a process may."""
        self._resume_at = time.monotonic() + self._pause
        if not kernel.adopt(orphans=True):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = self._started(theirs.fileno())
            except OSError:
                ours.close()
                raise
        self._asking, self._prepared = ours, False

    def _started(self, asked: int) -> subprocess.Popen[bytes]:
        self.layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.layout.logs / f"{NAME}.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", self.program, str(self.layout.root)),
                    *(str(asked), str(os.getpid()), ROOM),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                pass_fds=(asked,),
                start_new_session=True,
                preexec_fn=kernel.die_with_parent,
            )

    def bear(self, role: str, environment: Mapping[str, str], output: int) -> Born | None:
        """A process that plays the role and writes to the file `output`, a child of this process.

        None where there is no nursery, it does not answer, or the environment asks for another interpreter
        than it has: the caller starts the role plainly. `OSError` where the kernel gives no process.
        """
        asked = json.dumps({"role": role, "environment": dict(environment)}).encode()
        if self._asking is None or len(asked) > MOST_BYTES:
            return None
        if interpreters(environment) != interpreters(self.environment):
            return None
        try:
            self._await_imports(self._asking)
            socket.send_fds(self._asking, [asked], [output])
            answer = self._asking.recv(PID_BYTES)
        except OSError:  # it ended, or stands still
            answer = self._last_word()
        if not answer:
            self._leave()
            return None
        pid = int.from_bytes(answer, "big")
        if not pid:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._pause = FIRST_PAUSE
        return Born(pid=pid)

    def _await_imports(self, asking: socket.socket) -> None:
        if not self._prepared:
            asking.settimeout(IMPORT_SECONDS)
            if not asking.recv(len(PREPARED)):
                raise ConnectionError
            self._prepared = True
        asking.settimeout(self.patience)

    def _last_word(self) -> bytes:
        """What it answered in the moment it was given up: without that answer nobody it bore lives on."""
        assert self._asking is not None and self._process is not None
        self._process.kill()
        self._process.wait()
        try:
            return self._asking.recv(PID_BYTES) if self._prepared else b""
        except OSError:
            return b""

    def tend(self) -> bool:
        """Start it again if it ended, what it bore going on meanwhile; true when its process changed."""
        if self.pid is not None:
            return False
        if self._process is not None:
            log.warning("nursery_ended", status=self._process.returncode)
            self._leave()
            return True
        if time.monotonic() < self._resume_at:
            return False
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        try:
            self.start()
        except OSError as error:  # no more processes, a full disk: tried again
            log.warning("nursery_not_started", errno=error.errno)
        return self.pid is not None

    def close(self) -> None:
        """End it; what it bore goes on, and orphans are the system's again."""
        self._leave()
        kernel.adopt(orphans=False)

    def _leave(self) -> None:
        if self._asking is not None:
            self._asking.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._asking = self._process = None


def interpreters(environment: Mapping[str, str]) -> dict[str, str]:
    """What Python takes from an environment as it starts, and cannot take later."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}
