"""What to ask of a recipient for one object, and what its answer changes. Pure, between two transactions.

`plan` runs in the transaction that opens: it enters what the call may write before the call is made.
`finish` runs in the transaction after the answer. What neither can know for certain stays entered as
possible, so a crash, a lost answer or a lapse in between can only make us take back too much, never too
little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from processors.answers import Answer, Done, Permanent, Retry
from processors.objects import (
    Awaited,
    Copy,
    Document,
    Ended,
    Ending,
    ending_grants,
    left,
    remove_ended,
    stays,
    strongest,
    woken,
    written,
)
from schemas.ids import Micros
from schemas.models import Cause, ReceiptOutcome

TEMPORARY = frozenset({"hidden", "suspended", "not_approved", "assurance_ended", "restricted", "unverified"})
"""Closed codes after which the same delivery may open again later; every other one is final."""

_T = TypeVar("_T")
OpenedPart = Mapping[str, str] | str
"""The fields of a compartment, or the code that keeps it closed."""
Opened = Mapping[bytes, tuple[OpenedPart, ...]]
"""Per delivery its compartments, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Set these fields, blank those, leave the rest as it is."""

    key: str
    vendor_id: str | None
    version: int
    set: Mapping[str, str] = field(repr=False)
    blank: tuple[str, ...]
    purposes: tuple[tuple[str, Micros], ...]
    """What the object may be used for from now on, each with its last moment."""
    also: tuple[str, ...] = ()
    """Other names under which it may stand (`recipient.Names`): to be moved or removed by this call."""
    again: bool = False
    """Whether an earlier end of ours may have overwritten it, and it is wanted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """Remove the object, as strongly as the cause asks."""

    key: str
    vendor_id: str | None
    version: int
    cause: Cause
    also: tuple[str, ...] = ()
    """Other names under which it may stand (`recipient.Names`), to be erased as well."""
    causes: frozenset[Cause] = frozenset()
    """Every cause that ends it now: which of them asks for most is the recipient's to know."""


Call = Write | Erase


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call and what its answer will change; `before` is what stood at the recipient for certain."""

    call: Call | None
    version: int
    before: Mapping[str, tuple[bytes, ...]]
    also: tuple[str, ...]
    was_ended: bool
    touched: bool
    carried: frozenset[tuple[bytes, int]]
    """Deliveries (and revisions) the call carries whole."""
    waits: frozenset[bytes]
    """Of those, the ones with a compartment that may open later."""
    ended: Ended
    lapses: frozenset[bytes]
    """The lapses it may answer: one that came later may not have been in its mind."""
    writers: Mapping[str, bytes]
    settles: bool
    bare: bool
    """Blanks only; what remains is written again afterwards, delivery by delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing to tell on `receipts`: about a delivery, or about a lapse as far as this object goes."""

    about: bytes
    outcome: ReceiptOutcome
    code: str | None = None
    evidence: bytes = b""


def wanted(doc: Document) -> tuple[Copy, ...]:
    """Return the copies that must be opened for the next call, each with held grants."""
    living = tuple(c for c in doc.copies if c.living)
    if doc.settling:
        return () if doc.one_by_one else living
    owed = tuple(c for c in living if c.owed)
    return owed[:1] if doc.one_by_one else owed


Named = Callable[[Mapping[str, str]], str | None]
"""Says under which name a recipient will have an object with these values (`recipient.Names`)."""


def nameless(_: Mapping[str, str]) -> None:
    """The recipient names its objects itself."""


def plan(
    doc: Document, opened: Opened, named: Named = nameless
) -> tuple[Document, Attempt, tuple[Told, ...]]:
    """Return the document to store before the call, the attempt, and deliveries that never open."""
    doc, never = _learn(doc, opened)
    bare = doc.settling and doc.one_by_one
    values = _values(doc, opened)
    blank = (
        tuple(n for n in sorted(doc.wrote) if n not in values and not left(doc, n)) if doc.settling else ()
    )
    living = tuple(c for c in doc.copies if c.living)
    call: Call | None = None
    if doc.settling and not living and doc.touched:
        call = Erase(
            key=doc.key,
            vendor_id=doc.vendor_id,
            version=doc.version,
            cause=strongest(e.cause for e in doc.endings),
            also=doc.also,
            causes=frozenset(e.cause for e in doc.endings),
        )
    elif values or blank or (doc.settling and doc.touched):
        call = Write(
            key=doc.key,
            vendor_id=doc.vendor_id,
            version=doc.version,
            set={name: value for name, (_, value) in values.items()},
            blank=blank,
            purposes=_purposes(living),
            also=doc.also,
            again=doc.ended,
        )
    writers = {name: copy.delivery_id for name, (copy, _) in values.items()}
    attempt = Attempt(
        call=call,
        version=doc.version,
        before=doc.wrote,
        also=doc.also,
        was_ended=doc.ended,
        touched=doc.touched,
        carried=frozenset((c.delivery_id, c.revision) for c in doc.copies if c.delivery_id in opened),
        waits=frozenset(c.delivery_id for c in living if bare or _waits(c, opened)),
        ended=ending_grants(doc),
        lapses=frozenset(e.lapse for e in doc.endings),
        writers=writers,
        settles=doc.settling,
        bare=bare,
    )
    if call is not None:
        entered = {name: _also(doc.wrote.get(name, ()), writer) for name, writer in writers.items()}
        name = named(call.set) if isinstance(call, Write) else None
        also = doc.also if name is None or name == doc.vendor_id else _also(doc.also, name)
        ended = doc.ended or isinstance(call, Erase)
        doc = replace(doc, wrote={**doc.wrote, **entered}, also=also, ended=ended, touched=True)
    return doc, attempt, never


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


# ---- planning ----------------------------------------------------------------------------------------------
def _learn(doc: Document, opened: Opened) -> tuple[Document, tuple[Told, ...]]:
    """Enter which fields compartments have; drop deliveries never written that will never open."""
    copies, never = [], []
    for copy in doc.copies:
        parts = opened.get(copy.delivery_id)
        if parts is None:
            copies.append(copy)
            continue
        known = tuple(
            replace(part, fields=tuple(seen)) if isinstance(seen, Mapping) else part
            for part, seen in zip(copy.parts, parts, strict=True)
        )
        learned = replace(copy, parts=known)
        if any(isinstance(seen, Mapping) for seen in parts) or _waits(copy, opened):
            copies.append(learned)
        elif copy.maybe or any(copy.delivery_id in writers for writers in doc.wrote.values()):
            copies.append(replace(learned, owed=False))  # its lapse is on the way and will take it back
        else:
            code = next((seen for seen in parts if isinstance(seen, str)), "unknown")
            never.append(Told(about=copy.delivery_id, outcome="not_opened", code=code))
    return replace(doc, copies=tuple(copies)), tuple(never)


def _waits(copy: Copy, opened: Opened) -> bool:
    parts = opened.get(copy.delivery_id, ())
    return any(
        isinstance(seen, str) and seen in TEMPORARY and copy.holds(part)
        for part, seen in zip(copy.parts, parts, strict=False)
    )


def _values(doc: Document, opened: Opened) -> dict[str, tuple[Copy, str]]:
    """Return per field the latest opened copy's value, unless a later delivery is known to stand there."""
    best: dict[str, tuple[Copy, str]] = {}
    for copy in sorted(doc.copies, key=lambda c: c.order):
        for part, seen in zip(copy.parts, opened.get(copy.delivery_id, ()), strict=False):
            if isinstance(seen, Mapping) and copy.holds(part):
                best.update({name: (copy, value) for name, value in seen.items()})
    order = {copy.delivery_id: copy.order for copy in doc.copies}

    def later_stands(name: str, copy: Copy) -> bool:
        writers = doc.wrote.get(name, ())
        return bool(writers) and stays(doc, name) and min(order[w] for w in writers) > copy.order

    return {name: (copy, value) for name, (copy, value) in best.items() if not later_stands(name, copy)}


def _purposes(living: tuple[Copy, ...]) -> tuple[tuple[str, Micros], ...]:
    until: dict[str, Micros] = {}
    for copy in living:
        for grant in copy.grants:
            if grant.state == "held":
                until[grant.purpose] = max(until.get(grant.purpose, Micros(0)), grant.use_until)
    return tuple(sorted(until.items()))


def _also(several: tuple[_T, ...], one: _T) -> tuple[_T, ...]:
    return several if one in several else (*several, one)


# ---- finishing ---------------------------------------------------------------------------------------------
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
