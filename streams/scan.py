"""The one reader of the log outside the flow: a bounded pass over topics, in order per partition.

Access, replay, proof and the command line read through it. It assigns partitions itself, joins no group and
commits nothing, so it needs READ on the topics and nothing else, and never disturbs a worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, Protocol

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import LapseError, NotFound, Refused, Unavailable
from streams.memory import MemoryLog
from streams.ports import Inbound

PATIENCE = 30.0
"""Seconds without an answer from the broker after which a scan is given up."""
BATCH = 2000
"""Most records of a batch."""


@dataclass(frozen=True, slots=True)
class Offset:
    """From this offset on, in every partition."""

    offset: int


@dataclass(frozen=True, slots=True)
class Time:
    """LogAppendTime in milliseconds since the epoch: at or after it as a start, before it as an end."""

    ms: int


Start = Literal["beginning"] | Offset | Time | Mapping[tuple[str, int], int]
"""Where to begin; a mapping gives the offset of each (topic, partition), others begin at their log start."""
End = Literal["head"] | Time
"""Where to end: the high watermarks at the time of the call, or a time if that comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedBatch:
    """A non-empty run of records of one partition, offsets ascending."""

    topic: str
    partition: int
    records: Sequence[Inbound] = field(repr=False)


class Scan(Protocol):
    """`scan` with its log given: what callers take as an argument."""

    def __call__(
        self,
        topics: Iterable[str],
        *,
        start: Start = "beginning",
        end: End = "head",
        partitions: Iterable[int] | None = None,
    ) -> Iterator[ScannedBatch]:
        """Yield what lies between the bounds; the bounds are fixed when it is called."""


def scan(
    client_config: Mapping[str, Any],
    topics: Iterable[str],
    *,
    start: Start = "beginning",
    end: End = "head",
    partitions: Iterable[int] | None = None,
) -> Iterator[ScannedBatch]:
    """Yield the records of `topics` between the bounds, only of `partitions` if given.

    `client_config` is librdkafka's. Raises `NotFound` for a topic that does not exist, `Refused` where READ
    is missing, `Unavailable` if the broker does not answer. Blocking: call it from a thread.
    """
    consumer = Consumer(
        dict(client_config)
        | {
            "group.id": "lapse-scan",  # librdkafka insists on a name; it is never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,  # the end of a partition is told by an empty fetch
            "log_level": 2,
        },
        logger=logging.getLogger("streams.librdkafka"),
    )
    try:
        bounds = _bounds(consumer, tuple(topics), start, end, partitions)
    except KafkaException as error:
        consumer.close()
        raise _translated(error.args[0], "") from error
    except LapseError:
        consumer.close()
        raise
    return _read(consumer, bounds)


def _bounds(
    consumer: Any, topics: Sequence[str], start: Start, end: End, only: Iterable[int] | None
) -> dict[tuple[str, int], tuple[int, int]]:
    """First offset and the offset after the last, per partition."""
    wanted = None if only is None else frozenset(only)
    places = [
        (topic, partition)
        for topic in topics
        for partition in sorted(_partitions(consumer, topic))
        if wanted is None or partition in wanted
    ]
    marks = {
        place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=PATIENCE) for place in places
    }
    firsts = _at_times(consumer, places, start.ms) if isinstance(start, Time) else {}
    lasts = _at_times(consumer, places, end.ms) if isinstance(end, Time) else {}
    bounds = {}
    for place, (low, high) in marks.items():
        if isinstance(start, Time):
            first = high if firsts[place] is None else firsts[place]
        else:
            first = _first(start, place, low)
        last = lasts.get(place)
        bounds[place] = (max(low, min(first, high)), high if last is None else min(last, high))
    return bounds


def _first(start: Start, place: tuple[str, int], low: int) -> int:
    if isinstance(start, Offset):
        return start.offset
    if isinstance(start, Mapping):
        return start.get(place, low)
    return low


def _partitions(consumer: Any, topic: str) -> Iterable[int]:
    found = consumer.list_topics(topic, timeout=PATIENCE).topics[topic]
    if found.error is not None:
        raise _translated(found.error, topic)
    return list(found.partitions)


def _at_times(consumer: Any, places: Sequence[tuple[str, int]], ms: int) -> dict[tuple[str, int], int | None]:
    asked = [TopicPartition(topic, partition, ms) for topic, partition in places]
    found = consumer.offsets_for_times(asked, timeout=PATIENCE) if asked else []
    return {(tp.topic, tp.partition): tp.offset if tp.offset >= 0 else None for tp in found}


def _read(consumer: Any, bounds: Mapping[tuple[str, int], tuple[int, int]]) -> Iterator[ScannedBatch]:
    ends = {place: last for place, (first, last) in bounds.items() if first < last}
    heard = time.monotonic()
    try:
        consumer.assign([TopicPartition(*place, bounds[place][0]) for place in ends])
        while ends:
            messages = consumer.consume(num_messages=BATCH, timeout=0.05)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                raise Unavailable("unavailable", "the broker sends nothing", "scan")
            for place, run in groupby(messages, key=lambda message: (message.topic(), message.partition())):
                yield from _take(place, list(run), ends)
    finally:
        consumer.close()


def _take(
    place: tuple[str, int], messages: list[Any], ends: dict[tuple[str, int], int]
) -> Iterator[ScannedBatch]:
    """Give out what lies before the partition's end and strike the partition off when the end is reached."""
    records, last = [], ends.get(place)
    for message in messages:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 librdkafka's own names begin so
                ends.pop(place, None)  # covers ends that are no record: transaction markers, compaction
            elif not _passing(error):
                raise _translated(error, place[0] or "")
        elif last is not None and message.offset() < last:
            records.append(_inbound(message))
        if (
            last is not None
            and message.offset() not in (None, OFFSET_INVALID)
            and message.offset() >= last - 1
        ):
            ends.pop(place, None)
    if records:
        yield ScannedBatch(topic=place[0], partition=place[1], records=records)


def _inbound(message: Any) -> Inbound:
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    return Inbound(message.offset(), message.timestamp()[1], message.key(), message.value(), headers)


def _passing(error: Any) -> bool:
    """Errors librdkafka mends by itself, and the group's, which a scan does not need."""
    return error.retriable() or error.code() in (
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 librdkafka's own names begin so
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    )


def _translated(error: Any, topic: str) -> LapseError:
    code = error.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001
        return NotFound("not_found", "the topic does not exist", topic, "lapse topics")
    if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return Refused("forbidden", "not allowed to read the topic", topic, "is the READ ACL there?")
    return Unavailable("unavailable", f"the broker answers {error.name()}", topic)


def scan_memory(
    log: MemoryLog,
    topics: Iterable[str],
    *,
    start: Start = "beginning",
    end: End = "head",
    partitions: Iterable[int] | None = None,
) -> Iterator[ScannedBatch]:
    """`scan` over a `MemoryLog`."""
    wanted = None if partitions is None else frozenset(partitions)
    runs = []
    for topic in topics:
        if topic not in log.topics():
            raise NotFound("not_found", "the topic does not exist", topic, "lapse topics")
        for partition in range(log.topics()[topic]):
            if wanted is None or partition in wanted:
                first = 0 if isinstance(start, Time) else _first(start, (topic, partition), 0)
                runs.append((topic, partition, log.read(topic, partition, first)))
    return _runs(runs, start, end)


def _runs(runs: list[tuple[str, int, list[Inbound]]], start: Start, end: End) -> Iterator[ScannedBatch]:
    for topic, partition, found in runs:
        after = start.ms if isinstance(start, Time) else None
        before = end.ms if isinstance(end, Time) else None
        records = _between(found, after, before)
        for at in range(0, len(records), BATCH):
            yield ScannedBatch(topic=topic, partition=partition, records=records[at : at + BATCH])


def _between(records: list[Inbound], after: int | None, before: int | None) -> list[Inbound]:
    """From the first record at or after `after` to the first at or after `before`, as offsets by time go."""
    first = 0 if after is None else _index(records, after)
    last = len(records) if before is None else _index(records, before)
    return records[first:last]


def _index(records: list[Inbound], ms: int) -> int:
    return next((at for at, record in enumerate(records) if record.timestamp_ms >= ms), len(records))
