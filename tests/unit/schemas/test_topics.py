"""The topic plan and the time bytes really stay."""

from types import SimpleNamespace

import pytest

from schemas import topics
from schemas.topics import DAY, FOREVER, MINUTE, YEAR, ProcessorTopic, TopicPlan, plan_topics

PLAN = plan_topics(
    {"short": 90 * DAY, "long": 10 * YEAR},
    [
        ProcessorTopic(name="crm", retention_ms=7 * DAY),
        ProcessorTopic(name="bi", retention_ms=DAY, plain=True),
    ],
    partitions=6,
    replication=3,
)
BY_NAME = {topic.name: topic for topic in PLAN}


def retention(name: str) -> int:
    """Return a topic's retention in milliseconds."""
    return int(BY_NAME[name].config["retention.ms"])


def test_the_topics_are_those_of_the_flow() -> None:
    """Intake by kind, records by horizon, one per processor, a clear one only where needed."""
    assert [topic.name for topic in PLAN] == [
        *(f"intake.{kind}" for kind in ("form", "email-open", "cookie", "signal")),
        *("records.short", "records.long", "decisions", "processor.crm", "processor.bi", "plain.bi"),
        *("lifecycle", "control", "receipts", "residue", "quarantine"),
    ]


def test_no_publisher_decides_how_long_bytes_stay() -> None:
    """Every topic uses the broker's time, deletes rather than compacts, and deletes files at once."""
    for topic in PLAN:
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
        assert topic.config["cleanup.policy"] == "delete"
        assert topic.config["file.delete.delay.ms"] == "1000"
        assert topic.holds
        assert topic.replication == 3


def test_every_topic_keeps_what_it_promises() -> None:
    """Retention per topic is the design's."""
    assert {retention(f"intake.{kind}") for kind in topics.INTAKE} == {3 * DAY}
    assert {BY_NAME[f"intake.{kind}"].config["segment.ms"] for kind in topics.INTAKE} == {
        str(topics.INTAKE_SEGMENT_MS)
    }
    assert (retention("records.short"), retention("records.long")) == (90 * DAY, 10 * YEAR)
    proof = 13 * YEAR
    assert {retention(name) for name in ("decisions", "control", "receipts")} == {proof}
    assert (retention("processor.crm"), retention("processor.bi")) == (7 * DAY, DAY)
    assert (retention("lifecycle"), retention("residue")) == (FOREVER, FOREVER)


@pytest.mark.parametrize(("name", "days"), [("plain.bi", 1), ("quarantine", 14)])
def test_at_most_means_the_bytes(name: str, days: int) -> None:
    """Clear deliveries are gone from the disk within 24 hours, quarantine within 14 days, at the worst."""
    minutes = topics.minutes_to_removal(BY_NAME[name].config)
    assert minutes is not None
    assert days * 24 * 60 - 60 < minutes <= days * 24 * 60


def test_what_proves_an_order_has_one_partition() -> None:
    """Commands, checkpoints and the counts of a period are each one sequence."""
    single = {topic.name for topic in PLAN if topic.partitions == 1}
    assert single == {"control", "lifecycle", "residue"}
    assert {topic.partitions for topic in PLAN if topic.name not in single} == {6}


@pytest.mark.parametrize(("replication", "insync"), [(1, "1"), (2, "1"), (3, "2")])
def test_writes_survive_a_lost_broker_where_they_can(replication: int, insync: str) -> None:
    """Three replicas take a write on two; fewer cannot ask for that and stay writable."""
    plan = plan_topics({"only": DAY}, [], replication=replication)
    assert {topic.config["min.insync.replicas"] for topic in plan} == {insync}


@pytest.mark.parametrize(
    ("kept", "segment"),
    [(FOREVER, 7 * DAY), (20 * YEAR, 7 * DAY), (20 * DAY, DAY), (60_000, 10_000), (1000, 10_000)],
)
def test_segments_are_short_enough_to_be_physical(kept: int, segment: int) -> None:
    """A twentieth of the retention, between ten seconds and a week."""
    assert topics.segment_ms(kept) == segment


def test_worst_case_until_bytes_are_gone() -> None:
    """Segment, retention, check and delay add up; the broker's defaults count where a topic says nothing."""
    config = {
        "retention.ms": str(60 * MINUTE),
        "segment.ms": str(3 * MINUTE),
        "file.delete.delay.ms": "60000",
    }
    assert topics.minutes_to_removal(config) == 60 + 3 + 5 + 1
    assert topics.minutes_to_removal({**config, "segment.jitter.ms": "60000"}, check_ms=0) == 60 + 3 + 1 + 1
    assert topics.minutes_to_removal({"retention.ms": "0"}, check_ms=0) == 7 * 24 * 60 + 1
    assert topics.minutes_after_purge(config, tick_ms=2 * MINUTE) == 2 + 3 + 5 + 1


@pytest.mark.parametrize(
    "config", [{"retention.ms": "-1"}, {"retention.ms": "1", "cleanup.policy": "compact"}]
)
def test_what_never_goes_has_no_worst_case(config: dict[str, str]) -> None:
    """Topics kept for ever and compacted ones remove nothing by time."""
    assert topics.minutes_to_removal(config) is None


def test_intake_is_gone_within_minutes() -> None:
    """On a broker that checks every second, purged intake outlives its commit by little over a minute."""
    config = BY_NAME["intake.form"].config
    assert topics.minutes_after_purge(config, check_ms=1000) == pytest.approx(1.2, abs=0.1)


def test_a_policy_gives_the_same_plan() -> None:
    """The policy's microseconds become Kafka's milliseconds; only the kafka connector gets a clear topic."""
    policy = SimpleNamespace(
        horizons=[SimpleNamespace(name="only", retention=60_000_000)],
        processors=[
            SimpleNamespace(name="crm", connector="webhook", topic_retention=30_000_000),
            SimpleNamespace(name="bi", connector="kafka", topic_retention=40_000_000),
        ],
    )
    expected = [
        ProcessorTopic(name="crm", retention_ms=30_000),
        ProcessorTopic(name="bi", retention_ms=40_000, plain=True),
    ]
    found = topics.topic_plan(policy, partitions=2)
    assert found == plan_topics({"only": 60_000}, expected, partitions=2)
    assert hash(found[0]) == hash(
        TopicPlan(name="intake.form", partitions=2, config={}, holds=found[0].holds)
    )
