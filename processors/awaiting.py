"""Erasures a recipient has yet to report the end of, found by the name under which it will: its own, or that
of an object somebody has to empty by hand there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from processors.objects import Awaited, Pending, pack, unpack
from schemas.ids import Micros
from vault.port import Tx
from vault.values import VendorObject


class Awaiting:
    """One processor's shelf of awaited ends; `due` of a row is when to ask the recipient how it stands."""

    def __init__(self, processor: str) -> None:
        self._shelf = f"{processor}#awaited"

    def put(self, tx: Tx, ref: bytes, entries: Iterable[Awaited], ask_at: Micros) -> None:
        """Enter that these ends are awaited of an object."""
        tx.put_objects(
            VendorObject(
                processor=self._shelf,
                ref=_name(entry.request),
                document=pack(Pending(object=ref, request=entry.request)),
                due=ask_at,
            )
            for entry in entries
        )

    def drop(self, tx: Tx, request: str) -> None:
        """Forget one: its end was entered."""
        tx.drop_objects(self._shelf, [_name(request)])

    def of(self, tx: Tx, request: str) -> bytes | None:
        """Return the reference of the object that an end of this name is awaited of."""
        row = tx.objects(self._shelf, [_name(request)]).get(_name(request))
        doc = unpack(row.document) if row else None
        return doc.object if isinstance(doc, Pending) else None

    def due(self, tx: Tx, wall: Micros, limit: int) -> list[Pending]:
        """Return what it is time to ask about."""
        rows = tx.objects(self._shelf, tx.objects_due(self._shelf, wall, limit)).values()
        return [doc for row in rows if isinstance(doc := unpack(row.document), Pending)]


def _name(request: str) -> bytes:
    return b"A" + hashlib.sha256(request.encode()).digest()[:16]
