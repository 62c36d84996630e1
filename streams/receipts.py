"""Receipts: what processors answer about deliveries and lapses; they stay on their topic, and are counted."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import codec
from schemas.errors import Rejected
from schemas.models import ReceiptGiven
from streams.stage import Judged, Part, is_tick


@dataclass(slots=True, kw_only=True)
class ReceiptWork(Judged):
    """A part of `receipts`."""

    receipts: list[ReceiptGiven]


def read_receipts(part: Part, spoilt: frozenset[int]) -> list[ReceiptGiven]:
    """Decode receipts; what cannot be read proves nothing and is passed over."""
    found = []
    for record in part.records:
        if is_tick(record) or record.offset in spoilt:
            continue
        try:
            found.append(codec.decode_as(ReceiptGiven, record.value or b""))
        except Rejected:
            continue
    return found
