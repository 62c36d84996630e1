"""Legal holds (model m4): K and the person's number are put aside whenever a parent of K is destroyed.

What is put aside is sealed under the hold's own key, which dies when the hold is released.
"""

from collections.abc import Iterable, Sequence

import msgspec

from schemas.errors import Bug, NotFound
from schemas.ids import Period, SubjectNumber, Terms
from vault.base import one
from vault.buckets import BucketRows
from vault.keys import derive_k, new_key
from vault.people import PeopleRows
from vault.sealing import seal, unseal
from vault.store import Row
from vault.tables import ESCROW, HOLD
from vault.values import BucketId, HeldKey, HeldPair, Hold, SubjectState

_KEY = 32


class _Sealed(msgspec.Struct, frozen=True):
    """What a hold's row seals."""

    hold: Hold


class HoldRows(PeopleRows, BucketRows):
    """Holds and what they put aside, over rows."""

    def holds(self) -> list[Hold]:
        """Return holds, released ones too, by when they were placed."""
        return [self._hold(row) for row in self.rows.scan(HOLD, order=("placed_at", "id"))]

    def hold_keys(self, hold_id: bytes) -> list[HeldKey]:
        """Return every key that opens under a standing hold: put aside, or of parents that still live."""
        hold = self.standing(hold_id)
        found = {key.pair: key for key in self.put_aside(hold_id)}
        for key in self.derivable(self.subjects(hold.subjects).values(), hold.purposes):
            found[key.pair] = key
        return [found[pair] for pair in sorted(found)]

    def standing(self, hold_id: bytes) -> Hold:
        """Return a hold that still stands; `NotFound` otherwise."""
        row = one(self.rows.find(HOLD, ("id",), [(hold_id,)]))
        if row is None or row[2] is not None:
            raise NotFound("not_found", "no such hold stands", "hold")
        return self._hold(row)

    def derivable(self, people: Iterable[SubjectState], purposes: Sequence[str]) -> list[HeldKey]:
        """Return K of every living generation of these people under every bucket key that exists."""
        buckets = self.living_keys(purposes)
        found = []
        for person in people:
            for bucket, key in buckets.items():
                held = person.purpose(bucket.purpose)
                if held.key is not None:
                    pair = HeldPair(bucket, person.number, held.generation)
                    found.append(HeldKey(pair=pair, k=derive_k(key, held.key)))
        return found

    def put_aside(self, hold_id: bytes) -> list[HeldKey]:
        """Return what a hold has put aside."""
        key = self._hold_key(hold_id)
        found = []
        for _, n, purpose, period, terms, sealed in self.rows.find(ESCROW, ("hold",), [(hold_id,)]):
            clear = unseal(key, sealed, _aad(hold_id, n))
            assert clear is not None, "what a hold put aside does not open"
            bucket = BucketId(purpose, Period(period), Terms(terms))
            number = SubjectNumber(int.from_bytes(clear[_KEY : _KEY + 8], "big"))
            pair = HeldPair(bucket, number, int.from_bytes(clear[_KEY + 8 :], "big"))
            found.append(HeldKey(pair=pair, k=clear[:_KEY]))
        return found

    def escrow(self, hold_id: bytes, keys: Iterable[HeldKey]) -> None:
        """Put keys aside under a hold; what is there already stays."""
        there = {key.pair for key in self.put_aside(hold_id)}
        key = self._hold_key(hold_id)
        rows = []
        for n, held in enumerate((k for k in keys if k.pair not in there), len(there)):
            clear = held.k + held.pair.subject.to_bytes(8, "big") + held.pair.generation.to_bytes(4, "big")
            sealed = seal(key, clear, _aad(hold_id, n), self.tools.draw)
            rows.append((hold_id, n, *held.pair.bucket, sealed))
        self.rows.put(ESCROW, rows)

    def put_hold(self, hold: Hold) -> None:
        """Write a standing hold under a key of its own."""
        row = one(self.rows.find(HOLD, ("id",), [(hold.hold_id,)]))
        if row is not None:
            raise Bug("bug", "a hold is placed twice", "hold")
        key = new_key(self.tools.draw)
        (slot,) = self.slots.add([key])
        sealed = seal(key, msgspec.msgpack.encode(_Sealed(hold)), hold.hold_id, self.tools.draw)
        self.rows.put(HOLD, [(hold.hold_id, hold.placed_at, None, slot, sealed)])

    def drop_hold(self, hold_id: bytes) -> None:
        """Destroy a hold's key and what it put aside; the row stays and names nobody."""
        row = one(self.rows.find(HOLD, ("id",), [(hold_id,)]))
        if row is None or row[3] is None:
            return
        self.slots.destroy([row[3]])
        self.rows.delete(ESCROW, ("hold",), [(hold_id,)])
        self.rows.put(HOLD, [(hold_id, row[1], self.now, None, b"")])

    def _hold(self, row: Row) -> Hold:
        hold_id, placed_at, released_at, slot, sealed = row
        if slot is None:
            return Hold(hold_id=hold_id, placed_at=placed_at, released_at=released_at)
        clear = unseal(self._hold_key(hold_id), sealed, hold_id)
        assert clear is not None, "a hold's row does not open"
        return msgspec.msgpack.decode(clear, type=_Sealed).hold

    def _hold_key(self, hold_id: bytes) -> bytes:
        row = one(self.rows.find(HOLD, ("id",), [(hold_id,)]))
        assert row is not None and row[3] is not None, "the hold stands"
        return self.slots.read([row[3]])[row[3]]


def _aad(hold_id: bytes, n: int) -> bytes:
    return b"lapse/v1/escrow" + hold_id + n.to_bytes(4, "big")
