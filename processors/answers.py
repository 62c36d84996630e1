"""What a recipient's answer means for us: the retry classes, as types.

```
Done       it was carried out (or accepted): the outcome goes into the receipt
Retry      not now: the object is parked and tried again; `landed` says whether the call may have taken effect
Refresh    the login has expired: renew it and call once more, at once
Pause      nothing can be called: the connector stops for a while, or (`after` None) until somebody looks
Permanent  the recipient refuses this object for good
```
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.ids import Micros
from schemas.models import ReceiptOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Carried out or accepted; `evidence` is the SHA-256 of what the recipient answered."""

    outcome: ReceiptOutcome
    evidence: bytes = b""
    vendor_id: str | None = None
    """The recipient's own name of the object, where it gave one."""
    request: str | None = None
    """The name under which the recipient will report the end: of what it has `accepted_async`, or of a
    `manual_required` that it notices once somebody has done it.
    """

    kept: bool = True
    """Whether the recipient keeps anything: where it does not, there will be nothing to take back."""
    found: str | None = None
    """What it found out about the address it was given: `deliverable`, `undeliverable` or `risky`."""

    @property
    def awaited(self) -> str | None:
        """The name of the end that is still to come, None where this answer is the end."""
        return self.request if self.outcome in ("accepted_async", "manual_required") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try the object again; `after` is the recipient's own wish (microseconds from now), if it had one."""

    code: str
    after: Micros | None = None
    landed: bool = True
    """Whether the call may have taken effect: false only where the recipient said that it did nothing."""
    tries: int | None = None
    """After so many failures in a row it counts as `Permanent`; None: as often as it takes."""
    well: bool = False
    """The recipient is well and only this object has to wait: no failure that could open the circuit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """The credentials of the session have expired."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The recipient takes nothing from us at all: wrong key, quota used up, endpoint closed."""

    code: str
    after: Micros | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permanent:
    """The recipient will never take this call, whoever repeats it."""

    code: str
    evidence: bytes = b""


Answer = Done | Retry | Refresh | Pause | Permanent

SEVERITY: tuple[ReceiptOutcome, ...] = (
    "not_applicable",
    "already_absent",
    "completed",
    "accepted_async",
    "overwritten_only",
    "manual_required",
    "failed_permanent",
)
"""Outcomes of a lapse from the best to the worst: one lapse over many objects is answered with the worst."""


def worst(one: ReceiptOutcome, other: ReceiptOutcome) -> ReceiptOutcome:
    """Return the outcome that promises less."""
    return max(one, other, key=SEVERITY.index)
