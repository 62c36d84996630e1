"""What the transport shares with its engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.engine.health import Status
from streams.engine.stopping import StopGuard
from streams.ledger import Delivery, Ledger, Place
from streams.topic_ids import TopicIds


class Shared:
    """Hangs on the Faust app, because Faust constructs the consumer that needs it."""

    def __init__(
        self, *, group: str, topic_ids: TopicIds, status: Status, guard: StopGuard, most_outstanding: int
    ) -> None:
        self.group = group
        self.topic_ids = topic_ids
        self.status = status
        self.guard = guard
        self.most_outstanding = most_outstanding
        self.ledger = Ledger()
        self.draining = False
        self.in_hand: set[Delivery] = set()
        self.consumer: Any | None = None
        self._agents: list[frozenset[str]] = []

    def reads(self, topics: Iterable[str]) -> None:
        """Note that an agent reads these topics: it has a bound of its own for what is read ahead."""
        self._agents.append(frozenset(topics))

    def wanted(self, places: Iterable[Place]) -> set[Place]:
        """Partitions of which more may be read: an agent that has enough to do keeps no other one waiting."""
        weights = self.ledger.outstanding()
        full = [topics for topics in self._agents if sum(weights[t] for t in topics) >= self.most_outstanding]
        return {place for place in places if not any(place.topic in topics for topics in full)}
