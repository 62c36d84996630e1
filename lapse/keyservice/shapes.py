"""What the key endpoint is asked, checked strictly: no unknown fields, wrong lengths or encodings."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from schemas.errors import BadInput
from schemas.ids import DeliveryId, Micros, Period, Terms
from schemas.models import ReceiptOutcome

MOST = 500
"""Deliveries, or receipts, in one request."""
BODY_BYTES = 8 * 1024 * 1024
"""Largest body read: 500 deliveries with every purpose a policy can have are below it."""

Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
WrapKey = Annotated[str, Meta(pattern="^[A-Za-z0-9+/]{54}==$")]
"""Base64 of 40 bytes: a content key under AES key wrap."""
Index = Annotated[int, Meta(ge=0, le=0xFFFF)]
Unsigned = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Signed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request is made of."""


class AskedWrap(Shape, frozen=True, kw_only=True):
    """One wrapped key, with the grant it was wrapped for."""

    purpose: Name
    period: Signed
    terms: Unsigned
    handle: Hex16
    key: WrapKey

    @property
    def bucket(self) -> tuple[str, Period, Terms]:
        """Purpose, period and terms."""
        return self.purpose, Period(self.period), Terms(self.terms)


class AskedCompartment(Shape, frozen=True, kw_only=True):
    """One compartment by its index in the delivery."""

    n: Index
    wraps: Annotated[list[AskedWrap], Meta(min_length=1, max_length=64)]


class AskedDelivery(Shape, frozen=True, kw_only=True):
    """One delivery as it lay on the processor's topic, without what is sealed."""

    delivery_id: Hex16
    revision: Unsigned
    source: Name
    compartments: Annotated[list[AskedCompartment], Meta(max_length=256)]

    @property
    def id_bytes(self) -> DeliveryId:
        """The delivery's id."""
        return DeliveryId(bytes.fromhex(self.delivery_id))


class GivenReceipt(Shape, frozen=True, kw_only=True):
    """What a processor says of one delivery or lapse it was given."""

    about: Hex16
    outcome: ReceiptOutcome
    at: str | None = None
    evidence: Hex32 | None = None
    code: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")] | None = None
    signature: Annotated[str, Meta(max_length=1024)] | None = None


class _Keys(Shape, frozen=True, kw_only=True):
    deliveries: list[msgspec.Raw]


class _Receipts(Shape, frozen=True, kw_only=True):
    receipts: list[msgspec.Raw]


class TooMany(BadInput):
    """More entries than one request may have."""


E = TypeVar("E", bound=Shape)
_WHERE = re.compile(r" - at `\$([a-z0-9_.]*)")


def read_keys(body: bytes) -> list[AskedDelivery]:
    """Return the deliveries of a `POST /v1/keys`, in order; `BadInput` as `_entries` says."""
    return _entries(AskedDelivery, _decoded(_Keys, body, "").deliveries, "/deliveries")


def read_receipts(body: bytes) -> list[GivenReceipt]:
    """Return the receipts of a `POST /v1/receipts`, in order; `BadInput` as `_entries` says."""
    return _entries(GivenReceipt, _decoded(_Receipts, body, "").receipts, "/receipts")


def _entries(cls: type[E], entries: list[msgspec.Raw], where: str) -> list[E]:
    """Decode each; `BadInput` says by a JSON pointer where one is wrong, and never what stands there."""
    if len(entries) > MOST:
        raise TooMany("too_large", f"more than {MOST} entries", where, f"send at most {MOST} at a time")
    return [_decoded(cls, entry, f"{where}/{number}") for number, entry in enumerate(entries)]


def _decoded(cls: type[E], body: bytes | msgspec.Raw, where: str) -> E:
    try:
        return msgspec.json.decode(body, type=cls)
    except msgspec.ValidationError as error:
        place = where + _pointer(str(error))
        raise BadInput(
            "malformed", "not of the shape the OpenAPI document states", place, "see GET /openapi.json"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("malformed", "not JSON", where, "send a JSON object in UTF-8") from None


def _pointer(message: str) -> str:
    """Turn msgspec's `$.compartments[...].n` into `/compartments`: names of ours, as far as they are sure."""
    found = _WHERE.search(message)
    return found.group(1).replace(".", "/") if found else ""


def micros(text: str | None, where: str) -> Micros | None:
    """Read RFC 3339 with an offset; `BadInput` where it is not."""
    if text is None:
        return None
    wrong = BadInput("malformed", "not a time of RFC 3339 with its offset", where)
    try:
        at = dt.datetime.fromisoformat(text)
        moment = int(at.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise wrong from None
    if at.tzinfo is None:
        raise wrong
    return Micros(moment)


def unbase64(text: str | None, where: str) -> bytes | None:
    """Read base64; `BadInput` where it is not."""
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("malformed", "not base64", where) from None
