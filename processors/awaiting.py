"""Erasures a recipient has yet to report the end of, found by the name under which it will.

That is its own, or that of an object somebody has to empty by hand there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from msgspec.structs import replace

from processors.kept import Pending, pack, unpack
from processors.objects import Awaited, Document
from schemas.ids import Micros
from vault.port import Tx
from vault.values import VendorObject


class Awaiting:
    """One processor's shelf of awaited ends; `due` of a row is when to ask the recipient how it stands."""

    def __init__(self, processor: str) -> None:
        self._shelf = f"{processor}#awaited"

    def put(
        self,
        tx: Tx,
        ref: bytes,
        entries: Iterable[Awaited],
        ask_at: Micros,
        by: Micros | None = None,
        *,
        of: Document | None = None,
    ) -> None:
        """Enter that these ends are awaited of an object, until `by` on the vault's clock.

        `of` is the object as it stood before, to look afterwards whether it is gone.
        """
        key, name = (of.key, of.vendor_id) if of is not None else ("", None)
        for entry in entries:
            made = Pending(object=ref, request=entry.request, answer_by=by, key=key, vendor_id=name)
            self.keep(tx, made, ask_at)

    def hurry(self, tx: Tx, request: str, wall: Micros) -> None:
        """Ask about one now, if it is awaited."""
        rows = tx.objects(self._shelf, [_name(request)]).values()
        tx.put_objects([replace(row, due=wall) for row in rows])

    def keep(self, tx: Tx, pending: Pending, ask_at: Micros) -> None:
        """Enter how far one of them has come, and when to look at it again."""
        name = _name(pending.request)
        row = VendorObject(processor=self._shelf, ref=name, document=pack(pending), due=ask_at)
        tx.put_objects([row])

    def drop(self, tx: Tx, request: str) -> None:
        """Forget one: its end was entered."""
        tx.drop_objects(self._shelf, [_name(request)])

    def of(self, tx: Tx, request: str) -> bytes | None:
        """Return the reference of the object that an end of this name is awaited of."""
        row = tx.objects(self._shelf, [_name(request)]).get(_name(request))
        doc = unpack(row.document) if row else None
        return doc.object if isinstance(doc, Pending) else None

    def any_due(self, tx: Tx, wall: Micros) -> bool:
        """Return whether it is time to ask about any: a read, for a loop that looks often."""
        return bool(tx.objects_due(self._shelf, wall, 1))

    def take(self, tx: Tx, wall: Micros, limit: int, until: Micros) -> list[Pending]:
        """Return what it is time to ask about; nobody else takes it before `until`."""
        rows = tx.objects(self._shelf, tx.objects_due(self._shelf, wall, limit)).values()
        tx.put_objects([replace(row, due=until) for row in rows])
        return [doc for row in rows if isinstance(doc := unpack(row.document), Pending)]

    def count(self, tx: Tx) -> int:
        """Return how many ends are awaited."""
        return tx.objects_waiting(self._shelf)


def _name(request: str) -> bytes:
    return b"A" + hashlib.sha256(request.encode()).digest()[:16]
