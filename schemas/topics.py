"""The topic plan: which topics there are, how each is configured, and how long bytes really stay in them.

Kafka deletes whole segments, so a topic keeps its promise only if segments are short: a record is gone at the
latest `segment.ms + retention.ms`, the broker's next check and `file.delete.delay.ms` after its append. All
use LogAppendTime: a publisher's clock must never decide how long bytes lie. This module takes plain values;
`topic_plan` reads them off a policy's plan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MINUTE = 60_000
"""Milliseconds in a minute; every number in this module that Kafka reads is in milliseconds."""
DAY = 24 * 60 * MINUTE
YEAR = 366 * DAY
PROOF_YEARS = 3
"""How long what proves a decision outlives the data: most claims in the EU expire after three years."""
BROKER_CHECK_MS = 5 * MINUTE
"""Kafka's default `log.retention.check.interval.ms`; the embedded broker uses 1000."""

FOREVER = -1
"""Kafka's `retention.ms` for a topic that is never deleted from."""
DELETE_DELAY_MS = 1000
"""How long a deleted segment's file still lies; Kafka's default is a minute."""
FLOOR_MS = 10_000
"""Shortest segment; below it a retention of seconds would make files faster than Kafka deletes them."""

INTAKE_SEGMENT_MS = 10_000
"""Clear bytes leave only with a closed segment: ten seconds let a purge take them off within the minute."""
INTAKE = ("form", "email-open", "cookie", "signal")
"""The kinds of intake topics, in the order of the flow."""
SINGLE = frozenset({"lifecycle", "control", "residue"})
"""Topics of one partition: checkpoints and signed commands prove a total order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """One topic as it must be: name, partitions, Kafka's configuration as strings, and what it holds."""

    name: str
    partitions: int
    config: dict[str, str] = field(hash=False)
    holds: str
    replication: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorTopic:
    """A processor's needs: its name, its topic's retention, and whether it also gets a clear topic."""

    name: str
    retention_ms: int
    plain: bool = False


class HorizonLike(Protocol):
    """A horizon of a policy's plan."""

    @property
    def name(self) -> str:
        """Its name, the last part of the topic's."""
        ...

    @property
    def retention(self) -> int:
        """Its length in microseconds."""
        ...


class ProcessorLike(Protocol):
    """A processor of a policy's plan."""

    @property
    def name(self) -> str:
        """Its name, the last part of its topics'."""
        ...

    @property
    def connector(self) -> str:
        """The connector's name; `kafka` alone writes in clear."""
        ...

    @property
    def topic_retention(self) -> int:
        """How long its topic keeps sealed deliveries, in microseconds."""
        ...


class PolicyLike(Protocol):
    """What the topic plan reads of a policy's plan."""

    @property
    def horizons(self) -> Sequence[HorizonLike]:
        """At least one."""
        ...

    @property
    def processors(self) -> Sequence[ProcessorLike]:
        """In the order of the policy."""
        ...


def topic_plan(policy: PolicyLike, *, partitions: int = 4, replication: int = 1) -> tuple[TopicPlan, ...]:
    """Return every topic this policy needs."""
    processors = tuple(
        ProcessorTopic(name=p.name, retention_ms=p.topic_retention // 1000, plain=p.connector == "kafka")
        for p in policy.processors
    )
    horizons = {h.name: h.retention // 1000 for h in policy.horizons}
    return plan_topics(horizons, processors, partitions=partitions, replication=replication)


def plan_topics(
    horizons: Mapping[str, int],
    processors: Iterable[ProcessorTopic],
    *,
    partitions: int = 4,
    replication: int = 1,
    proof_ms: int = PROOF_YEARS * YEAR,
) -> tuple[TopicPlan, ...]:
    """Return every topic for these horizons (name -> milliseconds) and processors, in flow order."""
    longest = max(horizons.values())

    def plan(name: str, retention_ms: int, holds: str) -> TopicPlan:
        config, parts = _config(retention_ms, replication), 1 if name in SINGLE else partitions
        return TopicPlan(name=name, partitions=parts, config=config, holds=holds, replication=replication)

    topics = [_intake(kind, partitions, replication) for kind in INTAKE]
    topics += [plan(f"records.{name}", ms, "sealed records") for name, ms in horizons.items()]
    topics.append(plan("decisions", longest + proof_ms, "what was decided for every record, and why"))
    for p in processors:
        topics.append(
            plan(f"processor.{p.name}", p.retention_ms, f"sealed deliveries and lapses for {p.name}")
        )
        if p.plain:
            topics.append(plan(f"plain.{p.name}", at_most(DAY), f"clear deliveries for {p.name}"))
    topics.append(plan("lifecycle", FOREVER, "every depersonalization; signed checkpoints"))
    topics.append(plan("control", longest + proof_ms, "signed commands, in one order"))
    topics.append(plan("receipts", longest + proof_ms, "what processors answer"))
    topics.append(plan("residue", FOREVER, "k-safe counts per period"))
    topics.append(plan("quarantine", at_most(14 * DAY), "unreadable or suspect input, sealed whole"))
    return tuple(topics)


def segment_ms(retention_ms: int) -> int:
    """Return how long a segment of such a topic may stay open: a twentieth of the retention, 10 s to 7 days.

    A twentieth bounds what retention overshoots by; 7 days bound the open files of a topic kept for a decade.
    """
    if retention_ms == FOREVER:
        return 7 * DAY
    return max(FLOOR_MS, min(7 * DAY, retention_ms // 20))


def at_most(limit_ms: int) -> int:
    """Return the retention under which a record's bytes are gone `limit_ms` after its append."""
    return limit_ms - segment_ms(limit_ms) - BROKER_CHECK_MS - DELETE_DELAY_MS


def _config(retention_ms: int, replication: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        "segment.ms": str(segment_ms(retention_ms)),
        "file.delete.delay.ms": str(DELETE_DELAY_MS),
        "min.insync.replicas": "2" if replication > 2 else "1",
        "unclean.leader.election.enable": "false",
    }


def _intake(kind: str, partitions: int, replication: int) -> TopicPlan:
    config = _config(3 * DAY, replication) | {"segment.ms": str(INTAKE_SEGMENT_MS)}
    holds = f"raw {kind} events in clear; purged behind the commit"
    return TopicPlan(
        name=f"intake.{kind}", partitions=partitions, config=config, holds=holds, replication=replication
    )


def minutes_to_removal(config: Mapping[str, str], *, check_ms: int = BROKER_CHECK_MS) -> float | None:
    """Return the worst case in minutes from append to the bytes gone by retention; None where nothing goes.

    The segment stays open for `segment.ms` (and jitter), its newest record ages `retention.ms`, the broker
    looks every `check_ms`, and the renamed file lies another `file.delete.delay.ms`.
    """
    retention = int(config["retention.ms"])
    if retention < 0 or "delete" not in config.get("cleanup.policy", "delete").split(","):
        return None
    return (retention + _segment_life(config, check_ms)) / MINUTE


def minutes_after_purge(
    config: Mapping[str, str], *, tick_ms: int = MINUTE, check_ms: int = BROKER_CHECK_MS
) -> float:
    """Return the worst case in minutes from a record's commit to its bytes gone, by tick and delete.

    A tick rolls the segment once `segment.ms` has passed since its first record; ticks come every `tick_ms`.
    """
    return (tick_ms + _segment_life(config, check_ms)) / MINUTE


def _segment_life(config: Mapping[str, str], check_ms: int) -> int:
    """Return how long in milliseconds a segment may outlive the time its first record could go."""
    rolled = int(config.get("segment.ms", 7 * DAY)) + int(config.get("segment.jitter.ms", 0))
    return rolled + check_ms + int(config.get("file.delete.delay.ms", MINUTE))
