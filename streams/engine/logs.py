"""Quiet logs: while the broker is away aiokafka repeats itself a hundred times a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

BURST = 3
WINDOW = 30.0
"""Of records with the same logger and message template, this many pass within this many seconds."""
REMEMBERED = 1_000
"""Templates kept; a client that formats its own messages makes each one new."""

CLIENTS = ("aiokafka", "faust", "mode", "streams.librdkafka")


class RateLimit(logging.Filter):
    """Lets a burst of equal messages pass per window and tells at the next one how many were left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seen: dict[tuple[str, object], list[float]] = {}

    @property
    def remembered(self) -> int:
        """Number of templates kept."""
        return len(self._seen)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        now = self._now()
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        state = self._seen.setdefault((record.name, record.msg), [now, 0, 0])
        if now - state[0] > WINDOW:
            left_out = int(state[2])
            state[:] = [now, 0, 0]
            if left_out:
                record.msg = f"{record.msg} ({left_out} more like this were left out)"
        state[1] += 1
        if state[1] <= BURST:
            return True
        state[2] += 1
        return False


def quieten(level: int = logging.INFO) -> None:
    """Give every logger of the Kafka clients the rate limit and at least this level.

    A filter acts on its own logger only, hence on each; call it after the clients have been imported.
    Faust's start leaves the root logger at DEBUG, and aiokafka at DEBUG prints records.
    """
    limit = RateLimit()
    for name in {*CLIENTS, *logging.root.manager.loggerDict}:
        if not any(name == client or name.startswith(f"{client}.") for client in CLIENTS):
            continue
        logger = logging.getLogger(name)
        if not any(isinstance(old, RateLimit) for old in logger.filters):
            logger.addFilter(limit)
        if name in CLIENTS and logger.level < level:
            logger.setLevel(level)
