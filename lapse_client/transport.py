"""Where a publisher sends to: a port of two methods, and its twin in memory."""

import threading
from collections.abc import Sequence
from typing import Protocol

from lapse_client.errors import Undelivered
from lapse_client.records import Publishable

Result = Undelivered | None
"""None once an event is durable; `Turned` for good, any other `Undelivered` may succeed later."""


class Transport(Protocol):
    """Sends batches; made anew in each process, used by one thread."""

    def send(self, batch: Sequence[Publishable]) -> list[Result]:
        """One result per event, in order, once each is durable or is known not to be."""

    def close(self) -> None:
        """Let connections go."""


class MemoryTransport:
    """For tests of your own: what was published stands in `events`; set `failing` to see how you bear it."""

    def __init__(self) -> None:
        self.events: list[Publishable] = []
        self.failing: Undelivered | None = None
        self._lock = threading.Lock()

    def send(self, batch: Sequence[Publishable]) -> list[Result]:
        """Keep the events, or fail as told."""
        with self._lock:
            if self.failing is None:
                self.events.extend(batch)
            return [self.failing] * len(batch)

    def close(self) -> None:
        """Nothing is held."""
