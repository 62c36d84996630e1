"""One object at a recipient as we know it: which deliveries stand on it, and which of its fields may stay.

A recipient's copy is an object, not a record: several deliveries may write the same fields. A `Document` says

- `copies`: the deliveries on the object, sealed as they came, with their grants. A grant is *held* until a
  lapse marks it *ending*; it is *gone* once the recipient has answered, or *rests* where the recipient only
  overwrote the object: a later lapse asks again. Nothing opened is ever kept here.
- `wrote`: per field every delivery that may have written it last: one, or several while an answer is missing.
- `touched`: whether a call may have reached the recipient since it last held nothing.

These are the rows of the checked models m5_vendor and m5_ends: a copy is entered before the call, a lapse
marks before it calls and removes after the answer, and a field stays only if whoever may have written it last
still has a held grant for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
from msgspec.structs import replace

from schemas.ids import Micros, Period, Sequence, Terms
from schemas.models import Cause, Grant, RecordDelivered

State = Literal["held", "ending", "rest", "gone"]


class HeldGrant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One purpose for which a copy stands on the object, and how far its end has come."""

    purpose: str
    period: Period
    terms: Terms
    decided: Sequence
    use_until: Micros
    state: State = "held"
    lapse: bytes = b""
    """Reference of the lapse that ends it, while it is ending; the lapse's id, while it rests."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One compartment of a copy: numbers of the grants that open it, and its fields once they were seen."""

    grants: tuple[int, ...]
    fields: tuple[str, ...] = ()


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery on the object; `order` says which of two wrote later."""

    delivery_id: bytes
    subject_ref: bytes
    revision: int
    order: int
    sealed: bytes
    grants: tuple[HeldGrant, ...]
    parts: tuple[Part, ...]
    owed: bool = True
    """Something of it has still to be written."""
    maybe: bool = False
    """A call with it may have taken effect although its answer was lost."""

    def holds(self, part: Part) -> bool:
        """Return whether a held grant justifies the part."""
        return any(self.grants[n].state == "held" for n in part.grants)

    @property
    def living(self) -> bool:
        """Whether any grant is held."""
        return any(grant.state == "held" for grant in self.grants)

    @property
    def over(self) -> bool:
        """Whether every grant is gone."""
        return all(grant.state == "gone" for grant in self.grants)

    @property
    def rests(self) -> bool:
        """Whether the recipient has only overwritten what it stood for."""
        return any(grant.state == "rest" for grant in self.grants)

    @property
    def held_fields(self) -> frozenset[str]:
        """The fields that a held grant justifies, as far as they were ever seen."""
        return frozenset(name for part in self.parts if self.holds(part) for name in part.fields)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A lapse that this object has still to be rid of; `told` once a receipt said that it failed for good."""

    lapse: bytes
    lapse_id: bytes
    cause: Cause
    told: bool = False
    answer_by: Micros | None = None
    """Until when the recipient has to have done it (`Depersonalized.answer_by`)."""


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure the recipient has accepted and will report as done later."""

    request: str
    lapses: tuple[bytes, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True, tag="object", tag_field="is"):
    """Everything known of one object.

    `version` is the vault's sequence number of what last changed it. It names calls: the same version is the
    same call made again, and no later one ever bears a smaller number, not even of an object forgotten in
    between.
    """

    key: str
    vendor_id: str | None = None
    also: tuple[str, ...] = ()
    """Other names under which the recipient may have it, while an answer is missing (`recipient.Names`)."""
    ended: bool = False
    """An end may have reached the recipient since it was last written to, if only to overwrite it."""
    version: int = 0
    wrote: dict[str, tuple[bytes, ...]] = {}
    touched: bool = False
    copies: tuple[Copy, ...] = ()
    endings: tuple[Ending, ...] = ()
    awaited: tuple[Awaited, ...] = ()
    revised: bool = False
    """A copy was replaced by a newer revision: what only the old one had must be blanked."""
    attempts: int = 0
    one_by_one: bool = False
    """A call with several deliveries was refused: find out which one it was."""

    @property
    def settling(self) -> bool:
        """Whether something has to be taken back from the recipient."""
        return self.revised or bool(self.endings) or (self.touched and not self.copies)

    @property
    def works(self) -> bool:
        """Whether there is anything to do at the recipient."""
        return self.settling or any(copy.owed and copy.living for copy in self.copies)

    @property
    def empty(self) -> bool:
        """Whether nothing needs to be remembered."""
        return not (self.copies or self.endings or self.awaited or self.touched)


def _grants(grants: Iterable[Grant]) -> tuple[HeldGrant, ...]:
    return tuple(
        HeldGrant(purpose=g.purpose, period=g.period, terms=g.terms, decided=g.decided, use_until=g.use_until)
        for g in grants
    )


def register(doc: Document, delivery: RecordDelivered, sealed: bytes) -> Document:
    """Enter a delivery: the same or an older revision changes nothing, a newer one takes its place."""
    known = next((c for c in doc.copies if c.delivery_id == delivery.delivery_id), None)
    if known is not None and known.revision >= delivery.revision:
        return doc
    copy = Copy(
        delivery_id=delivery.delivery_id,
        subject_ref=delivery.subject_ref,
        revision=delivery.revision,
        order=1 + max((c.order for c in doc.copies), default=0),
        sealed=sealed,
        grants=_grants(delivery.grants),
        parts=tuple(Part(grants=tuple(w.grant for w in c.wraps)) for c in delivery.compartments),
    )
    others = tuple(c for c in doc.copies if c is not known)
    revised = doc.revised or known is not None
    return replace(doc, copies=(*others, copy), revised=revised)


Reached = Callable[[Copy, HeldGrant], bool]
"""Says whether a lapse reaches this grant of this copy."""


def end(doc: Document, ending: Ending, reached: Reached) -> Document:
    """Mark every grant that the lapse reaches as ending; the same document if there is none.

    Also one that an earlier lapse is ending: a withdrawal whose answer is still missing must not hide the
    object from the erasure that follows it. Both are then told what the next call brings.
    """
    hit = False
    ids = {e.lapse: e.lapse_id for e in doc.endings}

    def mark(copy: Copy, grant: HeldGrant) -> HeldGrant:
        nonlocal hit
        by = ids.get(grant.lapse) if grant.state == "ending" else grant.lapse
        if grant.state == "gone" or by == ending.lapse_id or not reached(copy, grant):
            return grant
        hit = True
        return replace(grant, state="ending", lapse=ending.lapse)

    copies = tuple(replace(c, grants=tuple(mark(c, g) for g in c.grants)) for c in doc.copies)
    if not hit:
        return doc
    endings = (*(e for e in doc.endings if e.lapse != ending.lapse), ending)
    return replace(doc, copies=copies, endings=endings, attempts=0)


def woken(doc: Document) -> Document:
    """What rested is gone where nothing of it can stand any more: all it wrote was erased or written over."""
    there = {writer for writers in doc.wrote.values() for writer in writers}

    def wake(copy: Copy) -> Copy:
        if copy.delivery_id in there:
            return copy
        grants = (replace(g, state="gone") if g.state == "rest" else g for g in copy.grants)
        return replace(copy, grants=tuple(grants)) if copy.rests else copy

    return replace(doc, copies=tuple(c for c in map(wake, doc.copies) if not c.over))


Ended = frozenset[tuple[bytes, int, int, bytes]]
"""Grants on their end: delivery, revision, number of the grant, and reference of the lapse."""


def ending_grants(doc: Document) -> Ended:
    """Return everything that is ending now."""
    return frozenset(
        (c.delivery_id, c.revision, n, grant.lapse)
        for c in doc.copies
        for n, grant in enumerate(c.grants)
        if grant.state == "ending"
    )


def written(doc: Document) -> frozenset[bytes]:
    """Return the deliveries of which something may have been written, whether or not an answer came."""
    writers = {writer for several in doc.wrote.values() for writer in several}
    return frozenset(c.delivery_id for c in doc.copies if not c.owed or c.maybe or c.delivery_id in writers)


def remove_ended(
    doc: Document, ended: Ended, *, lapses: frozenset[bytes], rest: frozenset[bytes] = frozenset()
) -> Document:
    """Forget what the recipient's answer ended: grants, copies without any, and the lapses done with them.

    In the copies named they rest instead.

    A lapse that came during the call may have lost its grants to a later one: this answer is not its own.
    """

    named = {e.lapse: e.lapse_id for e in doc.endings}

    def settle(copy: Copy) -> Copy:
        rests = copy.delivery_id in rest

        def over(grant: HeldGrant) -> HeldGrant:
            if rests:
                return replace(grant, state="rest", lapse=named.get(grant.lapse, b""))
            return replace(grant, state="gone", lapse=b"")

        grants = tuple(
            over(grant)
            if (copy.delivery_id, copy.revision, n, grant.lapse) in ended and grant.state == "ending"
            else grant
            for n, grant in enumerate(copy.grants)
        )
        return replace(copy, grants=grants)

    copies = tuple(c for c in map(settle, doc.copies) if not c.over)
    open_still = {g.lapse for c in copies for g in c.grants if g.state == "ending"}
    endings = tuple(e for e in doc.endings if e.lapse in open_still or e.lapse not in lapses)
    return replace(doc, copies=copies, endings=endings)


def stays(doc: Document, name: str) -> bool:
    """Return whether a field may stay as it is: everyone who may have written it last still holds it."""
    fields = {copy.delivery_id: copy.held_fields for copy in doc.copies}
    return all(name in fields.get(writer, ()) for writer in doc.wrote[name])


def left(doc: Document, name: str) -> bool:
    """Return whether a field is to be left alone: it stays, or rests as an earlier end has left it."""
    fields = {copy.delivery_id: copy.held_fields for copy in doc.copies}
    resting = {c.delivery_id for c in doc.copies if all(g.state in ("rest", "gone") for g in c.grants)}
    return all(w in resting or name in fields.get(w, ()) for w in doc.wrote[name])


_STRONGEST: tuple[Cause, ...] = ("retention", "rectification", "recall", "withdrawal", "objection", "erasure")


def strongest(causes: Iterable[Cause]) -> Cause:
    """Return the cause that asks for most: erasure asks for the strongest deletion a recipient has."""
    return max(causes, key=_STRONGEST.index, default="retention")
