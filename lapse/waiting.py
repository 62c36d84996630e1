"""Is anything still on its way? Every group's lag, the vault's outbox, what the collector has spooled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from lapse.broker.principals import group
from lapse.layout import Layout
from lapse.main import Installation
from lapse.recipients import opened_here
from schemas.errors import Unavailable
from schemas.plan import PolicyPlan

LOOK_SECONDS = 0.1
STILL_LOOKS = 2
"""A chunk between its produce and its commit shows as lag, so two quiet looks in a row are quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How much is under way: records per group and topic, outbox rows, bytes and events in the spool."""

    groups: Mapping[str, Mapping[str, int]]
    outbox: int
    spool: int

    @property
    def total(self) -> int:
        """0 at a quiet point."""
        return sum(sum(topics.values()) for topics in self.groups.values()) + self.outbox + self.spool

    def as_json(self) -> dict[str, object]:
        """`{total, groups{group{topic}}, outbox, spool}`."""
        return {
            "total": self.total,
            "groups": {name: dict(topics) for name, topics in self.groups.items()},
            "outbox": self.outbox,
            "spool": self.spool,
        }


def reads(plan: PolicyPlan, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Which group reads which topics; recipients that consume themselves are not ours to wait for."""
    connected = tuple(f"processor.{p.name}" for p in plan.processors if opened_here(p, layout))
    return {
        group("tag"): ("intake.form", "intake.email-open", "intake.cookie"),
        group("route"): tuple(f"records.{horizon.name}" for horizon in plan.horizons),
        group("govern"): ("intake.signal", "control", "receipts"),
        **({group("connect"): connected} if connected else {}),
    }


def lag(here: Installation) -> Lag:
    """Look once."""
    behind = here.admin().lags(reads(here.plans.latest, here.layout))
    groups: dict[str, dict[str, int]] = {}
    for name, partitions in behind.items():
        for (topic, _), count in partitions.items():
            if count:
                groups.setdefault(name, {}).setdefault(topic, 0)
                groups[name][topic] += count
    with here.vault.transaction(write=False) as tx:
        outbox = tx.outbox_count()
    return Lag(groups=groups, outbox=outbox, spool=here.spooled())


def until_quiet(here: Installation, timeout: float) -> Lag:
    """Look until all is still; `Unavailable` names what was not."""
    deadline, still = time.monotonic() + timeout, 0
    while True:
        try:
            now = lag(here)
        except Unavailable:  # a broker that restarts comes back within the time given
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)
            continue
        still = still + 1 if now.total == 0 else 0
        if still >= STILL_LOOKS:
            return now
        if time.monotonic() > deadline:
            busy = [
                f"{name} {topic}: {count}"
                for name, topics in now.groups.items()
                for topic, count in topics.items()
            ]
            busy += [f"outbox: {now.outbox}"] * bool(now.outbox) + [f"spool: {now.spool}"] * bool(now.spool)
            raise Unavailable(
                "timeout", f"not quiet within {timeout:g} s", "; ".join(busy), "look at: lapse doctor"
            )
        time.sleep(LOOK_SECONDS)
