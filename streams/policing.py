"""Bringing due dates forward where a retention becomes shorter: hidden at once, destroyed later."""

from __future__ import annotations

from schemas.ids import Terms
from schemas.plan import PolicyPlan
from schemas.retention import Duration
from streams.lapsing import BY_POLICY, Forward, brought_forward, forward
from vault.port import Tx
from vault.values import BucketId

APPLIED = "policy/applied"
"""Meta: version of the policy whose due dates the buckets follow."""


def apply_policy(tx: Tx, policy: PolicyPlan) -> tuple[int, int]:
    """Let held data follow a policy now in force; return how many buckets were hidden and shortened."""
    done = _apply(tx, brought_forward(policy, tx.all_buckets(state="open"), tx.now))
    tx.put_meta(APPLIED, policy.version.to_bytes(4, "big"))
    return done


def applied_version(tx: Tx) -> int:
    """The policy version the buckets follow; 0 before the first."""
    return int.from_bytes(tx.meta(APPLIED) or b"", "big")


def shorten_terms(
    tx: Tx, policy: PolicyPlan, purpose: str, terms: Terms, retention: Duration
) -> tuple[int, int]:
    """Let what is held for a purpose under these terms lapse after `retention`, where that is sooner."""
    plan, found = policy.purpose(purpose), []
    for row in tx.all_buckets(purpose=purpose, state="open"):
        due = retention.after(plan.start(row.id.period))
        if row.id.terms == terms and due < row.due:
            found.append(forward(row, due, tx.now + policy.brakes.hidden_for))
    return _apply(tx, found)


def _apply(tx: Tx, forward: list[Forward]) -> tuple[int, int]:
    hidden: list[BucketId] = [each.bucket for each in forward if each.hide]
    for each in forward:
        tx.shorten_bucket(each.bucket, each.due)
        if each.hide:
            tx.hide_bucket(each.bucket, BY_POLICY)
    return len(hidden), len(forward) - len(hidden)
