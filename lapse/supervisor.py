"""Keeps every role running: starts in order, restarts what ends, says when all are ready, stops in order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

import structlog

from lapse import faults
from lapse.crew import Crew
from lapse.layout import Layout, write_json
from lapse.nursery import NAME, Nursery
from lapse.processes import RoleProcess, last_lines
from schemas.errors import LapseError, Unavailable
from vault.faults import Crash, never

log = structlog.get_logger("supervisor")

LOOK_SECONDS = 0.05
"""How often the supervisor looks at its children."""
BROKER_SECONDS = 300.0
"""How long a broker may take to answer: one that is stopped for being slow begins anew, as slowly."""
BROKER_STOPS = 30.0
"""How long a start that was under way may take to notice that it is over."""
STOP_FIRST = "collector"
"""The source dries up first, so that what was accepted still flows as far as it can."""


class Broker(Protocol):
    """What the supervisor needs of a broker it runs itself."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    def start(self, timeout: float = ...) -> object:
        """Start it again on the same data and addresses."""

    def stop(self) -> None:
        """Stop it in an orderly way."""


class Supervisor:
    """The roles of one data folder, from start to stop."""

    def __init__(
        self,
        layout: Layout,
        roles: Sequence[RoleProcess],
        *,
        broker: Broker | None,
        on_ready: Callable[[dict[str, str]], None],
        hire: Callable[[str], RoleProcess],
        nursery: Nursery | None = None,
        crash: Crash = never,
    ) -> None:
        self._layout, self._broker, self._nursery = layout, broker, nursery
        self._crew = Crew(layout=layout, hire=hire, first=list(roles))
        self._on_ready, self._crash = on_ready, crash
        self._stopping = False
        self._announced = False
        self._unwritten = False
        self._starting: threading.Thread | None = None
        self._broker_pid = broker.pid if broker is not None else None

    def run(self, *, wait_ready: float) -> None:
        """Run until SIGTERM or SIGINT; `Unavailable` if a role is not ready within `wait_ready` seconds."""
        with self._signals():
            try:
                self._crew.start()
                self._crash(faults.STARTED)
                self._write_roles()
                self._tend_forever(time.monotonic() + wait_ready)
            finally:
                self._stop()

    def stop(self) -> None:
        """Ask the running loop to end."""
        self._stopping = True

    def _tend_forever(self, ready_by: float) -> None:
        while not self._stopping:
            changed = self._crew.tend()
            if self._tend_broker() or self._tend_nursery() or changed or self._unwritten:
                self._write_roles()
                for name in changed:
                    log.warning("role_changed", role=name)
            if not self._announced:
                self._announce_when_ready(ready_by)
            time.sleep(LOOK_SECONDS)

    def _announce_when_ready(self, ready_by: float) -> None:
        late = [role for role in self._crew.first if not role.ready()]
        if not late:
            urls = {role.role: str(role.word().get("metrics_url", "")) for role in self._crew.first}
            self._crash(faults.READY)
            self._on_ready(urls)
            self._announced = True
        elif time.monotonic() > ready_by:
            first = late[0]
            waiting = (
                first.word().get("waiting_for") or (last_lines(first.log_path, 1) or ["it said nothing"])[0]
            )
            raise Unavailable(
                "not_ready",
                f"not ready in time: {', '.join(role.role for role in late)}",
                where=first.role,
                do=f"it waits for: {waiting}; look into {first.log_path}",
            )

    def _tend_broker(self) -> bool:
        """Start the broker again if it ended; true when its process changed. Roles are tended meanwhile."""
        if self._broker is None:
            return False
        if self._broker.pid is None and not (self._starting and self._starting.is_alive()):
            log.warning("broker_ended")
            self._starting = threading.Thread(target=self._start_broker, name="broker", daemon=True)
            self._starting.start()
        changed = self._broker.pid != self._broker_pid
        self._broker_pid = self._broker.pid
        return changed

    def _tend_nursery(self) -> bool:
        return self._nursery is not None and self._nursery.tend()

    def _start_broker(self) -> None:
        assert self._broker is not None
        try:
            self._broker.start(BROKER_SECONDS)
        except (LapseError, OSError) as error:  # OSError: its folder cannot be written, the disk is full
            log.warning("broker_not_started", code=getattr(error, "code", type(error).__name__))
            time.sleep(1.0)

    def _stop(self) -> None:
        self._layout.run_file.unlink(missing_ok=True)
        self._crash(faults.STOPPING)
        everyone = [*self._crew.all, *self._crew.leaving]
        # One source first, then all the others at once: each drains on its own, and together that takes as
        # long as the slowest.
        first = [role for role in everyone if role.role == STOP_FIRST]
        for stopping in (first, [role for role in everyone if role not in first]):
            for role in stopping:
                role.ask_to_stop()
            for role in stopping:
                role.wait_stopped()
        if self._broker is not None:
            self._broker.stop()
            if self._starting is not None:  # it may have been about to start one
                self._starting.join(BROKER_STOPS)
                self._broker.stop()
        self._layout.roles_file.unlink(missing_ok=True)

    def _write_roles(self) -> None:
        pids = {**self._crew.pids(), "supervisor": os.getpid()}
        if self._broker is not None and self._broker.pid is not None:
            pids["broker"] = self._broker.pid
        if self._nursery is not None and self._nursery.pid is not None:
            pids[NAME] = self._nursery.pid
        try:
            write_json(self._layout.roles_file, pids)
        except OSError as error:  # a full disk must not end what keeps the others running: written later
            if not self._unwritten:
                log.warning("roles_not_written", errno=error.errno)
            self._unwritten = True
        else:
            self._unwritten = False

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def interpreter_environment(base: dict[str, str], root: Path) -> dict[str, str]:
    """The environment of a role: ours, unbuffered, able to import this checkout."""
    path = os.pathsep.join(filter(None, [str(root), base.get("PYTHONPATH", "")]))
    return {**base, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
