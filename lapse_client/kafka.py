"""Publishing straight to Kafka: confluent-kafka, idempotent, acks=all, the Java partitioner."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from lapse_client.encoding import TOPICS, encode, headers, record_name
from lapse_client.errors import Invalid, Turned, Undelivered
from lapse_client.records import Publishable
from lapse_client.registry import Registry
from lapse_client.transport import Result

_ACK_SECONDS = 10
_LIMIT = 1_000_000
"""Larger records break an idempotent producer's later sends; Kafka's default batch is 1 MiB."""


class KafkaTransport:
    """One cluster; the client is made with the first batch, in the process that sends it."""

    def __init__(self, settings: Mapping[str, str], registry: Registry | None = None) -> None:
        self._settings = dict(settings)
        self._registry = registry
        self._producer: Any = None

    def send(self, batch: Sequence[Publishable]) -> list[Result]:
        """Produce all, then wait for every acknowledgement."""
        results: list[Result] = [Undelivered("Kafka did not acknowledge in time", code="timeout")] * len(
            batch
        )
        try:
            producer = self._client()
        except KafkaException as error:
            return [Undelivered(f"no Kafka client: {_name(error)}", code="unavailable")] * len(batch)
        for number, event in enumerate(batch):
            refused = self._produce(producer, event, partial(_acknowledged, results, number), self._registry)
            if refused is not None:
                results[number] = refused
        producer.flush(_ACK_SECONDS + 5)
        return results

    def close(self) -> None:
        """Let the client go; nothing is under way between batches."""
        self._producer = None

    def _client(self) -> Any:
        if self._producer is None:
            defaults: dict[str, Any] = {
                # Connection trouble goes to the application's log instead of stderr.
                "logger": logging.getLogger("lapse_client"),
                "acks": "all",
                "enable.idempotence": "true",
                "linger.ms": "5",
                # librdkafka's own default disagrees with Java's on three keys of four.
                "partitioner": "murmur2_random",
                "message.timeout.ms": str(_ACK_SECONDS * 1000),
                "reconnect.backoff.max.ms": "1000",
            }
            self._producer = Producer(defaults | self._settings)
        return self._producer

    @staticmethod
    def _produce(producer: Any, event: Publishable, on_delivery: Any, registry: Registry | None) -> Result:
        try:
            value = encode(event, registry)
        except Invalid as error:
            return Turned(error.what, code=error.code, where=error.where)
        except Undelivered as error:
            return error
        if len(value) > _LIMIT:
            return Turned("the event is over a million bytes", code="too_large")
        try:
            producer.produce(
                TOPICS[record_name(event)], value, headers=headers(event), on_delivery=on_delivery
            )
        except BufferError:
            return Undelivered("the Kafka client's queue is full", code="unavailable")
        except KafkaException as error:
            return Undelivered(f"Kafka refused: {_name(error)}", code="unavailable")
        producer.poll(0)
        return None


def _acknowledged(results: list[Result], number: int, error: KafkaError | None, _message: object) -> None:
    results[number] = (
        None if error is None else Undelivered(f"Kafka refused: {error.name()}", code="unavailable")
    )


def _name(error: KafkaException) -> str:
    first = error.args[0] if error.args else None
    return str(first.name()) if isinstance(first, KafkaError) else "client error"
