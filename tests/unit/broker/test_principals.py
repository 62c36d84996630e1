"""The table of rights, judged as Kafka would judge it: who reaches what, and above all who does not."""

from __future__ import annotations

import pytest

from lapse.broker.principals import (
    AUDITOR,
    ROLES,
    Operation,
    Resource,
    Rights,
    everyone,
    group,
    processor_group,
    processor_rights,
    processor_user,
)
from schemas.topics import ProcessorTopic, plan_topics

PROCESSORS = ("crm", "crm2")
TOPICS = [
    plan.name
    for plan in plan_topics(
        {"short": 1000, "long": 10**9},
        [ProcessorTopic(name=p, retention_ms=1000, plain=True) for p in PROCESSORS],
    )
]
INTAKE = {topic for topic in TOPICS if topic.startswith("intake.")}


def allowed(rights: Rights, resource: Resource, name: str, operation: Operation) -> bool:
    """Judge as Kafka's StandardAuthorizer does: a matching denial wins, else one matching right will do."""
    matching = [
        right
        for right in rights
        if right.resource is resource
        and right.operation is operation
        and (right.name in ("*", name) or (right.prefixed and name.startswith(right.name)))
    ]
    return bool(matching) and not any(right.denied for right in matching)


def topics(rights: Rights, operation: Operation) -> set[str]:
    """Return the planned topics on which these rights allow the operation."""
    return {topic for topic in TOPICS if allowed(rights, Resource.TOPIC, topic, operation)}


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_reaches_its_own_topics_and_nothing_else(name: str) -> None:
    """Two topics to read, none to write, its own groups; `crm` does not reach what belongs to `crm2`."""
    rights = processor_rights(name)
    assert topics(rights, Operation.READ) == {f"processor.{name}", f"plain.{name}"}
    assert topics(rights, Operation.WRITE) == topics(rights, Operation.DELETE) == set()
    groups = (
        [group(role) for role in ROLES] + [processor_group(p) for p in PROCESSORS] + ["*", "", f"x.{name}"]
    )
    mine = {g for g in groups if allowed(rights, Resource.GROUP, g, Operation.READ)}
    assert mine == {processor_group(name)}


def test_clear_events_are_written_by_the_collector_and_read_by_two() -> None:
    """Reading intake is tag's (events) and govern's (signals) alone; only expire cuts it off."""
    readers = {role: topics(rights, Operation.READ) & INTAKE for role, rights in ROLES.items()}
    assert {role: found for role, found in readers.items() if found} == {
        "tag": INTAKE - {"intake.signal"},
        "govern": {"intake.signal"},
    }
    deleters = {role: topics(rights, Operation.DELETE) for role, rights in ROLES.items()}
    assert {role: found for role, found in deleters.items() if found} == {"expire": INTAKE}
    writers = {role for role, rights in ROLES.items() if topics(rights, Operation.WRITE) & INTAKE}
    assert writers == {"collector", "expire", "keys"}


def test_the_auditor_reads_everything_but_intake_and_writes_nothing() -> None:
    """A new topic of the plan that the auditor cannot read fails here."""
    rights = ROLES[AUDITOR]
    assert topics(rights, Operation.READ) == set(TOPICS) - INTAKE
    assert topics(rights, Operation.WRITE) == topics(rights, Operation.DELETE) == set()
    assert allowed(rights, Resource.GROUP, "anything", Operation.READ)
    for taken in [*map(group, ROLES), *map(processor_group, PROCESSORS)]:
        assert not allowed(rights, Resource.GROUP, taken, Operation.READ)


@pytest.mark.parametrize("role", sorted(set(ROLES) - {AUDITOR}))
def test_a_role_owns_its_group_and_no_other(role: str) -> None:
    """No role can take part in, and so take records from, the group of another."""
    owned = {other for other in ROLES if allowed(ROLES[role], Resource.GROUP, group(other), Operation.READ)}
    assert owned <= {role}
    assert not any(
        allowed(ROLES[role], Resource.GROUP, processor_group(p), Operation.READ) for p in PROCESSORS
    )


def test_every_topic_has_a_writer_and_a_reader() -> None:
    """A planned topic that no role writes, or nobody reads, would be a hole in the flow or in the table."""
    table = everyone(PROCESSORS).values()
    assert set().union(*(topics(rights, Operation.WRITE) for rights in table)) == set(TOPICS)
    assert set().union(*(topics(rights, Operation.READ) for rights in table)) == set(TOPICS)


def test_only_connect_writes_clear_deliveries() -> None:
    """`plain.*` is clear: one role writes it, and besides the processor the auditor alone reads it."""
    plain = "plain.crm"
    table = everyone(PROCESSORS)
    assert {u for u, r in table.items() if allowed(r, Resource.TOPIC, plain, Operation.WRITE)} == {"connect"}
    readers = {u for u, r in table.items() if allowed(r, Resource.TOPIC, plain, Operation.READ)}
    assert readers == {AUDITOR, processor_user("crm")}
