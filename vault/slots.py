"""Keys at rest: 40 bytes each, wrapped under the epoch's key, overwritten in place when they die.

Everything else that must be forgotten is sealed under a key that lies here, so destroying means overwriting
one slot, and turning the epoch means re-wrapping slots and nothing else.
"""

from collections.abc import Iterable, Mapping

from schemas.errors import Refused
from vault.columns import used
from vault.keys import INFO_SLOT_KEK, WRAPPED_BYTES, hkdf_expand, wrap
from vault.port import EpochKeys
from vault.store import Rows
from vault.tables import EPOCH, KEYSLOT

NOBODY = 1000
"""The epoch of destroyed slots, without a key; as wide as real ones in SQLite, so rows keep their size."""

_GONE = bytes(WRAPPED_BYTES)
_COUNTER = "keyslot"


class EpochCache:
    """The wrapping keys of epochs, derived once per process."""

    def __init__(self, keys: EpochKeys) -> None:
        self._keys = keys
        self._keks: dict[int, bytes] = {}

    def kek(self, epoch: int) -> bytes:
        """Return an epoch's wrapping key; `Refused` when the epoch's key is gone."""
        found = self._keks.get(epoch)
        if found is None:
            found = self._keks[epoch] = hkdf_expand(self._keys.key(epoch), INFO_SLOT_KEK)
        return found

    def drop(self, epoch: int) -> None:
        """Forget an epoch's key in this process."""
        self._keks.pop(epoch, None)


class Slots:
    """The key slots of one transaction."""

    def __init__(self, rows: Rows, cache: EpochCache) -> None:
        self._rows = rows
        self._cache = cache
        self._current: int | None = None

    @property
    def epoch(self) -> int:
        """The epoch under which keys are wrapped now."""
        if self._current is None:
            self._current = max(n for (n,) in self._rows.scan(EPOCH))
        return self._current

    def add(self, keys: Iterable[bytes]) -> list[int]:
        """Keep new keys; returns their slots, ascending."""
        wrapped = used().wraps(self._cache.kek(self.epoch), [*keys])
        numbers = self._rows.draw(_COUNTER, len(wrapped))
        self._rows.put(KEYSLOT, [(n, self.epoch, each) for n, each in zip(numbers, wrapped, strict=True)])
        return numbers

    def read(self, slots: Iterable[int]) -> dict[int, bytes]:
        """Return living keys by slot; destroyed ones are absent, damaged ones `Refused`."""
        rows = [row for row in self._rows.find(KEYSLOT, ("n",), [(n,) for n in slots]) if row[1] != NOBODY]
        over = [self._cache.kek(epoch) for _, epoch, _ in rows]
        found = used().unwraps(over, [wrapped for _, _, wrapped in rows])
        keys = {}
        for (n, _, _), key in zip(rows, found, strict=True):
            if key is None:
                raise Refused("wrong_data_folder", "a key does not open under its epoch", f"keyslot {n}")
            keys[n] = key
        return keys

    def overwrite(self, keys: Mapping[int, bytes]) -> None:
        """Replace keys in place: what was sealed under the old ones is gone."""
        if not keys:
            return
        kek = self._cache.kek(self.epoch)
        self._rows.put(KEYSLOT, [(n, self.epoch, wrap(kek, key)) for n, key in sorted(keys.items())])

    def destroy(self, slots: Iterable[int]) -> None:
        """Overwrite keys with zeros."""
        self._rows.put(KEYSLOT, [(n, NOBODY, _GONE) for n in sorted(slots)])
