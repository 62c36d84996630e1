"""What groups have not read of topics that delete what is old: for the doctor and for metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lapse.broker.principals import group, processor_group
from lapse.layout import Layout
from lapse.waiting import reads
from processors.registry import opens_here
from schemas.plan import PolicyPlan
from schemas.topics import topic_plan

Place = tuple[str, int]
HALF_GONE = 0.5
"""Unread for more than this share of what its topic keeps: what is left is the time to act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What one group has not read of one topic that keeps `kept` seconds.

    `old` records have waited for more than half of that, or than was asked; `lost` were deleted before they
    were read.
    """

    group: str
    topic: str
    kept: float
    unread: int
    old: int
    lost: int


class Offsets(Protocol):
    """What is needed of the broker's administration."""

    def offsets(self, topics: Sequence[str], *, earliest: bool = False) -> Mapping[Place, int]:
        """Each partition's next offset, or its log start."""

    def offsets_at(self, topics: Sequence[str], seconds: float) -> Mapping[Place, int]:
        """Each partition's first offset appended at or after this time, its next one where none was."""

    def committed(self, groups: Sequence[str]) -> Mapping[str, Mapping[Place, int]]:
        """What each group has committed."""


def readers(plan: PolicyPlan, layout: Layout) -> dict[str, str]:
    """Who reads each topic that keeps little: the intake topics, and each recipient's own."""
    ours = {topic: name for name, topics in reads(plan, layout).items() for topic in topics}
    intake = {topic: name for topic, name in ours.items() if topic.startswith("intake.")}
    # One of ours that cannot be called any more has read up to where our connector read for it.
    return intake | {
        f"processor.{p.name}": group("connect") if opens_here(p.connector) else processor_group(p.name)
        for p in plan.processors
        if p.suspended is None
    }


def look(plan: PolicyPlan, layout: Layout, care: Offsets, now: float) -> list[Backlog]:
    """Measure every one of them; `now` in seconds since the epoch, by the broker's clock."""
    kept = _kept(plan)
    who = {topic: name for topic, name in readers(plan, layout).items() if kept.get(topic, -1) > 0}
    return _measured(who, kept, care, now, longest=None)


def unset(
    plan: PolicyPlan, names: Sequence[str], care: Offsets, now: float, longest: float
) -> dict[str, Backlog]:
    """Measure what waits for recipients of ours that cannot be called; `longest` seconds make it old."""
    who = {f"processor.{name}": group("connect") for name in names}
    found = _measured(who, _kept(plan), care, now, longest=longest)
    return {each.topic.removeprefix("processor."): each for each in found}


def _kept(plan: PolicyPlan) -> dict[str, float]:
    return {topic.name: int(topic.config["retention.ms"]) / 1000 for topic in topic_plan(plan)}


def _measured(
    who: Mapping[str, str], kept: Mapping[str, float], care: Offsets, now: float, *, longest: float | None
) -> list[Backlog]:
    committed = care.committed(sorted(set(who.values())))
    starts, ends = care.offsets(list(who), earliest=True), care.offsets(list(who))
    found = []
    for topic, name in who.items():
        half = kept[topic] * HALF_GONE
        olds = care.offsets_at([topic], now - (half if longest is None else min(half, longest)))
        places = [place for place in ends if place[0] == topic]
        done = {place: committed.get(name, {}).get(place) for place in places}
        found.append(
            Backlog(
                group=name,
                topic=topic,
                kept=kept[topic],
                unread=sum(max(0, ends[p] - max(done[p] or 0, starts.get(p, 0))) for p in places),
                old=sum(max(0, olds.get(p, 0) - max(done[p] or 0, starts.get(p, 0))) for p in places),
                lost=sum(max(0, starts.get(p, 0) - at) for p in places if (at := done[p]) is not None),
            )
        )
    return found
