"""What the transport shares with its engine."""

from __future__ import annotations

from typing import Any

from streams.engine.health import Status
from streams.engine.stopping import StopGuard
from streams.ledger import Delivery, Ledger
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
