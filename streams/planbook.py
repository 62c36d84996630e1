"""Every published policy, compiled, and always the vault's latest word: one cheap look per chunk."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.plan import Plans, PolicyPlan
from schemas.policy import Policy, compile_plan, load
from schemas.retention import Anchored, Fixed, Retention, never_longer
from vault.port import Tx, Vault
from vault.values import RetentionOrder


class PlanBook:
    """Compiled policies, shortened as ordered; compiles again only when the vault has gained something.

    Not for several threads at once.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[int, Policy] = {}
        self._seen = (0, 0)
        self._plans = Plans([])

    def __call__(self) -> Plans:
        """Every policy version as of now."""
        with self._vault.transaction(write=False) as tx:
            return self.within(tx)

    def within(self, tx: Tx) -> Plans:
        """The same inside a transaction that is open already."""
        orders = tx.retention_orders()
        seen = (tx.policy_count(), len(orders))
        if seen != self._seen:
            for row in tx.policies():
                if row.version not in self._known:
                    self._known[row.version] = load(row.body, where=f"policy {row.version}")
            self._plans = Plans([_compiled(policy, orders) for policy in self._known.values()])
            self._seen = seen
        return self._plans


def _compiled(policy: Policy, orders: Iterable[RetentionOrder]) -> PolicyPlan:
    """A policy's plan under the orders that made retentions shorter; one that lengthens has no effect."""
    purposes = dict(policy.purposes)
    for order in orders:
        purpose = purposes.get(order.purpose)
        if purpose is not None and purpose.terms == order.terms:
            shorter = _ordered(purpose.retention, order.retention)
            if never_longer(shorter, purpose.retention):
                purposes[order.purpose] = purpose.model_copy(update={"retention": shorter})
    return compile_plan(policy.model_copy(update={"purposes": purposes}))


def _ordered(retention: Retention, span: str) -> Retention:
    if isinstance(retention, Anchored):
        return Anchored.model_validate(
            {"after": retention.after, "for": str(retention.for_), "at_most": span}
        )
    return Fixed.model_validate({"for": span})
