"""The stop guard: a stop that hangs ends the process.

With the broker away aiokafka's flush, commit and leave wait for ever; what was not committed is read again.
"""

from __future__ import annotations

import os
import sys
import threading

STOP_TIMEOUT = 20.0
"""Seconds from the first sign of a stop to the end of the process."""


class StopGuard:
    """Ends the process with rc 1 when armed and not stopped in time; arming again changes nothing."""

    def __init__(self, seconds: float = STOP_TIMEOUT) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """Start counting."""
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, _end)
            self._timer.daemon = True  # dies with a process that stops in time
            self._timer.start()

    def disarm(self) -> None:
        """Stop counting: everything has been closed."""
        if self._timer is not None:
            self._timer.cancel()


def _end() -> None:
    sys.stderr.write("the worker did not stop in time: ending the process, uncommitted chunks come again\n")
    sys.stderr.flush()
    os._exit(1)
