"""What is asked of a recipient for one object, as values: calls, an attempt at one, what is told of it.

`planning.plan` runs in the transaction that opens: it enters what the call may write before the call is made.
`finishing.finish` runs in the transaction after the answer. What neither can know for certain stays entered
as possible, so a crash, a lost answer or a lapse in between can only make us take back too much, never too
little. Both are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.objects import Ended
from schemas.ids import Micros
from schemas.models import Cause, ReceiptOutcome

TEMPORARY = frozenset({"hidden", "suspended", "not_approved", "assurance_ended", "restricted", "unverified"})
"""Closed codes after which the same delivery may open again later; every other one is final."""

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
