"""The vault's time: the host's clock, or on test data one that stands still in the vault until it is set."""

import time
from collections.abc import Callable

from schemas.ids import Micros

ClockReader = Callable[[], Micros]


def wall() -> Micros:
    """Return the host's time: leases and retries run on it even where the vault's clock stands still."""
    return Micros(time.time_ns() // 1000)
