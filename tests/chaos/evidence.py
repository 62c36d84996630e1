"""What lies on the log after an ordeal, read once, and whose each thing is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from lapse.main import installation
from schemas import codec
from schemas.ids import EventId, RecordId
from schemas.models import DecisionBatch, RecordDecided
from tests.chaos.book import SITE, Book, Sent
from tests.e2e.live.books import folded
from tests.e2e.live.system import System
from tests.e2e.live.wire import Message, Record
from vault.handles import delivery_id, record_id

PULLED = ("crm", "mail")
RECEIVERS = ("crm", "mail", "partner", "warehouse")
Topic = dict[int, list[Message]]
"""A topic's records by partition, in order."""


@dataclass(slots=True)
class _Ids:
    """Which record and which deliveries an accepted event is: the installation's secrets say."""

    records: dict[bytes, Sent] = field(default_factory=dict)
    deliveries: dict[str, dict[bytes, Sent]] = field(default_factory=dict)
    record_of: dict[str, dict[bytes, bytes]] = field(default_factory=dict)


class Evidence:
    """The log of a system that rests, beside the book of what was sent."""

    def __init__(self, system: System, book: Book) -> None:
        self.system, self.book = system, book
        self._kafka = system.kafka("auditor")
        decided = self._kafka.records("DecisionBatch", "decisions")
        self.decisions = [(m.at_ms, row) for m in decided if m.record for row in m.record["entries"]]
        self.folded = folded(row for _, row in self.decisions)
        self._decided = decided

    def entries(self) -> Iterator[RecordDecided]:
        """Every decision, as the oracle takes it."""
        for message in self._decided:
            batch = codec.decode(message.value or b"")
            assert isinstance(batch, DecisionBatch)
            yield from batch.entries

    @cached_property
    def ids(self) -> _Ids:
        """Whose each record and delivery is."""
        found = _Ids()
        with installation(self.system.data) as here:
            secrets = here.vault.secrets
            for sent in self.book.accepted.values():
                event = EventId(bytes.fromhex(sent.event_id))
                found.records[record_id(secrets.record, SITE, sent.kind, event)] = sent
            for name in RECEIVERS:
                secret = secrets.processor(name)
                of = {delivery_id(secret, RecordId(record)): record for record in self.folded}
                found.record_of[name] = {bytes(d): bytes(r) for d, r in of.items()}
                found.deliveries[name] = {
                    bytes(d): found.records[r] for d, r in of.items() if r in found.records
                }
        return found

    @cached_property
    def topics(self) -> dict[str, Topic]:
        """What lies on each recipient's sealed topic."""
        found: dict[str, Topic] = {}
        for name in RECEIVERS:
            parts: Topic = defaultdict(list)
            for message in self._kafka.read(f"processor.{name}"):
                if message.record is not None:
                    parts[message.partition].append(message)
            found[name] = dict(parts)
        return found

    @cached_property
    def newest(self) -> dict[bytes, int]:
        """The highest revision of every record, as far as one was accepted."""
        found: dict[bytes, int] = {}
        for _, row in self.decisions:
            if row["outcome"] in ("routed", "expired"):
                found[row["record_id"]] = max(row["revision"], found.get(row["record_id"], 1))
        return found

    def outdated(self, name: str, delivery: Record) -> bool:
        """Whether there is a newer revision of what this recipient was given."""
        record = self.record_of(name, delivery)
        return record is not None and delivery["revision"] < self.newest.get(record, 1)

    def record_of(self, name: str, delivery: Record) -> bytes | None:
        """The record a recipient's delivery is of."""
        return self.ids.record_of[name].get(delivery["delivery_id"])

    def deliveries(self, name: str) -> list[Message]:
        """Every delivery on a recipient's topic, copies too."""
        parts = self.topics[name].values()
        return [m for messages in parts for m in messages if m.name == "RecordDelivered"]

    def asked(self, name: str) -> Iterator[tuple[Record, list[Record]]]:
        """Ask the key endpoint about each revision of each delivery: it, and the answer per compartment."""
        found = [m.record for m in self.deliveries(name) if m.record]
        distinct = {(delivery["delivery_id"], delivery["revision"]): delivery for delivery in found}
        keys, waiting = self.system.keys(name), list(distinct.values())
        for start in range(0, len(waiting), 400):
            some = waiting[start : start + 400]
            for delivery, result in zip(some, keys.ask(some), strict=True):
                yield delivery, list(result["compartments"])
