"""Every published policy, compiled, and always the vault's latest word: one cheap look per chunk."""

from __future__ import annotations

from schemas.plan import Plans, PolicyPlan
from schemas.policy import compile_plan, load
from vault.port import Tx, Vault


class PlanBook:
    """Compiled policies; compiles again only what the vault has gained. Not for several threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[int, PolicyPlan] = {}
        self._plans = Plans([])

    def __call__(self) -> Plans:
        """Every policy version as of now."""
        with self._vault.transaction(write=False) as tx:
            return self.within(tx)

    def within(self, tx: Tx) -> Plans:
        """The same inside a transaction that is open already."""
        if tx.policy_count() != len(self._known):
            for row in tx.policies():
                if row.version not in self._known:
                    self._known[row.version] = compile_plan(load(row.body, where=f"policy {row.version}"))
            self._plans = Plans(self._known.values())
        return self._plans
