"""What a role says of itself: ready or not, and what it waits for; read by the supervisor and the doctor."""

from __future__ import annotations

import os
import threading

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from lapse.layout import Layout, write_json


class RoleState:
    """One role's word, in `DATA/state/<role>.json`, and its metrics port on loopback."""

    def __init__(self, layout: Layout, role: str, registries: CollectorRegistry, port: int = 0) -> None:
        self.role = role
        self._path, self._lock = layout.role_state(role), threading.Lock()
        server, _ = start_http_server(port, "127.0.0.1", registries)
        self.metrics_url = f"http://127.0.0.1:{server.server_port}/metrics"
        self._last: tuple[bool, str | None] | None = None
        self.waiting("its start")

    def ready(self) -> None:
        """All is there; work flows."""
        self._say(True, None)

    def waiting(self, reason: str) -> None:
        """Not ready, because of `reason`: one line, no payload."""
        self._say(False, reason)

    def _say(self, ready: bool, reason: str | None) -> None:
        with self._lock:
            if self._last == (ready, reason):
                return
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
