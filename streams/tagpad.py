"""What judging one part of intake gathers, for whoever judges a piece of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.ids import Micros, RecordId
from schemas.plan import PolicyPlan, PurposePlan
from schemas.retention import Anchored
from streams import tagging
from streams.people import People
from streams.tagplan import LinkPlan
from vault.values import BucketId, BucketWanted


@dataclass(slots=True)
class Pad:
    """What judging one part has gathered so far."""

    now: Micros
    people: People
    seen: dict[RecordId, bytes]
    shut: frozenset[BucketId]
    today: PolicyPlan | None
    wanted: dict[BucketId, BucketWanted] = field(default_factory=dict)
    fresh: dict[RecordId, bytes] = field(default_factory=dict)
    released: dict[RecordId, bytes] = field(default_factory=dict)
    links: dict[tuple[tuple[int, int], ...], tuple[LinkPlan, ...]] = field(default_factory=dict)
    bounds: dict[int, tagging.Bound] = field(default_factory=dict)
    """Bounds whose buckets are wanted, by identity: events share them."""

    def want(self, purpose: PurposePlan, bound: tagging.Bound) -> None:
        """Have the bucket made when the part is written.

        It follows today's policy where that is shorter, as those do that stood when it came into force.
        """
        if id(bound) in self.bounds:
            return
        self.bounds[id(bound)] = bound
        due, number = bound.due, self.today.purpose_numbers.get(purpose.name) if self.today else None
        if self.today and number is not None and self.today.purposes[number].terms == purpose.terms:
            due = min(due, self.today.purposes[number].due(bound.bucket.period))
        before = self.wanted.get(bound.bucket)
        due = due if before is None else min(due, before.due)
        cap = due if isinstance(purpose.retention, Anchored) else None
        self.wanted[bound.bucket] = BucketWanted(id=bound.bucket, due=due, cap=cap)

    def linked(self, bounds: Sequence[tagging.Bound], generations: Sequence[int]) -> tuple[LinkPlan, ...]:
        """The links to these wanted bounds; events with the same ones share them."""
        name = tuple([(id(bound), n) for bound, n in zip(bounds, generations, strict=True)])
        found = self.links.get(name)
        if found is None:
            found = self.links[name] = tuple(
                LinkPlan(bound.purpose, bound.bucket.period, bound.bucket.terms, n)
                for bound, n in zip(bounds, generations, strict=True)
            )
        return found
