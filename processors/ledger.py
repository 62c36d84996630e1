"""What a connector remembers: deliveries entered, lapses marked, attempts claimed and finished.

Each method is one step of the checked model m5 inside one write transaction; nothing here waits for a
recipient. Receipts go through the vault's outbox in the same transaction, so no crash can lose or invent
one. Times called `wall` are the real clock's: a lease and a deadline must run even where a test's clock
stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.awaiting import Awaiting
from processors.calls import Attempt, Opened, OpenedPart
from processors.finishing import finish
from processors.kept import object_ref, pack, unpack
from processors.objects import Copy, Document, Ending, end, register
from processors.planning import nameless, plan, wanted
from processors.pruning import pruned
from processors.recipient import Names, Recipient
from processors.reporting import Reports
from processors.scopes import holdings, reach, reached_objects
from processors.shown import Compose, asking, resting, shown
from processors.telling import Teller, cancelled
from processors.values import Answered, Checks, Claim, Opener, Place, Timing
from schemas.codec import decode_as
from schemas.ids import Micros
from schemas.models import Depersonalized, RecordDelivered
from vault.port import Tx
from vault.values import VendorObject

PAGE = 500
"""Objects marked by one transaction of a lapse."""


class Ledger:
    """The vault side of one connector; `secret` keys the references of its objects.

    `pulled` says that deliveries wait until the recipient asks for them (`Manifest.pulled`). `checks` keeps
    what is found out about addresses, and says which of them may not be handed out.
    """

    def __init__(
        self,
        *,
        processor: str,
        recipient: Recipient,
        opener: Opener,
        secret: bytes,
        receipt_partitions: int,
        timing: Timing,
        pulled: bool = False,
        checks: Checks | None = None,
    ) -> None:
        self._processor, self._recipient, self._opener = processor, recipient, opener
        self._secret, self._timing, self._pulled = secret, timing, pulled
        self._checks = checks
        self._named = recipient.named if isinstance(recipient, Names) else nameless
        self._awaiting = Awaiting(processor)
        self._teller = Teller(processor=processor, receipt_partitions=receipt_partitions)
        self.timing = timing
        self.reports = Reports(processor=processor, receipt_partitions=receipt_partitions)
        # What waits only for something closed to open again sleeps here, and does not count as waiting.
        self._asleep = f"{processor}#asleep"

    def ref(self, key: str) -> bytes:
        """Return the vault's reference of the object a recipient knows by this key."""
        return object_ref(self._secret, key)

    # ---- what comes ----------------------------------------------------------------------------------------
    def register(
        self, tx: Tx, deliveries: Iterable[tuple[RecordDelivered, bytes]], wall: Micros
    ) -> list[bytes]:
        """Enter deliveries on their objects; return those to be attempted now, parked ones not among them."""
        keyed: dict[bytes, tuple[str, list[tuple[RecordDelivered, bytes]]]] = {}
        for delivery, sealed in deliveries:
            key = self._recipient.key(delivery)
            keyed.setdefault(self.ref(key), (key, []))[1].append((delivery, sealed))
        rows = tx.objects(self._processor, list(keyed))
        touched, work = [], []
        for ref, (key, entries) in keyed.items():
            row = rows.get(ref) or VendorObject(processor=self._processor, ref=ref, document=b"")
            before = doc = _document(row) if row.document else Document(key=key)
            for delivery, sealed in entries:
                doc = register(doc, delivery, sealed)
            if self._pulled and doc is not before:
                doc = resting(doc)
            parked = before.works and row.due is not None and row.due > wall
            if doc.works and not parked:
                work.append(ref)
            if doc is not before:
                doc = replace(doc, version=tx.seq)
                touched.append(_row(row, doc, due=row.due if parked or not doc.works else wall))
        tx.put_objects(touched)
        return work

    def mark(
        self, tx: Tx, lapse: Depersonalized, place: Place, after: bytes, wall: Micros
    ) -> tuple[list[bytes], bytes | None]:
        """Mark one page of what a lapse reaches; return its objects and where to go on, None when all are."""
        lref, progress = self._teller.lapse(tx, lapse, place)
        refs = reached_objects(tx, self._processor, lapse, after, PAGE)
        ending = Ending(lapse=lref, lapse_id=lapse.lapse_id, cause=lapse.cause, answer_by=lapse.answer_by)
        rows, fresh = [], 0
        for row in tx.objects(self._processor, refs).values():
            before = _document(row)
            marked = end(before, ending, reach(lapse))
            if marked is not before:
                fresh += all(e.lapse != lref for e in before.endings)
                marked = replace(marked, version=tx.seq)
                rows.append(_row(row, marked, due=row.due if _leased(row, wall) else wall))
        tx.put_objects(rows)
        onward = refs[-1] if len(refs) == PAGE else None
        # Also when it comes again: what was registered anew in between is reached as well.
        counted = replace(progress, remaining=progress.remaining + fresh, marking=onward is not None)
        self._teller.put(tx, lref, counted, wall)
        return [row.ref for row in rows], onward

    # ---- what is asked for ---------------------------------------------------------------------------------
    def show(self, tx: Tx, key: str, compose: Compose, wall: Micros) -> bytes:
        """Answer a recipient that asks for an object: the copy is entered here, before it gets anything.

        Nothing is shown of what is unknown, closed, or being taken back.
        """
        ref = self.ref(key)
        row = tx.objects(self._processor, [ref]).get(ref)
        doc = _document(row) if row else None
        if row is None or doc is None or doc.works or _leased(row, wall):
            return compose({})
        opened = self._open(tx, {ref: asking(doc)})
        after, body, told = shown(doc, opened[ref], compose)
        self._teller.tell(tx, told)
        self._store(tx, [_row(row, replace(after, version=tx.seq), due=row.due)])
        return body

    # ---- attempts ------------------------------------------------------------------------------------------
    def claim(self, tx: Tx, refs: Sequence[bytes], wall: Micros, owners: Iterator[bytes]) -> list[Claim]:
        """Open what these objects need and take their leases; what needs no call is finished on the spot."""
        free = [r for r in tx.objects(self._processor, refs).values() if not _leased(r, wall)]
        docs = {row.ref: _document(row) for row in free}
        opened = {ref: {} for ref in docs} if self._pulled else self._open(tx, docs)
        claims, stored = [], []
        for row in free:
            doc = docs[row.ref]
            if not doc.works:
                stored.append(_released(row, doc, due=None))
                continue
            doc, attempt, never = plan(doc, opened[row.ref], self._named)
            self._teller.tell(tx, never)
            if attempt.call is None:
                nothing = Done(outcome="not_applicable")
                stored.append(self._finished(tx, row, doc, attempt, nothing, wall, wall))
                continue
            until = Micros(wall + self._timing.lease)
            claim = Claim(ref=row.ref, owner=next(owners), until=until, attempt=attempt)
            stored.append(replace(_row(row, doc, due=until), lease=claim.owner, lease_until=until))
            claims.append(claim)
        self._store(tx, stored)
        return claims

    def finish(self, tx: Tx, answers: Sequence[Answered], wall: Micros) -> list[bytes]:
        """Enter what recipients answered; return the objects that can be attempted again at once."""
        rows = tx.objects(self._processor, [a.claim.ref for a in answers])
        stored = []
        for given in answers:
            row = rows.get(given.claim.ref)
            if row is None or row.lease != given.claim.owner:
                continue  # the lease ran out and another attempt has begun: what it finds is what counts
            doc = _document(row)
            later = self._later(given, doc.attempts + 1, wall)
            stored.append(self._finished(tx, row, doc, given.claim.attempt, given.answer, later, wall))
        self._store(tx, stored)
        return [row.ref for row in stored if row.due is not None and row.due <= wall]

    def due(self, tx: Tx, wall: Micros, limit: int) -> list[bytes]:
        """Return objects whose time has come, the sleeping ones only while the processor may open at all."""
        self._teller.forget(tx, wall, limit)
        refs = tx.objects_due(self._processor, wall, limit)
        if self._opener.shut(tx) is None:
            woken = tx.objects_due(self._asleep, wall, limit)
            tx.drop_objects(self._asleep, woken)
            refs += [ref for ref in woken if ref not in refs]
        return refs

    def any_due(self, tx: Tx, wall: Micros) -> bool:
        """Return whether `due` would return or change anything: a read, for a loop that looks often."""
        awake = bool(tx.objects_due(self._processor, wall, 1)) or self._teller.any_due(tx, wall)
        return awake or (bool(tx.objects_due(self._asleep, wall, 1)) and self._opener.shut(tx) is None)

    def postpone(self, tx: Tx, refs: Sequence[bytes], until: Micros) -> None:
        """Leave objects alone until then: nothing can be called now."""
        rows = tx.objects(self._processor, refs).values()
        tx.put_objects([replace(r, due=until) for r in rows if r.lease is None and _document(r).works])

    # ---- inside --------------------------------------------------------------------------------------------
    def _open(self, tx: Tx, docs: Mapping[bytes, Document]) -> dict[bytes, Opened]:
        asked = [(ref, copy) for ref, doc in docs.items() if doc.works for copy in wanted(doc)]
        answers = self._opener.open(tx, [_restricted(copy) for _, copy in asked]) if asked else []
        opened: dict[bytes, dict[bytes, tuple[OpenedPart, ...]]] = {ref: {} for ref in docs}
        for (ref, copy), parts in zip(asked, answers, strict=True):
            opened[ref][copy.delivery_id] = self._checked(tx, docs[ref], copy, parts)
        return dict(opened)

    def _checked(
        self, tx: Tx, doc: Document, copy: Copy, parts: tuple[OpenedPart, ...]
    ) -> tuple[OpenedPart, ...]:
        """Close a delivery whose address may not be handed out; where it may stand already it is not new."""
        if self._checks is None or any(copy.delivery_id in writers for writers in doc.wrote.values()):
            return parts
        code = self._checks.held_back(tx, decode_as(RecordDelivered, copy.sealed), parts)
        return parts if code is None else tuple(code for _ in parts)

    def _finished(
        self,
        tx: Tx,
        row: VendorObject,
        doc: Document,
        attempt: Attempt,
        answer: Answer,
        later: Micros,
        wall: Micros,
    ) -> VendorObject:
        if isinstance(answer, Retry) and answer.tries is not None and doc.attempts + 1 >= answer.tries:
            answer, later = Permanent(code=answer.code), Micros(wall + self._timing.refused)
        if self._checks is not None and isinstance(answer, Done) and answer.found is not None:
            self._checks.enter(tx, _carried(doc, attempt), attempt.call, answer.found)
        after, told = finish(doc, attempt, answer)
        fresh = [entry for entry in after.awaited if entry not in doc.awaited]
        by = min((e.answer_by for e in doc.endings if e.answer_by is not None), default=None)
        self._awaiting.put(tx, row.ref, fresh, Micros(wall + self._timing.follow.first), by, of=doc)
        self._teller.tell(tx, [*told, *cancelled(doc, after)])
        self._teller.settled(tx, doc, after, answer, wall)
        if isinstance(answer, Done | Permanent):
            after = replace(pruned(after), version=tx.seq)
        if not after.works:
            return _released(row, after, due=None)
        at_once = isinstance(answer, Done) and (attempt.bare or doc.version != attempt.version)
        if at_once or (isinstance(answer, Permanent) and not any(e.told for e in after.endings)):
            return _released(row, after, due=wall)
        if isinstance(answer, Done):
            self._sleep(tx, row.ref, wall)
            return _released(row, after, due=None)
        return _released(row, after, due=later)

    def _sleep(self, tx: Tx, ref: bytes, wall: Micros) -> None:
        """What is left is closed for now: look again later, at once after a suspension."""
        wait = self._timing.shut if self._opener.shut(tx) is not None else self._timing.closed
        due = Micros(wall + wait)
        tx.put_objects([VendorObject(processor=self._asleep, ref=ref, document=b"", due=due)])

    def _later(self, given: Answered, attempts: int, wall: Micros) -> Micros:
        answer, timing = given.answer, self._timing
        if isinstance(answer, Retry):
            wait = timing.backoff.wait(attempts, given.draw, answer.after)
            return Micros(max(wall + wait, given.opens_at))
        if isinstance(answer, Permanent):
            return Micros(wall + timing.refused)
        if isinstance(answer, Pause):
            return Micros(max(given.opens_at, wall + timing.backoff.least))
        return wall

    def _store(self, tx: Tx, rows: Sequence[VendorObject]) -> None:
        gone = {r.ref for r in rows if _document(r).empty}
        tx.put_objects([r for r in rows if r.ref not in gone])
        tx.drop_objects(self._processor, gone)


def _document(row: VendorObject) -> Document:
    doc = unpack(row.document)
    assert isinstance(doc, Document)
    return doc


def _restricted(copy: Copy) -> RecordDelivered:
    """Return the delivery with the wraps that a held grant stands behind: an ended one opens nothing."""
    delivery = decode_as(RecordDelivered, copy.sealed)
    held = {n for n, grant in enumerate(copy.grants) if grant.state == "held"}
    parts = [replace(c, wraps=[w for w in c.wraps if w.grant in held]) for c in delivery.compartments]
    return replace(delivery, compartments=parts)


def _carried(doc: Document, attempt: Attempt) -> list[RecordDelivered]:
    carried = [c for c in doc.copies if (c.delivery_id, c.revision) in attempt.carried]
    return [_restricted(copy) for copy in carried]


def _row(row: VendorObject, doc: Document, *, due: Micros | None) -> VendorObject:
    return replace(row, document=pack(doc), due=due, holdings=holdings(doc))


def _released(row: VendorObject, doc: Document, *, due: Micros | None) -> VendorObject:
    return replace(_row(row, doc, due=due), lease=None, lease_until=Micros(0))


def _leased(row: VendorObject, wall: Micros) -> bool:
    return row.lease is not None and row.lease_until > wall
