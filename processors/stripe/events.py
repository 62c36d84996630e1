"""What Stripe tells us (`POST /in/<processor>`): signed events about customers and redaction jobs.

Pure. A signature is HMAC-SHA256 over `<t>.<body>` with the endpoint's secret, and old ones are refused:
docs.stripe.com/webhooks/signature.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from processors.recipient import Edited, Moved, Post, Said
from processors.stripe.wire import MARK, OURS, standing
from schemas.errors import BadInput, Refused
from schemas.ids import Micros
from schemas.times import SECOND

TOLERANCE = Micros(300 * SECOND)
"""How old, or how far ahead, a signature may be."""


def verify(secrets: Sequence[str], post: Post, now: Micros) -> None:
    """Pass a request that bears a fresh signature under one of the secrets; `Refused` otherwise."""
    said = [part.partition("=") for part in post.headers.get("stripe-signature", "").split(",")]
    times = [value for name, _, value in said if name.strip() == "t"]
    given = [value for name, _, value in said if name.strip() == "v1"]
    stamp = times[0] if len(times) == 1 and times[0].isascii() and times[0].isdigit() else ""
    fresh = bool(stamp) and len(stamp) < 12 and abs(int(stamp) * SECOND - now) <= TOLERANCE
    wanted = [
        hmac.new(secret.encode(), f"{stamp}.".encode() + post.body, hashlib.sha256).hexdigest()
        for secret in secrets
    ]
    signed = any(
        hmac.compare_digest(one, other.encode("utf-8", "replace").decode("ascii", "replace"))
        for one in wanted
        for other in given
        if other.isascii()
    )
    if not fresh or not signed:
        raise Refused("bad_signature", "not signed by Stripe, or too long ago", "stripe-signature")


def said(body: bytes, fields: Mapping[str, str]) -> tuple[Said, ...]:
    """Return what an event says that concerns us; `BadInput` where it is no event."""
    try:
        event = msgspec.json.decode(body)
        kind, thing, at = event["type"], event["data"]["object"], Micros(int(event["created"]) * SECOND)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError):
        raise BadInput("malformed", "not an event of Stripe", "body") from None
    if not isinstance(kind, str) or not isinstance(thing, dict):
        raise BadInput("malformed", "not an event of Stripe", "body")
    return tuple(_said(kind, thing, at, event, fields))


def _said(
    kind: str, thing: dict[str, Any], at: Micros, event: Mapping[str, Any], fields: Mapping[str, str]
) -> Iterator[Said]:
    name = thing.get("id")
    if not isinstance(name, str) or not name:
        return
    if kind in ("customer.updated", "customer.deleted"):
        metadata = thing.get("metadata")
        key = metadata.get(MARK) if isinstance(metadata, Mapping) else None
        if isinstance(key, str) and not _ours(event):
            emptied = kind == "customer.deleted" or not standing(thing, fields)
            yield Edited(vendor_id=name, at=at, emptied=emptied, key=key)
    elif kind in ("privacy.redaction_job.succeeded", "privacy.redaction_job.canceled"):
        yield Moved(request=name)


def _ours(event: Mapping[str, Any]) -> bool:
    """Return whether our own request caused the event."""
    request = event.get("request")
    key = request.get("idempotency_key") if isinstance(request, Mapping) else None
    return isinstance(key, str) and key.startswith(OURS)
