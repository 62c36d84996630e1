"""When a bucket's key dies. Pure: the bucket table is the timer, the vault's clock the only time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.ids import Micros
from schemas.models import Cause
from schemas.plan import PolicyPlan
from vault.values import BucketId, BucketRow, Hold

Step = Literal["end", "finish", "keep"]
"""End: destroy the key. Finish: the key is gone, its bytes must follow. Keep: nothing to do now."""
BY_POLICY = "policy"
"""Reason of a bucket hidden by the brake: a policy brought its due date forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """What to do with a bucket now; `holds` escrow its keys in the transaction that destroys them."""

    step: Step
    cause: Cause = "retention"
    holds: tuple[bytes, ...] = ()


def decide_lapse(bucket: BucketRow, holds: Sequence[Hold], now: Micros, hidden_for: int) -> Lapse:
    """What to do with a bucket; a hidden one waits `hidden_for` microseconds, at most until it was due."""
    if bucket.state == "destroyed":
        return Lapse(step="keep")
    if bucket.ended_at is not None:
        return Lapse(step="finish")
    if bucket.state == "hidden":
        since = bucket.hidden_at if bucket.hidden_at is not None else now
        ripe = now >= min(since + hidden_for, bucket.due)
    else:
        ripe = now >= bucket.due
    if not ripe:
        return Lapse(step="keep")
    purposes = (
        hold for hold in holds if hold.on and (not hold.purposes or bucket.id.purpose in hold.purposes)
    )
    return Lapse(step="end", holds=tuple(hold.hold_id for hold in purposes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A bucket whose due date a policy brings forward; `hide` where it would die before the brake is over.

    It is then destroyed at its old date, or when the brake is over if that is sooner.
    """

    bucket: BucketId
    due: Micros
    hide: bool


def brought_forward(policy: PolicyPlan, buckets: Iterable[BucketRow], now: Micros) -> list[Forward]:
    """What a policy now in force changes for data already held: due dates only ever come forward."""
    found = []
    for row in buckets:
        number = policy.purpose_numbers.get(row.id.purpose)
        if number is None or row.state != "open" or policy.purposes[number].terms != row.id.terms:
            continue
        due = policy.purposes[number].due(row.id.period)
        if due < row.due:
            found.append(forward(row, due, now + policy.brakes.hidden_for))
    return found


def forward(row: BucketRow, due: Micros, braked_until: int) -> Forward:
    """How a bucket follows a date that is sooner: never destroyed later than it was due already."""
    hide = due < braked_until
    return Forward(bucket=row.id, due=Micros(min(row.due, braked_until)) if hide else due, hide=hide)
