"""What a processor has still to answer, and what somebody has to do because it did not: a row per lapse.

A row begins with the lapse (*awaited*), becomes a task (*open*) when the answer is late, bad or
impossible, and is *done* once everything is answered or somebody has shown that it is done. What is answered
in time leaves no row.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.ids import Micros, Period, Terms
from schemas.models import Cause, ReceiptOutcome

TaskKind = Literal["late", "unfinished", "manual", "failed", "review", "inform"]
"""Why somebody has to act: no answer in time, accepted and never ended, to be done by hand, refused for good;
the date to review a processor's assurance has passed; or it must be told that a person's data is restricted.
"""
State = Literal["awaited", "open", "done"]
ScopeName = Literal["bucket", "person", "record", "everything", "assurance"]
"""What a lapse is about, without naming anybody."""
FOREVER = Micros(2**62)
"""After every time: nothing is to be done by itself."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a processor holds for one purpose; `since` the first of it came.

    `deliveries` were entered on its objects by a connector of ours, and at most `records` of living buckets
    it was ever given anything of.
    """

    purpose: str
    deliveries: int
    records: int
    since: Micros | None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One processor's answer to one lapse, as far as it has come; times in microseconds of the vault's clock.

    `about` is the lapse's id as the processor knows it (or of a review), `due` its `answer_by`, `expected`
    how many final answers make it whole, `answers` outcome by receipt id, `look` when to look again.
    """

    processor: str
    about: bytes
    state: State = "awaited"
    kind: TaskKind | None = None
    due: Micros
    look: Micros = Micros(0)
    since: Micros
    cause: Cause | None = None
    scope: ScopeName = "everything"
    purposes: tuple[str, ...] = ()
    period: Period | None = None
    terms: Terms | None = None
    expected: int = 1
    answers: Mapping[bytes, ReceiptOutcome] = {}
    steps: tuple[str, ...] = ()
    """Which mails were ordered about it."""
    opened_at: Micros | None = None
    done_at: Micros | None = None
    evidence: bytes = b""
    """SHA-256 of what shows that it is done, where somebody showed something."""
    reason: str = ""
    held: tuple[Held, ...] = ()
    """Of a recall: what it held when it was asked back."""
    objects: int = 0
    """Of a recall: how many objects a connector of ours had entered there."""


def remind_at(since: Micros, due: Micros) -> Micros:
    """Return when three quarters of the time to answer are over."""
    return Micros(due - max(0, due - since) // 4)
