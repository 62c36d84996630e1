"""Keeps every role running: starts them in order, restarts what ends, says when all are ready, stops them
in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

import structlog

from lapse.layout import Layout, write_json
from lapse.processes import RoleProcess, last_lines
from schemas.errors import Unavailable

log = structlog.get_logger("supervisor")

LOOK_SECONDS = 0.05
"""How often the supervisor looks at its children."""
STOP_ORDER = ("collector", "keys", "tag", "route", "connect", "govern", "expire")
"""Sources dry up first, so that what was accepted still flows as far as it can."""


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
    ) -> None:
        self._layout, self._roles, self._broker = layout, list(roles), broker
        self._on_ready = on_ready
        self._stopping = False
        self._announced = False

    def run(self, *, wait_ready: float) -> None:
        """Run until SIGTERM or SIGINT. Raises `Unavailable` if not every role is ready within
        `wait_ready` seconds.
        """
        with self._signals():
            try:
                for role in self._roles:
                    role.start()
                self._write_roles()
                self._tend_forever(time.monotonic() + wait_ready)
            finally:
                self._stop()

    def stop(self) -> None:
        """Ask the running loop to end."""
        self._stopping = True

    def _tend_forever(self, ready_by: float) -> None:
        while not self._stopping:
            changed = [role.role for role in self._roles if role.tend()]
            if self._tend_broker() or changed:
                self._write_roles()
                for name in changed:
                    log.warning("role_restarted", role=name)
            if not self._announced:
                self._announce_when_ready(ready_by)
            time.sleep(LOOK_SECONDS)

    def _announce_when_ready(self, ready_by: float) -> None:
        late = [role for role in self._roles if not role.ready()]
        if not late:
            urls = {role.role: str(role.word().get("metrics_url", "")) for role in self._roles}
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
        if self._broker is None or self._broker.pid is not None:
            return False
        log.warning("broker_ended")
        try:
            self._broker.start()
        except Unavailable as error:
            log.warning("broker_not_started", code=error.code)
            time.sleep(1.0)
        return True

    def _stop(self) -> None:
        self._layout.run_file.unlink(missing_ok=True)
        by_name = {role.role: role for role in self._roles}
        # One source first, then all the others at once: each drains on its own, and together that takes as
        # long as the slowest.
        for names in (STOP_ORDER[:1], STOP_ORDER[1:]):
            stopping = [by_name[name] for name in names if name in by_name]
            for role in stopping:
                role.ask_to_stop()
            for role in stopping:
                role.wait_stopped()
        if self._broker is not None:
            self._broker.stop()
        self._layout.roles_file.unlink(missing_ok=True)

    def _write_roles(self) -> None:
        pids: dict[str, int | None] = {role.role: role.pid for role in self._roles}
        pids["supervisor"] = os.getpid()
        if self._broker is not None:
            pids["broker"] = self._broker.pid
        write_json(self._layout.roles_file, {name: pid for name, pid in pids.items() if pid is not None})

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
