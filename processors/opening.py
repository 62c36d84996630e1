"""Opening for one processor: today's policy, control and the vault, asked at every attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from processors import assurance
from processors.calls import OpenedPart
from schemas.models import RecordDelivered
from schemas.plan import Plans, PolicyPlan, ProcessorPlan
from vault.deliveries import OpenFields, open_deliveries
from vault.opening import Recipiency, barred
from vault.port import Tx
from vault.values import ProcessorState

PlansIn = Callable[[Tx], Plans]
"""Every published policy as of a transaction (`streams.planbook.PlanBook.within`)."""


def recipiency(tx: Tx, plans: Plans, name: str) -> Recipiency:
    """Return a processor as openings see it now; one the policy in force does not name is not approved."""
    today = plans.in_force(tx.now)
    number = today.processor_numbers.get(name) if today else None
    if today is None or number is None:
        return Recipiency(name=name, state=None, purposes={}, grants={})
    plan = today.processors[number]
    return Recipiency(
        name=name,
        state=_state(tx.processor(name), plan),
        purposes={purpose.name: purpose for purpose in today.purposes},
        grants=_grants(today, plan),
        categories=frozenset(today.categories),
    )


def _state(state: ProcessorState | None, plan: ProcessorPlan) -> ProcessorState | None:
    """What control says, and what the policy itself says: either may close everything."""
    if state is None:
        return None
    suspended = state.suspended or plan.suspended is not None
    return replace(state, suspended=suspended, assurance_until=assurance.ends(plan, state.assurance_until))


def _grants(today: PolicyPlan, plan: ProcessorPlan) -> dict[str, frozenset[str]]:
    return {
        today.purposes[purpose].name: frozenset(today.categories[c] for c in categories)
        for purpose, categories in plan.grants.items()
    }


@dataclass(frozen=True, slots=True)
class VaultOpener:
    """Opens deliveries of one processor through the vault (a `processors.values.Opener`)."""

    processor: str
    plans: PlansIn

    def open(self, tx: Tx, deliveries: Sequence[RecordDelivered]) -> list[tuple[OpenedPart, ...]]:
        """Return per delivery and compartment its fields, or the code that keeps it closed."""
        to = recipiency(tx, self.plans(tx), self.processor)
        answers = open_deliveries(tx, to, deliveries)
        return [tuple(p.fields if isinstance(p, OpenFields) else p.code for p in parts) for parts in answers]

    def shut(self, tx: Tx) -> str | None:
        """Return the code that keeps everything closed for this processor now, None where nothing does."""
        closed = barred(recipiency(tx, self.plans(tx), self.processor).state, tx.now)
        return closed.code if closed else None
