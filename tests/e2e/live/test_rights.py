"""Kafka is closed: a processor's or an auditor's credentials open what INTERFACE.md says, no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from tests.e2e.live.system import System
from tests.e2e.live.wire import Kafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DENIED = {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"}


def denied(who: Kafka, topic: str) -> str:
    """The broker's refusal to let somebody read a topic."""
    with pytest.raises(KafkaException) as refusal:
        who.read(topic)
    return str(refusal.value.args[0].name())


@pytest.mark.parametrize(
    "topic",
    [
        "intake.form",
        "intake.email-open",
        "intake.cookie",
        "intake.signal",
        "processor.mail",
        "plain.warehouse",
        "decisions",
        "control",
        "records.short",
        "quarantine",
        "receipts",
    ],
)
def test_a_processor_reads_its_own_topic_and_no_other(steady: System, topic: str) -> None:
    """crm's credentials are refused on intake, on another's topic and on every internal one."""
    assert denied(steady.kafka("crm"), topic) in DENIED


def test_a_processor_writes_nowhere(steady: System) -> None:
    """Not onto its own topic, not onto intake, not onto control or receipts."""
    crm = steady.kafka("crm")
    for topic in ("processor.crm", "intake.form", "control", "receipts", "lifecycle"):
        assert {error.name() for error in crm.send(topic, b"x")} == {"TOPIC_AUTHORIZATION_FAILED"}, topic


def test_a_processor_may_use_its_own_group_alone(steady: System) -> None:
    """Its group and those below it work; another's, and one that only begins alike, are refused."""
    crm = steady.kafka("crm")
    for group, allowed in (
        ("processor.crm", True),
        ("processor.crm.batch", True),
        ("processor.mail", False),
        ("processor.crmx", False),
        ("lapse.tag", False),
    ):
        consumer = crm.consumer(group)
        try:
            consumer.subscribe(["processor.crm"])
            message = consumer.poll(20)
            assert message is not None, group
            refused = message.error() is not None and message.error().name() in DENIED
            assert refused is not allowed, group
        finally:
            consumer.close()


def test_an_auditor_reads_everything_but_intake_and_writes_nothing(steady: System) -> None:
    """Decisions, lifecycle, control and processors' topics can be read; intake and clear topics cannot."""
    auditor = steady.kafka("auditor")
    for topic in (
        "decisions",
        "lifecycle",
        "control",
        "receipts",
        "residue",
        "quarantine",
        "processor.crm",
        "processor.mail",
        "records.short",
        "records.long",
    ):
        auditor.read(topic)
    for topic in ("intake.form", "intake.signal", "intake.cookie", "intake.email-open"):
        assert denied(auditor, topic) in DENIED
        assert auditor.send(topic, b"x")
    for topic in ("control", "decisions", "lifecycle"):
        assert auditor.send(topic, b"x"), topic


def test_nobody_gets_in_without_the_password(steady: System, tmp_path: Path) -> None:
    """A wrong password is refused, also for a user that exists."""
    right = json.loads(Path(steady.run["processors"]["crm"]["credentials_file"]).read_text())
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**right, "password": "guessed"}))
    consumer = Kafka(steady.run, wrong).consumer("processor.crm")
    try:
        with pytest.raises(KafkaException):
            consumer.list_topics(timeout=5)
    finally:
        consumer.close()


def test_every_topic_is_log_append_time_and_as_planned(steady: System) -> None:
    """`lapse topics` finds nothing that differs from the plan, and `lapse doctor` the system well.

    But for lapses nobody answers: no test plays a recipient who does.
    """
    assert not [row for row in steady.do("topics")["topics"] if row["differs"]]
    doctor = steady.lapse("doctor")
    bad = [row for row in doctor.json()["checks"] if row["state"] != "ok"]
    assert not [row for row in bad if row["check"].split()[0] != "tasks"], bad
    assert (doctor.code, doctor.json()["ok"]) == ((1, False) if bad else (0, True))


def test_rotated_credentials_end_the_old_ones_at_once(steady: System) -> None:
    """After `processor credentials --rotate` the old token and password are refused and the new ones work."""
    old_keys, old_kafka = steady.keys("warehouse"), steady.kafka("warehouse")
    assert old_keys.post("/v1/keys", b'{"deliveries":[]}')[0] == 200
    said = steady.lapse("processor", "credentials", "warehouse", "--rotate", "--yes")
    assert said.code == 0, said.err
    assert old_keys.token not in said.out + said.err
    assert old_keys.post("/v1/keys", b'{"deliveries":[]}')[0] == 401
    consumer = old_kafka.consumer("processor.warehouse")
    try:
        with pytest.raises(KafkaException):
            consumer.list_topics(timeout=5)
    finally:
        consumer.close()
    assert steady.keys("warehouse").post("/v1/keys", b'{"deliveries":[]}')[0] == 200
    steady.kafka("warehouse").read("processor.warehouse")
