"""The live topics against the plan, and how long bytes really stay in each."""

from __future__ import annotations

from typing import Any

from lapse.main import Installation
from schemas.topics import TopicPlan, minutes_after_purge, minutes_to_removal, topic_plan

EMBEDDED_CHECK_MS = 1000
FOREVER = "for ever"


def plan_of(here: Installation) -> tuple[TopicPlan, ...]:
    """Every topic any published policy needs; the latest policy's configuration counts."""
    wanted: dict[str, TopicPlan] = {}
    for plan in here.plans:
        for topic in topic_plan(
            plan, partitions=here.runtime.partitions, replication=here.runtime.replication
        ):
            wanted[topic.name] = topic
    return tuple(wanted.values())


def compare(here: Installation) -> list[dict[str, Any]]:
    """One row per planned topic: what is live, and how it differs."""
    plans, admin = plan_of(here), here.admin("admin")
    live = admin.topics()
    configs = admin.topic_configs([plan.name for plan in plans if plan.name in live])
    differing: dict[str, list[str]] = {}
    for difference in admin.differences(plans):
        found = "is missing" if difference.found is None else f"is {difference.found}"
        differing.setdefault(difference.topic, []).append(
            f"{difference.setting} {found}, wanted {difference.wanted}"
        )
    return [
        {
            "topic": plan.name,
            "partitions": live.get(plan.name),
            "kept": kept(configs.get(plan.name, plan.config)),
            "minutes_to_removal": (minutes := removal(here, plan.name, configs.get(plan.name, plan.config))),
            "bytes_gone_within": FOREVER if minutes is None else words(minutes * 60),
            "holds": plan.holds,
            "differs": "; ".join(differing.get(plan.name, [])) or None,
        }
        for plan in plans
    ]


def kept(config: dict[str, str]) -> str:
    """`retention.ms` in words."""
    ms = int(config["retention.ms"])
    return FOREVER if ms < 0 else words(ms / 1000)


def words(seconds: float) -> str:
    """A span as people say it: to three digits, in its largest fitting unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return (
                f"{seconds / length:.3g} {unit}"
                if seconds < 999 * length
                else f"{seconds / length:.0f} {unit}"
            )
    return f"{seconds:.3g} s"


def removal(here: Installation, topic: str, config: dict[str, str]) -> float | None:
    """Worst-case minutes from a record's commit (intake) or append (others) until its bytes are gone."""
    check = EMBEDDED_CHECK_MS if here.layout.broker.exists() else None
    extra = {"check_ms": check} if check else {}
    minutes = (
        minutes_after_purge(config, **extra)
        if topic.startswith("intake.")
        else minutes_to_removal(config, **extra)
    )
    return None if minutes is None else round(minutes, 2)
