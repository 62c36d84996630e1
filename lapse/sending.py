"""Putting records on the log outside the flow: durably, or a clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import Unavailable
from streams.ports import Outbound, Placed

SEND_SECONDS = 15.0


def send(client: Mapping[str, str], records: Sequence[Outbound]) -> list[Placed]:
    """Produce records and return where they lie; `Unavailable` names the topic that was not taken in time.

    `client` is librdkafka's configuration. Blocking.
    """
    placed: dict[int, Placed] = {}
    failed: set[str] = set()

    def told(number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.add(f"{message.topic()} {error.name()}")
        else:
            placed[number] = Placed(message.topic(), message.partition(), message.offset())

    settings = {"acks": "all", "enable.idempotence": True, "log_level": 3}
    producer = Producer({**client, **settings, "message.timeout.ms": int(SEND_SECONDS * 1000)})
    try:
        for number, record in enumerate(records):
            producer.produce(
                record.topic,
                key=record.key,
                value=record.value,
                partition=record.partition,
                headers=list(record.headers),
                on_delivery=partial(told, number),
            )
            producer.poll(0)
        left = producer.flush(SEND_SECONDS)
    except (KafkaException, BufferError) as error:
        topics = ", ".join(sorted({record.topic for record in records}))
        raise Unavailable("broker", "the broker did not take it", topics, "look at: lapse doctor") from error
    if left or failed:
        where = ", ".join(sorted(failed)) or "no answer"
        raise Unavailable("broker", "the broker did not take it", where, "look at: lapse doctor")
    return [placed[number] for number in range(len(records))]


class ClientSink:
    """`streams.ports.Sink` on a producer of its own: for what runs beside no engine."""

    def __init__(self, client: Mapping[str, str]) -> None:
        self._client = client

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Send and return once all of it is acknowledged."""
        return await asyncio.to_thread(send, self._client, records) if records else []
