"""The session's broker, wherever it comes from: what every other end-to-end test may rely on."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Producer

from schemas.topics import TopicPlan
from tests.support.broker import Broker

pytestmark = pytest.mark.e2e


def test_the_session_broker_takes_topics_and_records(broker: Broker) -> None:
    """A topic is made as planned, a record acknowledged and counted, on whichever Kafka the session runs."""
    topic = f"fixture-{uuid.uuid4().hex[:8]}"
    plan = TopicPlan(
        name=topic, partitions=2, config={"message.timestamp.type": "LogAppendTime"}, holds="a test"
    )
    with broker.connect() as admin:
        assert admin.create_topics([plan]) == (topic,)
        assert admin.differences([plan]) == ()
        producer = Producer(broker.address.librdkafka(broker.admin))
        producer.produce(topic, b"one", partition=1)
        assert producer.flush(15) == 0
        assert admin.offsets([topic]) == {(topic, 0): 0, (topic, 1): 1}
        assert admin.lags({"lapse.nobody": [topic]}) == {"lapse.nobody": {(topic, 0): 0, (topic, 1): 1}}


def test_a_cluster_without_rights_says_so(broker: Broker) -> None:
    """Where there is no authorizer `apply_rights` says so instead of pretending; with one it works."""
    with broker.connect() as admin:
        supported = admin.apply_rights({}).supported
        assert supported is (admin.rights() is not None)
        assert supported or broker.kind != "embedded"
