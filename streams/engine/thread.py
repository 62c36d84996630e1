"""aiokafka's consumer as Faust runs it, on a thread of its own, and what is asked of it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver

from streams.ledger import Place

FETCH_MAX_WAIT_MS = 100
"""Faust's own 1500 ms is hard coded: under back-pressure skewed partitions fall to a sixth of the speed."""
FETCH_MAX_BYTES = 4 << 20
"""One answer of the broker stands in memory twice while it is taken apart; aiokafka's own limit is 50 MiB."""


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust ships no types
    """aiokafka's consumer on a thread of its own, so heartbeats go on whatever the stages do."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 read by AIOKafkaConsumer.start()
        consumer._fetch_max_bytes = FETCH_MAX_BYTES  # noqa: SLF001 as above
        return consumer

    async def committed(self, places: Iterable[Place]) -> dict[Place, int]:
        """Offsets committed by the group, 0 where there is none."""
        consumer = self._ensure_consumer()
        return {place: await consumer.committed(TopicPartition(*place)) or 0 for place in places}

    async def move(self, offsets: Mapping[Place, int]) -> None:
        """Seek; offsets outside the log are reset to its start by the broker's answer."""
        consumer = self._ensure_consumer()
        for place, offset in offsets.items():
            consumer.seek(TopicPartition(*place), offset)

    async def group_state(self) -> str | None:
        """What the group membership waits for, None when there is nothing.

        aiokafka parks a fatal coordination error until somebody polls, which Faust never does without an
        assignment: the worker hangs without a word. Looking here also lets the coordinator try again.
        """
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001 no public way
        parked = coordinator._pending_exception  # noqa: SLF001 no public way
        if parked is not None:
            try:
                coordinator.check_errors()
            except GroupAuthorizationFailedError:
                return "is the READ ACL on the group there?"
            except KafkaError as error:
                return type(error).__name__
        if getattr(coordinator, "coordinator_id", 0) is None:
            return "it does not answer"
        return None

    def ends(self) -> dict[Place, tuple[int, int]]:
        """Read position and high watermark of each assigned partition, where both are known."""
        if self._consumer is None:
            return {}
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 position() may block, this not
        if subscription is None or subscription.assignment is None:
            return {}
        found = {}
        for tp in subscription.assignment.tps:
            state = subscription.assignment.state_value(tp)
            if state is not None and state.has_valid_position and state.highwater is not None:
                found[Place(*tp)] = (state.position, state.highwater)
        return found
