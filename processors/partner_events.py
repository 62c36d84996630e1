"""What a business partner may send to `/in/<processor>`: CloudEvents and OpenDSR statuses, signed as ours.

| `type` | `data` | Means |
|---|---|---|
| `lapse.v1.assurance.ended` | | it can no longer protect what it holds |
| `lapse.v1.consent.withdrawn` | `{identifier: {kind, value}, purposes?: [...]}` | somebody opted out there |
| `lapse.v1.object.edited` | `{object, emptied?}` | an object was changed there, by its people |

A body without `specversion` is an OpenDSR status: the end of an erasure, as to `/v1/callbacks`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from processors.messages import Secrets, read_status
from processors.recipient import Edited, Ended, Heard, Notice, Post, Said, Withdrawn
from schemas.errors import BadInput, Refused
from schemas.ids import Micros
from schemas.models import IdentifierKind, ReceiptOutcome

_ENDS: Mapping[str, ReceiptOutcome] = {"completed": "completed", "cancelled": "failed_permanent"}
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    kind: IdentifierKind
    value: Text


class _Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    identifier: _Named
    purposes: Annotated[list[Text], Meta(max_length=100)] = []


class _Edit(msgspec.Struct, frozen=True, kw_only=True):
    object: Text
    emptied: bool = False


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: Text
    type: Literal["lapse.v1.assurance.ended", "lapse.v1.consent.withdrawn", "lapse.v1.object.edited"]
    time: dt.datetime | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True)
class PartnerEar:
    """A partner that calls us (a `processors.recipient.Hears`), under the secrets we share."""

    secrets: Secrets

    def heard(self, post: Post, now: Micros) -> Heard:
        """Read one request; `Refused` for a signature that is missing, wrong or old."""
        if not self.secrets.verified(post.body, post.headers):
            why = "the signature is missing, wrong or older than five minutes"
            raise Refused("unauthorized", why, "webhook-signature")
        try:
            return Heard(said=_said(post.body, now))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise BadInput("malformed", "neither an event nor a status that is known here", "body") from None

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:  # noqa: ARG002  # of the protocol
        """A partner is told nothing but that it was heard."""
        return b""


def _said(body: bytes, now: Micros) -> tuple[Said, ...]:
    status = read_status(body)
    if status is not None:
        ended = _ENDS.get(status.request_status)
        return () if ended is None else (Ended(request=status.subject_request_id, outcome=ended),)
    event = msgspec.json.decode(body, type=_Event)
    at = now if event.time is None or event.time.tzinfo is None else _micros(event.time)
    match event.type:
        case "lapse.v1.assurance.ended":
            return (Notice(),)
        case "lapse.v1.consent.withdrawn":
            told = msgspec.json.decode(event.data, type=_Withdrawal)
            who = told.identifier
            return (Withdrawn(kind=who.kind, value=who.value, at=at, purposes=tuple(told.purposes)),)
        case "lapse.v1.object.edited":
            edit = msgspec.json.decode(event.data, type=_Edit)
            return (Edited(vendor_id=edit.object, at=at, emptied=edit.emptied),)


def _micros(at: dt.datetime) -> Micros:
    return Micros(round(at.timestamp()) * 1_000_000 + at.microsecond)
