"""The recipients of the demo, as outsiders: each reads its own topic with its own credentials and opens late.

A shelf holds what its recipient could read. Lapses empty it; nothing else does. It knows no secret of Lapse:
only its topic, its Kafka user, and its token for the key endpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException

from lapse.demo.opening import KeyEndpoint, opened
from schemas import codec
from schemas.errors import Rejected, Unavailable
from schemas.models import (
    BucketScope,
    Depersonalized,
    ProcessorScope,
    RecordDelivered,
    RecordScope,
    SubjectScope,
)

POLL_SECONDS = 0.2
MOST = 500
TIMES = frozenset({"collected_at"})
"""Fields that say when, not who."""


@dataclass(slots=True, kw_only=True)
class Kept:
    """One delivery as its recipient has it: the sealed record, and what of it could be read last."""

    delivery: RecordDelivered
    parts: dict[int, dict[str, str]]
    """What could be read, by compartment; a compartment goes when its last grant has lapsed."""
    about: frozenset[str] = frozenset()
    """The watched values found in it."""
    lapsed: set[int] = field(default_factory=set)
    """Numbers of the grants that have lapsed."""

    def drop(self, grants: Collection[int]) -> None:
        """Forget what only these grants, and those that lapsed before, allowed."""
        self.lapsed |= set(grants)
        for n in list(self.parts):
            if {wrap.grant for wrap in self.delivery.compartments[n].wraps} <= self.lapsed:
                del self.parts[n]


class Shelf:
    """What one recipient holds; `watch` names values whose holder is to be noticed."""

    def __init__(
        self, name: str, client: Mapping[str, str], group: str, keys: KeyEndpoint, watch: frozenset[str]
    ) -> None:
        self.name = name
        self._client, self._group, self._keys, self._watch = dict(client), group, keys, watch
        self._lock = threading.Lock()
        self._kept: dict[bytes, Kept] = {}
        self.received = self.opened_count = self.refused = self.lapses = 0
        self.ever_opened: set[bytes] = set()
        self.seen_of_watched: dict[str, set[str]] = {}
        """Watched value -> names of the fields this recipient could read in the deliveries that hold it."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shelf-{name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)

    def held(self) -> int:
        """How many deliveries have at least one field left."""
        with self._lock:
            return sum(1 for kept in self._kept.values() if kept.parts)

    def holds(self, value: str) -> bool:
        """Whether any field on the shelf contains this value."""
        with self._lock:
            return any(
                value in text
                for kept in self._kept.values()
                for fields in kept.parts.values()
                for text in fields.values()
            )

    def reads(self, value: str) -> list[str]:
        """Names of the fields it holds at this moment in deliveries that contained this value."""
        with self._lock:
            held = [kept for kept in self._kept.values() if value in kept.about]
            return sorted(
                {name for kept in held for fields in kept.parts.values() for name in fields} - TIMES
            )

    def deliveries(self) -> list[RecordDelivered]:
        """Every delivery ever received, to be asked for again."""
        with self._lock:
            return [kept.delivery for kept in self._kept.values()]

    def _run(self) -> None:
        consumer = Consumer(
            {
                **self._client,
                "group.id": self._group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 2,
            }
        )
        consumer.subscribe([f"processor.{self.name}"])
        try:
            while not self._stop.is_set():
                self._take(
                    [m.value() for m in consumer.consume(MOST, POLL_SECONDS) if not m.error() and m.value()]
                )
        except KafkaException:
            return
        finally:
            consumer.close()

    def _take(self, values: list[bytes]) -> None:
        """Read in order; deliveries up to the next lapse are opened together."""
        waiting: list[RecordDelivered] = []
        for value in values:
            try:
                record = codec.decode(value)
            except Rejected:
                continue
            if isinstance(record, RecordDelivered):
                waiting.append(record)
            elif isinstance(record, Depersonalized):
                self._open(waiting)
                waiting = []
                self._drop(record)
        self._open(waiting)

    def _open(self, deliveries: list[RecordDelivered]) -> None:
        if not deliveries:
            return
        try:
            clear = opened(self._keys, deliveries)
        except Unavailable:
            time.sleep(POLL_SECONDS)
            clear = opened(self._keys, deliveries)
        with self._lock:
            for delivery, parts in zip(deliveries, clear, strict=True):
                self.received += 1
                self._kept[delivery.delivery_id] = Kept(
                    delivery=delivery, parts=parts, about=self._notice(parts)
                )
                if parts:
                    self.opened_count += 1
                    self.ever_opened.add(delivery.delivery_id)
                else:
                    self.refused += 1

    def _notice(self, parts: Mapping[int, Mapping[str, str]]) -> frozenset[str]:
        fields = {name: text for part in parts.values() for name, text in part.items()}
        about = frozenset(value for value in self._watch if any(value in text for text in fields.values()))
        for value in about:
            self.seen_of_watched.setdefault(value, set()).update(fields.keys() - TIMES)
        return about

    def _drop(self, lapse: Depersonalized) -> None:
        with self._lock:
            self.lapses += 1
            for kept in self._kept.values():
                if kept.parts:
                    kept.drop(
                        [n for n in range(len(kept.delivery.grants)) if reaches(lapse, kept.delivery, n)]
                    )


def reaches(lapse: Depersonalized, delivery: RecordDelivered, number: int) -> bool:
    """Whether a lapse ends grant `number` of a delivery (docs/wire.md, Deliveries)."""
    grant = delivery.grants[number]
    if grant.decided >= lapse.reaches:
        return False
    match lapse.scope:
        case BucketScope(purpose=purpose, period=period, terms=terms):
            return (grant.purpose, grant.period, grant.terms) == (purpose, period, terms)
        case SubjectScope(subject_ref=ref, purposes=purposes):
            return delivery.subject_ref == ref and grant.purpose in purposes
        case RecordScope(delivery_id=delivery_id, purposes=purposes):
            return delivery.delivery_id == delivery_id and grant.purpose in purposes
        case ProcessorScope():
            return True
