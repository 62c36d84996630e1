"""Whether an address works, as one processor found out and another asks: `verified_by` in a policy.

The verdict goes into the vault in the transaction that knows it, as a fact of the purpose it was found out
for; nothing clear travels again. Whoever is `verified_by` somebody gets no address before there is a verdict,
and none that was found undeliverable. What cannot be judged is held back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from processors.calls import Call, OpenedPart, Write
from processors.opening import PlansIn
from processors.said import VERIFIED_BY
from schemas.errors import Rejected
from schemas.models import RecordDelivered
from schemas.plan import PolicyPlan
from vault.checked import enter_checked, read_checked
from vault.handles import alias_hash
from vault.identity import normalise
from vault.opening import Ask
from vault.port import Tx
from vault.values import BucketId

WORKS = frozenset({"deliverable", "risky"})
"""Verdicts that let an address through; a risky one may be reached, and nothing says that it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChecks:
    """The verdicts one processor gives, and those it has to wait for (a `processors.values.Checks`)."""

    processor: str
    plans: PlansIn
    alias: bytes = field(repr=False)

    def enter(self, tx: Tx, deliveries: Sequence[RecordDelivered], call: Call | None, verdict: str) -> None:
        """Keep what this processor found out about the address it was given."""
        today = self.plans(tx).in_force(tx.now)
        if today is None or not isinstance(call, Write):
            return
        purposes = {purpose.name: purpose for purpose in today.purposes}
        for delivery in deliveries:
            for address in self._addresses(today, delivery, call.set):
                enter_checked(
                    tx, _asks(delivery), purposes, by=self.processor, address=address, verdict=verdict
                )

    def held_back(self, tx: Tx, delivery: RecordDelivered, parts: Sequence[OpenedPart]) -> str | None:
        """Return the code that closes a delivery because of its address, None where nothing does."""
        today = self.plans(tx).in_force(tx.now)
        number = today.processor_numbers.get(self.processor) if today is not None else None
        if today is None or number is None:
            return None  # nothing opens for a processor that no policy names
        by = today.processors[number].settings.get(VERIFIED_BY)
        opened = {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}
        if by is None or not opened:
            return None
        if delivery.source not in today.sources:
            return "unverified"
        purposes = {purpose.name: purpose for purpose in today.purposes}
        for address in self._addresses(today, delivery, opened):
            verdict = read_checked(tx, _asks(delivery), purposes, by=str(by), address=address)
            if verdict not in WORKS:
                return "unverified" if verdict is None else "undeliverable"
        return None

    def _addresses(
        self, today: PolicyPlan, delivery: RecordDelivered, fields: Mapping[str, str]
    ) -> list[bytes]:
        """Return the hashes of the e-mail addresses among fields; what is no address has one nobody knows."""
        source = today.sources.get(delivery.source)
        kinds = source.identifiers if source is not None else {}
        found = [value for name, value in fields.items() if kinds.get(name) == "email"]
        return [self._hash(value) for value in found]

    def _hash(self, address: str) -> bytes:
        try:
            return alias_hash(self.alias, "email", normalise("email", address))
        except Rejected:
            return b""


def _asks(delivery: RecordDelivered) -> list[Ask]:
    return [
        Ask(BucketId(g.purpose, g.period, g.terms), g.handle, delivery.delivery_id) for g in delivery.grants
    ]
