"""What a module for one recipient has to say: how an object is called there, and how one call is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from processors.answers import Answer, Retry
from processors.calls import Call
from schemas.ids import Micros
from schemas.models import IdentifierKind, ReceiptOutcome, RecordDelivered


class Recipient(Protocol):
    """One recipient's interface; everything about copies, retries, leases and receipts is the connector's.

    A call sets exactly what it says and may be made again: the same `version` of an object is the same call.
    No method but `check` raises for what the recipient does: every answer, none included, is an `Answer`.
    """

    def key(self, delivery: RecordDelivered) -> str:
        """Name the object a delivery belongs to, without opening it."""

    async def call(self, call: Call) -> Answer:
        """Write or erase one object; cancelled at the connector's deadline."""

    async def follow(self, request: str) -> Answer | None:
        """How an erasure stands that was `accepted_async` under this name.

        `Done` with its end, `Retry` while it goes on; None where the recipient reports by itself.
        """

    async def refresh(self) -> None:
        """Renew the login after a `Refresh`."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:
        """Return the names of the fields that stand there now, None where this recipient cannot be read.

        `Retry` where it cannot be looked at just now, which counts as kept until then.
        """

    async def check(self) -> None:
        """Prove the credentials without moving personal data; `Refused` or `Unavailable` says what failed."""

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class Names(Protocol):
    """A recipient where an object's name follows from its values, as where the address is the name.

    The name is entered before the call that uses it, in the transaction that opens: without that a lost
    answer would leave an object that nobody can find again.
    """

    def named(self, values: Mapping[str, str]) -> str | None:
        """Return the name of an object with these values, None where they do not say."""


# ---- what comes back (`POST /in/<processor>`) --------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request of the vendor; header names in lower case."""

    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    peer: str = ""
    """The address the connection came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """Somebody opted out at the vendor: a withdrawal of these purposes, or of all granted to it."""

    kind: IdentifierKind
    value: str = field(repr=False)
    at: Micros
    purposes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """An object's data were changed there; `emptied` where none of ours are left."""

    vendor_id: str = field(repr=False)
    at: Micros
    emptied: bool = False
    key: str | None = field(default=None, repr=False)
    """The object's key where the vendor repeats it; else the vendor's name is all that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An erasure that was `accepted_async` under `request` has come to its end."""

    request: str
    outcome: ReceiptOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An erasure that was `accepted_async` under `request` has come further: it is time to ask how it stands.

    Said where the recipient can be asked: what it claims is looked at before a receipt repeats it.
    """

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The recipient can no longer protect what it holds: it is suspended at once."""

    what: Literal["assurance_ended"] = "assurance_ended"


Said = Withdrawn | Edited | Ended | Moved | Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a request says, and which live fields its answer may carry (JivoChat's `chat_accepted`)."""

    said: tuple[Said, ...] = ()
    wants: str | None = field(default=None, repr=False)
    """The object (by `key`) whose live fields belong into the answer."""


@runtime_checkable
class Hears(Protocol):
    """A recipient that calls us, authenticated as its vendor does it."""

    def heard(self, post: Post, now: Micros) -> Heard:
        """Read one request; `Refused` where it is not the vendor's, `BadInput` where it cannot be read."""

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:
        """Return the JSON to answer with, given the fields that may be shown now."""
