"""The Kafka sink: one idempotent producer, batches per partition, done when all is on the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from schemas.errors import Bug, Unavailable
from streams.engine.access import KafkaAccess
from streams.ports import MAX_RECORD_BYTES, Outbound, Placed, record_bytes

_SURELY_FITS = MAX_RECORD_BYTES // 2
"""What has no headers and no more bytes than this needs no closer look."""
SLOW = 5.0
"""Seconds after which a send that has not been acknowledged is reported as what is waited for."""


class KafkaSink:
    """Sends through an aiokafka producer with `enable_idempotence` and `acks=all`.

    `producer` gives the started producer, None while there is none; `note` is told what a slow send waits
    for.
    """

    def __init__(
        self, producer: Callable[[], Any | None], note: Callable[[str | None], None] = lambda _what: None
    ) -> None:
        self._producer = producer
        self._note = note

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """See `streams.ports.Sink`. With the broker away this waits: an idempotent batch does not expire."""
        for record in records:
            if record.headers or len(record.value or b"") + len(record.key or b"") > _SURELY_FITS:
                _check_size(record)
        producer = self._producer()
        if producer is None:
            raise Unavailable("unavailable", "the producer has not been started", "sink")
        groups: dict[tuple[str, int], list[int]] = {}
        for at, record in enumerate(records):
            groups.setdefault((record.topic, record.partition), []).append(at)
        placed: list[Placed] = [Placed("", 0, 0)] * len(records)
        work = [self._partition(producer, records, group, placed) for group in groups.values()]
        waiting = asyncio.get_running_loop().call_later(SLOW, self._note, "the broker to take records")
        try:
            results = await asyncio.gather(*work, return_exceptions=True)
        finally:
            waiting.cancel()
            self._note(None)
        for error in sorted(filter(None, results), key=lambda error: not isinstance(error, Bug)):
            raise error
        return placed

    async def _partition(
        self, producer: Any, records: Sequence[Outbound], group: Sequence[int], placed: list[Placed]
    ) -> None:
        """Send one partition's records, given by their positions, in as few batches as they fit."""
        topic, partition = records[group[0]].topic, records[group[0]].partition
        try:
            sent: list[tuple[Any, list[int]]] = []
            held: list[int] = []
            batch = producer.create_batch()
            for at in group:
                if not _append(batch, records[at]):
                    sent.append((await producer.send_batch(batch, topic, partition=partition), held))
                    batch, held = producer.create_batch(), []
                    _append(batch, records[at])
                held.append(at)
            sent.append((await producer.send_batch(batch, topic, partition=partition), held))
            for future, positions in sent:
                base = (
                    await future
                ).offset  # -1 when only a retry was acknowledged: the broker forgets where
                for step, at in enumerate(positions):
                    placed[at] = Placed(topic, partition, -1 if base < 0 else base + step)
        except (OutOfOrderSequenceNumber, ProducerFenced) as error:
            raise Bug(
                "bug", "the producer has lost its sequence and must start anew", f"{topic}/{partition}"
            ) from error
        except TopicAuthorizationFailedError as error:
            raise Unavailable(
                "unavailable", "not allowed to write", topic, "is the WRITE ACL there?"
            ) from error
        except (
            KafkaError,
            AssertionError,
        ) as error:  # AssertionError: aiokafka's word for an unknown partition
            raise Unavailable(
                "unavailable", f"send failed: {type(error).__name__}", f"{topic}/{partition}"
            ) from error


@asynccontextmanager
async def open_sink(access: KafkaAccess) -> AsyncIterator[KafkaSink]:
    """Give a sink with a producer of its own, for a process that runs no engine.

    Raises `Unavailable` if the broker does not answer.
    """
    producer = AIOKafkaProducer(
        **access.aiokafka_settings(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=1 << 20,
        max_request_size=1 << 20,
    )
    try:
        await producer.start()
    except KafkaError as error:
        await producer.stop()
        raise Unavailable(
            "unavailable", f"no connection: {type(error).__name__}", access.bootstrap
        ) from error
    try:
        yield KafkaSink(lambda: producer)
    finally:
        await producer.stop()


def _append(batch: Any, record: Outbound) -> bool:
    headers = (
        record.headers if type(record.headers) is list else list(record.headers)
    )  # aiokafka takes no other
    metadata = batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    return metadata is not None


def _check_size(record: Outbound) -> None:
    """Turn a large record away *before* sending.

    aiokafka 0.14: after one MessageSizeTooLarge every later send of an idempotent producer to that
    partition fails.
    """
    size = record_bytes(record)
    if size > MAX_RECORD_BYTES:
        raise Bug(
            "bug",
            f"a record of {size} bytes; {MAX_RECORD_BYTES} is the most",
            record.topic,
            "split it upstream",
        )
