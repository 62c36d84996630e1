"""What the tests of vendors' connectors share: calls on one object, and what they leave of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from processors.answers import Answer, Done, Refresh, Retry
from processors.calls import Call, Erase, Write
from processors.fakes.faults import Fault, FaultKind
from schemas.ids import Micros
from schemas.models import Cause

KEY = "5a" * 16
NOW = Micros(1_795_000_000_000_000)


class Called(Protocol):
    """A recipient, as far as calls go."""

    async def call(self, call: Call) -> Answer:
        """Make a call."""

    async def refresh(self) -> None:
        """Log in again."""


def write(
    fields: Mapping[str, str],
    *,
    blank: Iterable[str] = (),
    vendor_id: str | None = None,
    version: int = 1,
    key: str = KEY,
    purposes: Iterable[str] = ("p",),
) -> Write:
    """Return a write of an object."""
    return Write(
        key=key,
        vendor_id=vendor_id,
        version=version,
        set=dict(fields),
        blank=tuple(blank),
        purposes=tuple((name, NOW) for name in purposes),
    )


def erase(
    *, vendor_id: str | None = None, version: int = 9, cause: Cause = "retention", key: str = KEY
) -> Erase:
    """Return an erasure of an object."""
    return Erase(key=key, vendor_id=vendor_id, version=version, cause=cause)


def fault(kind: FaultKind, *, skip: int = 0, times: int = 1) -> Fault:
    """Return a fault that strikes after so many calls."""
    return Fault(kind=kind, skip=skip, times=times, seconds=0.0)


@dataclass
class Known:
    """One object as the connector would know it between calls: its name there, and what was last said."""

    recipient: Called
    vendor_id: str | None = None
    version: int = 0
    stands: dict[str, str] | None = field(default_factory=dict)
    """The fields that the last finished call left; None after an erasure, unknown fields before any."""
    sure: bool = True

    async def write(self, fields: Mapping[str, str], blank: Iterable[str], *, again: bool) -> Answer:
        """Write, under the version of the call before if it is made again."""
        self.version += not again
        call = write(fields, blank=blank, vendor_id=self.vendor_id, version=self.version)
        answer = await self._call(call)
        if isinstance(answer, Done):
            self.vendor_id = answer.vendor_id or self.vendor_id
            self.stands, self.sure = dict(fields), True
        else:
            self.sure = False
        return answer

    async def erase(self, cause: Cause) -> Answer:
        """Erase."""
        self.version += 1
        answer = await self._call(erase(vendor_id=self.vendor_id, version=self.version, cause=cause))
        if isinstance(answer, Done):
            self.vendor_id, self.stands, self.sure = None, None, True
        else:
            self.sure = False
        return answer

    async def _call(self, call: Call) -> Answer:
        answer = await self.recipient.call(call)
        if isinstance(answer, Refresh):
            await self.recipient.refresh()
            answer = await self.recipient.call(call)
        return answer


def retried(answer: Answer) -> Retry:
    """Return an answer that must be a retry."""
    assert isinstance(answer, Retry), answer
    return answer


def done(answer: Answer) -> Done:
    """Return an answer that must be done."""
    assert isinstance(answer, Done), answer
    return answer
