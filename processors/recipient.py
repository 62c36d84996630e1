"""What a module for one recipient has to say: how an object is called there, and how one call is made."""

from __future__ import annotations

from typing import Protocol

from processors.answers import Answer
from processors.calls import Call
from schemas.models import RecordDelivered


class Recipient(Protocol):
    """One recipient's interface; everything about copies, retries, leases and receipts is the connector's.

    A call sets exactly what it says and may be made again: the same `version` of an object is the same call.
    No method raises for what the recipient does: every answer, none included, is an `Answer`.
    """

    def key(self, delivery: RecordDelivered) -> str:
        """Name the object a delivery belongs to, without opening it."""

    async def call(self, call: Call) -> Answer:
        """Write or erase one object; cancelled at the connector's deadline."""

    async def refresh(self) -> None:
        """Renew the login after a `Refresh`."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | None:
        """Return the names of the fields that stand there now, None where this recipient cannot be read."""

    async def close(self) -> None:
        """Release connections."""
