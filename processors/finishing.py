"""What a recipient's answer changes of one object, entered after it came (Protocol 6, 7). Pure."""

from __future__ import annotations

from msgspec.structs import replace

from processors.answers import Answer, Done, Permanent, Retry
from processors.calls import Attempt, Erase, Told, Write
from processors.objects import Awaited, Copy, Document, Ending, remove_ended, woken, written
from schemas.models import ReceiptOutcome


def finish(doc: Document, attempt: Attempt, answer: Answer) -> tuple[Document, tuple[Told, ...]]:
    """Return the document after the answer, and what has to be told.

    `doc` is read anew: deliveries and lapses may have been entered meanwhile, but nothing was called,
    because the lease was ours all the time.
    """
    if isinstance(answer, Done):
        return _done(doc, attempt, answer)
    if isinstance(answer, Permanent):
        return _refused(doc, attempt, answer)
    if isinstance(answer, Retry) and answer.landed:
        carried = {delivery for delivery, _ in attempt.carried}
        copies = tuple(replace(c, maybe=True) if c.delivery_id in carried else c for c in doc.copies)
        return replace(doc, copies=copies, attempts=doc.attempts + 1), ()
    restored = _restore(doc, attempt)
    return replace(restored, attempts=doc.attempts + 1), ()


def _restore(doc: Document, attempt: Attempt) -> Document:
    """The recipient did nothing: what it holds is what it held."""
    before = dict(attempt.before)
    return replace(doc, wrote=before, also=attempt.also, ended=attempt.was_ended, touched=attempt.touched)


def _done(doc: Document, attempt: Attempt, answer: Done) -> tuple[Document, tuple[Told, ...]]:
    told: list[Told] = []
    reached = written(doc)
    doc = _stands(doc, attempt, answer)
    copies: list[Copy] = []
    for copy in doc.copies:
        carried = (copy.delivery_id, copy.revision) in attempt.carried
        if carried and copy.owed and copy.delivery_id not in attempt.waits:
            outcome: ReceiptOutcome = answer.outcome if _wrote_any(copy, attempt) else "not_applicable"
            told.append(Told(about=copy.delivery_id, outcome=outcome, evidence=answer.evidence))
        if carried and not answer.kept and copy.delivery_id not in attempt.waits:
            continue  # there is nothing to take back of it
        if carried:
            copy = replace(copy, owed=copy.delivery_id in attempt.waits, maybe=False)
        elif attempt.bare and copy.living:
            copy = replace(copy, owed=True)
        copies.append(copy)
    revised = doc.revised and doc.version != attempt.version
    still_owed = any(c.owed and c.living for c in copies)
    doc = replace(
        doc,
        copies=tuple(copies),
        revised=revised,
        attempts=0,
        one_by_one=doc.one_by_one and still_owed,
    )
    resting = reached if _rests(attempt, answer) else frozenset[bytes]()
    return remove_ended(doc, attempt.ended, lapses=attempt.lapses, rest=resting), tuple(told)


def _rests(attempt: Attempt, answer: Done) -> bool:
    return isinstance(attempt.call, Erase) and answer.outcome == "overwritten_only"


def _stands(doc: Document, attempt: Attempt, answer: Done) -> Document:
    """Return the document with what stands at the recipient now."""
    if _rests(attempt, answer):
        return doc
    if isinstance(attempt.call, Write) and answer.kept:
        kept = {name: w for name, w in attempt.before.items() if name not in attempt.call.blank}
        wrote = {**kept, **{name: (writer,) for name, writer in attempt.writers.items()}}
        name = answer.vendor_id or doc.vendor_id
        # An answer that names nothing does not say under which of its names the object was found.
        also = doc.also if answer.vendor_id is None else ()
        return woken(replace(doc, wrote=wrote, touched=True, vendor_id=name, also=also, ended=False))
    if attempt.call is None:
        return doc
    doc = woken(replace(doc, wrote={}, touched=False, vendor_id=None, also=(), ended=False))
    if answer.awaited is None or not isinstance(attempt.call, Erase):
        return doc
    lapses = tuple(e.lapse for e in doc.endings)
    return replace(doc, awaited=(*doc.awaited, Awaited(request=answer.awaited, lapses=lapses)))


def _wrote_any(copy: Copy, attempt: Attempt) -> bool:
    return any(writer == copy.delivery_id for writer in attempt.writers.values())


def _refused(doc: Document, attempt: Attempt, answer: Permanent) -> tuple[Document, tuple[Told, ...]]:
    doc = _restore(doc, attempt)
    if attempt.settles:
        if isinstance(attempt.call, Write) and not attempt.bare:
            return replace(doc, one_by_one=True), ()  # perhaps only what was written again displeased
        endings = tuple(_told(e) for e in doc.endings)
        return replace(doc, endings=endings, attempts=doc.attempts + 1), ()
    if len(attempt.carried) > 1:
        return replace(doc, one_by_one=True), ()
    told, copies = [], []
    for copy in doc.copies:
        if (copy.delivery_id, copy.revision) not in attempt.carried:
            copies.append(copy)
            continue
        told.append(
            Told(
                about=copy.delivery_id,
                outcome="refused_by_vendor",
                code=answer.code,
                evidence=answer.evidence,
            )
        )
        if copy.maybe or any(copy.delivery_id in w for w in doc.wrote.values()):
            copies.append(replace(copy, owed=False))
    still_owed = any(c.owed and c.living for c in copies)
    return replace(doc, copies=tuple(copies), attempts=0, one_by_one=doc.one_by_one and still_owed), tuple(
        told
    )


def _told(ending: Ending) -> Ending:
    return replace(ending, told=True)
