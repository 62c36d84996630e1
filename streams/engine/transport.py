"""The `chunk://` transport: Faust agents that receive the record list of a fetch instead of single events.

Faust makes four asyncio tasks per event; one chunk divides that by its length. App, agents, rebalancing,
commit timer and supervisors stay Faust's. What is overridden here, and the trap each override closes,
stands in docs/engine.md; `guard.check_libraries` refuses to start on other versions of the overridden
methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import TopicPartition
from faust.exceptions import ConsumerNotStarted
from faust.serializers.schemas import Schema
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from streams.engine.shared import Shared
from streams.engine.thread import ChunkConsumerThread
from streams.ledger import Place
from streams.ports import Chunk, Inbound

DRAIN_TIMEOUT = 10.0
"""Longest wait in seconds for the chunk in hand before partitions are given up, and at stop."""
CONNECT_EVERY = 1.0
"""Seconds between two attempts to reach a broker that does not answer at start."""
WATCH_EVERY = 1.0
"""Seconds between two looks at the group and at the topics' ids."""


class ChunkSchema(Schema):  # type: ignore[misc]  # Faust ships no types
    """Hands the chunk through undecoded."""

    def compile(self, app: Any, **_handlers: Any) -> Any:
        """Return Faust's decode function."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 Faust names it
            return app.create_event(None, message.value, None, message)

        return decode


class ChunkConsumer(driver.Consumer):  # type: ignore[misc]  # Faust ships no types
    """Fetches chunks, hands them to the agents, commits what they acknowledged."""

    _epoch = 0

    def on_init(self) -> None:
        """Join the engine."""
        super().on_init()
        self._shared: Shared = self.app.chunk_shared
        self._shared.consumer = self
        self._ids: dict[str, bytes] = {}

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_start(self) -> None:
        """Start watching the group and the topics."""
        await super().on_start()
        self.add_future(self._watch())

    # ---- reading -------------------------------------------------------------------------------------------

    def resume_flow(self) -> None:
        """End of a rebalance: what was fetched before belongs to an older epoch and is thrown away."""
        self._epoch += 1
        self._shared.draining = False
        self._shared.status.joined = True
        super().resume_flow()

    async def perform_seek(self) -> None:
        """Do nothing: the fetch loop goes to the committed offsets itself, never beside a fetch."""

    async def _drain_messages(self, fetcher: Any) -> None:
        epoch = -1
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                elif epoch != self._epoch:  # never fetch and seek at the same time
                    current = self._epoch
                    if await self._restart_reading():
                        epoch = current
                    else:
                        await asyncio.sleep(0.2)
                elif not await self._fetch_and_deliver(epoch):
                    epoch = -1
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _restart_reading(self) -> bool:
        """Learn topic ids and go to the committed offsets; False when that has to be tried again.

        Stock `seek_to_committed` leaves a partition without a commit where it stands: what was fetched of
        it during a rebalance and thrown away would be skipped.
        """
        shared = self._shared
        places = [Place(*tp) for tp in self.assignment()]
        shared.ledger.clear()
        if not places:
            return True
        try:
            if not await self._learn_ids({place.topic for place in places}):
                return False
            offsets = await self._thread.call_thread(self._thread.committed, places)
            await self._thread.call_thread(self._thread.move, offsets)
        except (KafkaError, IllegalStateError) as error:
            shared.status.wait_for("offsets", f"the group's offsets: {type(error).__name__}")
            return False
        shared.status.wait_for("offsets", None)
        for place, offset in offsets.items():
            shared.ledger.start(place, offset)
        return True

    async def _learn_ids(self, topics: set[str]) -> bool:
        """Look up ids; a topic whose id has changed is read from its start. False if one is not to be had."""
        ids, missing = await self._shared.topic_ids.look_up(topics)
        self._note_missing(missing)
        for topic, topic_id in ids.items():
            known = self._ids.get(topic)
            self._ids[topic] = topic_id
            if known is not None and known != topic_id:
                self.log.warning("topic %s has been created again: reading it from its start", topic)
                for tp in self.assignment():
                    if tp.topic == topic:
                        self._shared.ledger.renew(Place(*tp))
        return not missing

    def _note_missing(self, missing: Mapping[str, str]) -> None:
        reason = "; ".join(f"topic {topic}: {why}" for topic, why in sorted(missing.items()))
        self._shared.status.wait_for("topics", reason or None)

    async def _fetch_and_deliver(self, epoch: int) -> bool:
        """One fetch; False if a rebalance came between: then all is read again from the committed offsets."""
        ledger = self._shared.ledger
        if seeks := ledger.take_seeks():  # one may come late, from a chunk of a partition that is gone by now
            seeks = {place: offset for place, offset in seeks.items() if place in self.assignment()}
            await self._thread.call_thread(self._thread.move, seeks)
        active = self._get_active_partitions()
        wanted = self._shared.wanted(active)
        full = bool(self._buffered_partitions) or len(wanted) < len(active)
        if not wanted:
            await asyncio.sleep(0.005 if full else 0.1)
            return True
        # a full partition may have room again long before the others get data: look soon
        try:
            fetched = await self._getmany(wanted, 0.02 if full else 0.5)
        except KafkaError as error:
            self._shared.status.wait_for("fetch", f"the broker's records: {type(error).__name__}")
            await asyncio.sleep(0.5)
            return True
        self._shared.status.wait_for("fetch", None)
        for tp, records in (fetched or {}).items():
            if not self.flow_active or epoch != self._epoch:
                return False
            if records and not ledger.seeking(Place(*tp)):
                await self._deliver(
                    tp, [Inbound(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]
                )
        return True

    async def _deliver(self, tp: Any, records: list[Inbound]) -> None:
        shared, place = self._shared, Place(*tp)
        expected = shared.ledger.expected(place)
        if expected is not None and records[0].offset < expected:
            # offsets went back: another topic of that name, or a log cut short. The id must be certain now,
            # because under the old id these offsets count as done.
            while not await self._learn_ids({place.topic}):
                await self.sleep(0.2)
            if shared.ledger.seeking(place):
                return
        delivery = shared.ledger.deliver(place, records)
        chunk = Chunk(
            topic=place.topic,
            topic_id=self._ids[place.topic],
            partition=place.partition,
            records=records,
            position=delivery.position,
            token=delivery,
        )
        message = ConsumerMessage(
            topic=place.topic,
            partition=place.partition,
            offset=delivery.after - 1,
            timestamp=records[-1].timestamp_ms / 1000,
            timestamp_type=1,
            headers=(),
            key=None,
            value=chunk,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        # blocks while the agent's queue is full; a rebalance interrupts it
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    # ---- committing ----------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[Any]:
        return [
            TopicPartition(*place)
            for place in self._shared.ledger.committable()
            if topics is None or place in topics or place.topic in topics
        ]

    def _new_offset(self, tp: Any) -> int | None:
        return self._shared.ledger.committable().get(Place(*tp))

    def _should_commit(self, tp: Any, offset: int) -> bool:  # noqa: ARG002 stock signature
        return True  # stock compares with a cache that a failed commit spoils

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        done = bool(await super()._commit(offsets))
        if done:
            self._shared.ledger.committed({Place(*tp): offset for tp, offset in offsets.items()})
        return done

    async def wait_empty(self) -> None:
        """Let the chunk in hand finish (bounded) on revoke and at stop, commit, forget the rest.

        Stock drops acknowledgements before `on_partitions_revoked`, so this is the last moment that counts.
        """
        shared = self._shared
        shared.draining = True
        if self.app.should_stop:
            shared.status.stopping = True
            shared.guard.arm()
        deadline = monotonic() + DRAIN_TIMEOUT
        while shared.in_hand and monotonic() < deadline and not self.app.crashed:  # noqa: ASYNC110 a clock too
            await asyncio.sleep(0.01)
        await self.maybe_wait_for_commit_to_finish()
        await self.force_commit()
        shared.ledger.clear()

    # ---- watching ------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """See what Faust never says: why the group is not joined, and that a topic is another one now."""
        while not self.should_stop:
            await self.sleep(WATCH_EVERY)
            if self.should_stop:
                return
            why = await self._thread.call_thread(self._thread.group_state)
            group = f"the group coordinator of {self._shared.group} ({why})"
            self._shared.status.wait_for("group", None if why is None else group)
            ids, missing = await self._shared.topic_ids.look_up(self.app.topics._topic_name_index)  # noqa: SLF001
            self._note_missing(missing)
            if any(self._ids.get(topic, topic_id) != topic_id for topic, topic_id in ids.items()):
                await self._learn_ids(set(ids))

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: Faust's guesses about slow streams know no chunks, `EngineHealth` tells progress."""

    def places(self) -> tuple[Place, ...]:
        """Partitions assigned now, in order."""
        try:
            return tuple(sorted(Place(*tp) for tp in self.assignment()))
        except ConsumerNotStarted:
            return ()

    def lag(self) -> dict[Place, int]:
        """Offsets not yet settled, per assigned partition whose end is known."""
        ledger, found = self._shared.ledger, {}
        for place, (position, end) in self._thread.ends().items():
            unsettled = ledger.unsettled(place)
            found[place] = max(0, end - (position if unsettled is None else unsettled))
        return found


class ChunkProducer(driver.Producer):  # type: ignore[misc]  # Faust ships no types
    """Faust's producer, idempotent: retries keep order and make no duplicates."""

    _producer: Any

    async def on_start(self) -> None:
        """Wait for the broker: this is the first start that needs one, and stock would end the worker."""
        status = self.app.chunk_shared.status
        while not self.should_stop:
            try:
                await super().on_start()
            except KafkaConnectionError:
                status.wait_for("broker", "the broker (is it up, are the credentials right?)")
                unconnected: Any = self._producer
                self._producer = None
                await unconnected.stop()
                await self.sleep(CONNECT_EVERY)
            else:
                status.wait_for("broker", None)
                return

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class ChunkTransport(driver.Transport):  # type: ignore[misc]  # Faust ships no types
    """What `chunk://` stands for."""

    Consumer = ChunkConsumer
    Producer = ChunkProducer


def register() -> None:
    """Make Faust know the scheme `chunk://`."""
    drivers.TRANSPORTS.aliases["chunk"] = f"{__name__}:ChunkTransport"
