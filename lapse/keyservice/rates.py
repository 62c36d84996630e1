"""How often one processor may ask: a token bucket each, so that a loop cannot starve the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Rates:
    """`per_second` requests on average, `burst` at once; `clock` in seconds, only ever forward."""

    per_second: float = 100.0
    burst: float = 200.0
    clock: Callable[[], float]
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    def wait(self, name: str) -> float:
        """Take one request; return 0.0, or how many seconds too early it is."""
        now = self.clock()
        left, at = self._buckets.get(name, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_second)
        if left < 1.0:
            self._buckets[name] = (left, now)
            return (1.0 - left) / self.per_second
        self._buckets[name] = (left - 1.0, now)
        return 0.0
