"""What a role says of itself: ready or not, and in one line what it waits for.

It stands in `DATA/state/<role>.json` for the supervisor and the doctor, in the role's log and in its metrics.
"""

from __future__ import annotations

import os
import threading

import structlog
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from lapse.layout import Layout, write_json

READY = Gauge("lapse_role_ready", "1 while the role has all it needs.", ["role"], registry=None)
WAITING = Gauge(
    "lapse_role_waiting", "1 while the role waits for what `reason` says.", ["role", "reason"], registry=None
)
ALL = (READY, WAITING)
"""What every process of a role registers with the registry it serves."""


class RoleState:
    """One role's word, and its metrics port on loopback."""

    def __init__(self, layout: Layout, role: str, registries: CollectorRegistry, port: int = 0) -> None:
        self.role = role
        self._path, self._lock = layout.role_state(role), threading.Lock()
        self._log = structlog.get_logger("role")
        for metric in ALL:
            registries.register(metric)
        server, _ = start_http_server(port, "127.0.0.1", registries)
        self.metrics_url = f"http://127.0.0.1:{server.server_port}/metrics"
        self._last: tuple[bool, str | None] | None = None
        self.waiting("its start")

    def ready(self, though: str | None = None) -> None:
        """All is there; work flows, `though` something is waited for that does not hold it up."""
        self._say(True, though)

    def waiting(self, reason: str) -> None:
        """Not ready, because of `reason`: one line, no payload."""
        self._say(False, reason)

    def _say(self, ready: bool, reason: str | None) -> None:
        with self._lock:
            if self._last == (ready, reason):
                return
            READY.labels(self.role).set(ready)
            WAITING.clear()
            if reason is not None:
                WAITING.labels(self.role, reason).set(1)
            document = {
                "pid": os.getpid(),
                "ready": ready,
                "waiting_for": reason,
                "metrics_url": self.metrics_url,
            }
            try:
                write_json(self._path, document)
            except OSError as error:  # a full disk: said again as soon as there is room, and no reason to die
                structlog.get_logger(self.role).warning("state_not_written", errno=error.errno)
            else:
                self._last = (ready, reason)
                self._log.info("ready" if ready else "waits", role=self.role, waiting_for=reason)
