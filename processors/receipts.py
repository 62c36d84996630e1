"""Receipts: what we know of an answer, never more, with ids that redelivery does not change."""

from __future__ import annotations

import hashlib

from processors.calls import Told
from schemas.ids import Micros
from schemas.models import Cause, ReceiptGiven

CLOSED_BY: dict[Cause, str] = {
    "retention": "expired",
    "withdrawal": "withdrawn",
    "objection": "objected",
    "erasure": "erased",
    "rectification": "superseded",
    "recall": "suspended",
}
"""The code of a delivery that was never handed over because a lapse came first."""


def receipt(processor: str, told: Told, at: Micros, *, place: bytes = b"") -> ReceiptGiven:
    """Return the receipt for one thing told; `place` tells receipts apart that share `about` and outcome."""
    digest = hashlib.sha256(b"lapse/v1/receipt")
    for part in (processor.encode(), told.about, told.outcome.encode(), place):
        digest.update(len(part).to_bytes(4) + part)
    return ReceiptGiven(
        receipt_id=digest.digest()[:16],
        processor=processor,
        about=told.about,
        outcome=told.outcome,
        at=at,
        evidence=told.evidence,
        code=told.code,
    )
