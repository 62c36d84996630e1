"""Token buckets per key, in bounded memory. Pure but for its own state: time is an argument, in seconds."""

from collections import OrderedDict
from collections.abc import Hashable


class Rates:
    """`burst` at once, `rate` a second in the long run, for each key; the least used keys are forgotten."""

    def __init__(self, rate: float, burst: int, keys: int = 50_000) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[Hashable, list[float]] = OrderedDict()
        """Per key: tokens left, and when that was so."""

    def take(self, key: Hashable, now: float) -> float:
        """Take one token: 0 if there was one, else the seconds until there is."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = [float(self._burst), now]
            if len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        level, since = bucket
        if now > since:
            level = min(self._burst, level + (now - since) * self._rate)
        taken = level >= 1
        bucket[0], bucket[1] = level - 1 if taken else level, now
        return 0.0 if taken else (1 - level) / self._rate

    def clear(self) -> None:
        """Forget every key."""
        self._buckets.clear()

    def __len__(self) -> int:
        return len(self._buckets)
