"""A recipient reports how an accepted erasure ended: all that changes an object from outside."""

from __future__ import annotations

from msgspec.structs import replace

from processors.answers import Done, Permanent
from processors.awaiting import Awaiting
from processors.calls import Told
from processors.kept import pack, unpack
from processors.objects import Document
from processors.telling import Teller
from schemas.ids import Micros
from vault.port import Tx


class Reports:
    """Enters reports for one processor; needs no connection to it, so the key endpoint can do it."""

    def __init__(self, *, processor: str, receipt_partitions: int) -> None:
        self._processor = processor
        self._awaiting = Awaiting(processor)
        self._teller = Teller(processor=processor, receipt_partitions=receipt_partitions)

    def ended(self, tx: Tx, request: str, answer: Done | Permanent, wall: Micros) -> bool:
        """The same where the report names no object; False where no end of this name is awaited."""
        ref = self._awaiting.of(tx, request)
        return ref is not None and self.reported(tx, ref, request, answer, wall)

    def late(self, tx: Tx, ref: bytes, request: str, wall: Micros) -> None:
        """Say that an end did not come in time: somebody has to look, until it comes after all."""
        row = tx.objects(self._processor, [ref]).get(ref)
        doc = unpack(row.document) if row else None
        entries = doc.awaited if isinstance(doc, Document) else ()
        for lref in (lref for entry in entries if entry.request == request for lref in entry.lapses):
            self._teller.worsen(tx, lref, "manual_required", "vendor_late", wall)

    def reported(self, tx: Tx, ref: bytes, request: str, answer: Done | Permanent, wall: Micros) -> bool:
        """Enter that an accepted erasure has ended; False where no such one is awaited of this object."""
        row = tx.objects(self._processor, [ref]).get(ref)
        doc = unpack(row.document) if row else None
        if row is None or not isinstance(doc, Document):
            return False
        entry = next((a for a in doc.awaited if a.request == request), None)
        if entry is None:
            return False
        self._awaiting.drop(tx, request)
        kept = replace(doc, awaited=tuple(a for a in doc.awaited if a is not entry))
        if kept.empty:
            tx.drop_objects(self._processor, [ref])
        else:
            tx.put_objects([replace(row, document=pack(kept))])
        outcome = answer.outcome if isinstance(answer, Done) else "failed_permanent"
        code = answer.code if isinstance(answer, Permanent) else None
        told = Told(about=b"", outcome=outcome, code=code, evidence=answer.evidence)
        for lref in entry.lapses:
            self._teller.fold(tx, lref, told, wall, remaining=0, awaiting=-1)
        return True
