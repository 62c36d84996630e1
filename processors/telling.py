"""What is told of deliveries and lapses: receipts in the outbox, in the transaction that knows it.

A lapse over many objects is answered once per partition it lay on, when the last of them has been: with the
worst outcome among them, since a receipt must not promise more than the least that was done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from processors.answers import Answer, Done, Permanent, worst
from processors.backoff import seconds
from processors.calls import Told
from processors.kept import LapseDocument, lapse_ref, pack, unpack
from processors.objects import Document, written
from processors.receipts import CLOSED_BY, receipt
from processors.values import Place
from schemas.codec import encode
from schemas.ids import Micros
from schemas.models import Depersonalized, ReceiptOutcome
from vault.port import Tx
from vault.values import VendorObject

PAGE = 500
"""Lapses read at a time."""
GRACE = seconds(3600)
"""How long an answered lapse is remembered, so that a redelivery does not answer it anew."""


class Teller:
    """Writes the receipts of one processor."""

    def __init__(self, *, processor: str, receipt_partitions: int) -> None:
        self._processor, self._partitions = processor, receipt_partitions
        # apart from the objects: neither found by a lapse's scope nor counted as waiting
        self._lapses = f"{processor}#lapses"

    def tell(self, tx: Tx, told: Iterable[Told], place: bytes = b"") -> None:
        """Owe one receipt for each thing told."""
        for one in told:
            value = encode(receipt(self._processor, one, tx.now, place=place))
            partition = int.from_bytes(hashlib.sha256(one.about).digest()[:4]) % self._partitions
            key = self._processor.encode()
            tx.put_outbox(kind="receipt", topic="receipts", partition=partition, key=key, value=value)

    # ---- lapses --------------------------------------------------------------------------------------------
    def lapse(self, tx: Tx, lapse: Depersonalized, place: Place) -> tuple[bytes, LapseDocument]:
        """Return a lapse's reference and how far it is; a new one if this partition never showed it."""
        ref = lapse_ref(lapse.lapse_id, place.topic_id, place.partition)
        known = self._known(tx, ref)
        fresh = LapseDocument(
            lapse_id=lapse.lapse_id,
            topic_id=place.topic_id,
            partition=place.partition,
            effective_at=lapse.effective_at,
            answer_by=lapse.answer_by,
        )
        return ref, known or fresh

    def open_lapses(self, tx: Tx) -> list[LapseDocument]:
        """Return the lapses that this recipient has not answered whole, the oldest first."""
        found: list[LapseDocument] = []
        after = b""
        while page := tx.objects_of_processor(self._lapses, after=after, limit=PAGE):
            after = page[-1]
            docs = (unpack(row.document) for row in tx.objects(self._lapses, page).values())
            found += [doc for doc in docs if isinstance(doc, LapseDocument) and not doc.over]
        return sorted(found, key=lambda doc: doc.effective_at or 0)

    def put(self, tx: Tx, ref: bytes, doc: LapseDocument, wall: Micros) -> None:
        """Keep how far a lapse has come; answer it if nothing remains."""
        outcome = doc.to_answer
        if outcome is not None:
            place = Place(topic_id=doc.topic_id, partition=doc.partition)
            code = None if outcome in ("completed", "already_absent") else doc.code
            told = Told(about=doc.lapse_id, outcome=outcome, code=code, evidence=doc.evidence)
            self.tell(tx, [told], place.bytes)
            doc = replace(doc, answered=outcome)
        due = Micros(wall + GRACE) if doc.over else None
        tx.put_objects([VendorObject(processor=self._lapses, ref=ref, document=pack(doc), due=due)])

    def forget(self, tx: Tx, wall: Micros, limit: int) -> None:
        """Forget lapses that were answered long enough ago."""
        tx.drop_objects(self._lapses, tx.objects_due(self._lapses, wall, limit))

    def any_due(self, tx: Tx, wall: Micros) -> bool:
        """Return whether `forget` has anything to do."""
        return bool(tx.objects_due(self._lapses, wall, 1))

    def settled(self, tx: Tx, before: Document, after: Document, answer: Answer, wall: Micros) -> None:
        """Count one object's answer into the lapses it was about."""
        left = {e.lapse: e for e in after.endings}
        outcome, evidence, waits = _said(answer)
        for ending in before.endings:
            now = left.get(ending.lapse)
            if now is None and ending.told:
                self.tell(tx, [Told(about=ending.lapse_id, outcome=outcome, evidence=evidence)])
            elif now is None:
                self.fold(
                    tx, ending.lapse, Told(about=b"", outcome=outcome, evidence=evidence), wall, -1, waits
                )
            elif now.told and not ending.told and isinstance(answer, Permanent):
                failed = Told(
                    about=b"", outcome="failed_permanent", code=answer.code, evidence=answer.evidence
                )
                self.fold(tx, ending.lapse, failed, wall, -1, 0)

    def fold(self, tx: Tx, ref: bytes, told: Told, wall: Micros, remaining: int, awaiting: int) -> None:
        """Fold one object's outcome into a lapse: so many fewer remain, so many more are awaited."""
        doc = self._known(tx, ref)
        if doc is None:
            return
        evidence = hashlib.sha256(doc.evidence + told.evidence).digest() if told.evidence else doc.evidence
        folded = replace(
            doc,
            remaining=doc.remaining + remaining,
            awaiting=doc.awaiting + awaiting,
            outcome=doc.outcome if awaiting > 0 else worst(doc.outcome, told.outcome),
            pending=worst(doc.pending, told.outcome) if awaiting > 0 else doc.pending,
            evidence=evidence,
            code=told.code or doc.code,
            counts=_counted(doc.counts, told.outcome, instead=awaiting < 0),
        )
        self.put(tx, ref, folded, wall)

    def worsen(self, tx: Tx, ref: bytes, outcome: ReceiptOutcome, code: str, wall: Micros) -> None:
        """Say that what a lapse still awaits is worth no more than this by now."""
        doc = self._known(tx, ref)
        if doc is not None and doc.awaiting:
            self.put(tx, ref, replace(doc, pending=worst(doc.pending, outcome), code=doc.code or code), wall)

    def _known(self, tx: Tx, ref: bytes) -> LapseDocument | None:
        row = tx.objects(self._lapses, [ref]).get(ref)
        if row is None:
            return None
        doc = unpack(row.document)
        assert isinstance(doc, LapseDocument)
        if doc.awaiting and doc.outcome == "accepted_async":  # as 0.1 kept what is awaited
            return replace(doc, outcome="completed", pending="accepted_async")
        return doc


def _counted(
    counts: Mapping[ReceiptOutcome, int], outcome: ReceiptOutcome, *, instead: bool
) -> dict[ReceiptOutcome, int]:
    """One object more that ended so; `instead` of one that was awaited."""
    after = {**counts, outcome: counts.get(outcome, 0) + 1}
    before = next((o for o in AWAITED if instead and after.get(o)), None)
    if before is not None:
        after[before] -= 1
    return {name: count for name, count in after.items() if count}


AWAITED: tuple[ReceiptOutcome, ...] = ("accepted_async", "manual_required")
"""Outcomes that may not be the last word about an object."""


def _said(answer: Answer) -> tuple[ReceiptOutcome, bytes, int]:
    """Return a lapse's outcome, its evidence, and 1 if the recipient will still report the end."""
    if not isinstance(answer, Done):
        return "not_applicable", b"", 0
    outcome: ReceiptOutcome = "completed" if answer.outcome == "delivered" else answer.outcome
    return outcome, answer.evidence, int(answer.awaited is not None)


def cancelled(before: Document, after: Document) -> list[Told]:
    """Return deliveries that a lapse ended before any call carried them: they were never handed over."""
    left = {c.delivery_id for c in after.copies} | written(before)
    causes = {e.lapse: e.cause for e in before.endings}
    return [
        Told(about=c.delivery_id, outcome="not_opened", code=CLOSED_BY[causes[grant.lapse]])
        for c in before.copies
        if c.delivery_id not in left
        for grant in [next((g for g in c.grants if g.lapse in causes), None)]
        if grant is not None
    ]
