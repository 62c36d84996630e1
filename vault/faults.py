"""Where a process can be told to die, by name, between two effects that last; the vault's own places.

Each layer names its places (`streams.faults`, `processors.faults`, `lapse.faults`); `lapse.faults.POINTS` has
them all, and the tests visit each one.
"""

from collections.abc import Callable

Crash = Callable[[str], None]
"""Dies if the point is the one it was armed with."""


def never(_point: str) -> None:
    """Go on."""


COPIED = "epoch.copied"
"""One copy of a new epoch's key is on disk, the other is not."""
KEYED = "epoch.keyed"
"""Both copies are, and the vault does not know the epoch yet."""
BEGUN = "epoch.begun"
"""The vault knows the new epoch; no key is wrapped under it."""
REWRAPPED = "epoch.rewrapped"
"""Some keys are, others not."""
CLOSED = "epoch.closed"
"""Nothing needs the old epoch any more; its bytes and its key are still there."""
CLEARED = "epoch.cleared"
"""Its bytes are gone from every file, its key is not."""
HALVED = "epoch.halved"
"""One copy of the old key is gone."""
DESTROYED = "epoch.destroyed"
"""Both are, and the vault does not say when."""
TURNED = "epoch.turned"
"""It does; what the turn made worthless still says `hidden`."""
FORGOTTEN = "forget.cleared"
"""The bytes of ended keys are gone; their buckets still say `hidden`."""
POINTS = (COPIED, KEYED, BEGUN, REWRAPPED, CLOSED, CLEARED, HALVED, DESTROYED, TURNED, FORGOTTEN)
