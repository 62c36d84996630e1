"""The engine: one Faust app of one role, its agents made of stages, its sink, its health."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import faust

from streams.engine.access import KafkaAccess
from streams.engine.guard import check_libraries
from streams.engine.health import EngineHealth, Status
from streams.engine.shared import Shared
from streams.engine.sink import KafkaSink
from streams.engine.source import StreamSource
from streams.engine.stopping import StopGuard
from streams.engine.transport import ChunkSchema, register
from streams.patience import discreet, patient
from streams.ports import Handle, SheafHandle, Sink, drive, one_by_one
from streams.topic_ids import BrokerTopicIds

P = ParamSpec("P")
R = TypeVar("R")

SETTINGS: dict[str, Any] = {
    "store": "memory://",
    "table_standby_replicas": 0,
    "topic_disable_leader": True,
    "topic_allow_declare": False,
    "key_serializer": "raw",
    "value_serializer": "raw",
    "web_enabled": False,
    "worker_redirect_stdouts": False,
    "agent_supervisor": "mode.supervisors.CrashingSupervisor",  # an exception never skips records
    "stream_wait_empty": True,  # makes Faust call ChunkConsumer.wait_empty on revoke and at stop
    "broker_max_poll_interval": 1e8,  # else an idle or back-pressured worker leaves the group for ever
    "broker_session_timeout": 10.0,
    "broker_heartbeat_interval": 2.0,
    "broker_rebalance_timeout": 20.0,  # this and the next must exceed transport.DRAIN_TIMEOUT
    "broker_request_timeout": 20.0,
    "consumer_max_fetch_size": 1 << 19,  # of each partition: what is read ahead is held
    "consumer_auto_offset_reset": "earliest",
    "consumer_metadata_max_age_ms": 10_000,  # how soon new partitions are noticed; stock: 5 minutes
    "producer_metadata_max_age_ms": 10_000,
    "producer_acks": -1,
    "producer_linger": 0.0,
    "producer_max_batch_size": 1 << 20,
    "producer_max_request_size": 1 << 20,
    "producer_request_timeout": 30.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Most records of a chunk and weight of a sheaf; weight an agent reads ahead; seconds between commits.

    `streams.ledger.Delivery` says what weighs what.
    """

    chunk_records: int = 2000
    buffered_weight: int = 8000
    commit_every: float = 1.0


class Engine:
    """A consumer group member and a producer. Build it inside `worker.run`, which owns loop and process."""

    def __init__(
        self,
        *,
        group: str,
        access: KafkaAccess,
        workdir: Path,
        now: Callable[[], int],
        tuning: Tuning = Tuning(),
        client: str = "lapse",
    ) -> None:
        """Prepare the engine; `client` is the name under which Kafka lists this member of the group.

        `workdir` takes an empty folder Faust insists on; `now` gives microseconds since the epoch.
        """
        check_libraries()
        register()
        self.group = group
        self.guard = StopGuard()
        self._status = Status(now=now, progress_at=now())
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=group)
        self._shared = Shared(
            group=group,
            topic_ids=BrokerTopicIds(access.librdkafka()),
            status=self._status,
            guard=self.guard,
            most_outstanding=tuning.buffered_weight,
        )
        self._tuning = tuning
        self.app: Any = faust.App(
            group,
            datadir=str(workdir / f"{group}.faust"),
            broker_max_poll_records=tuning.chunk_records,
            # Never met, because a queue that is full blocks every agent of the engine: weight is what bounds.
            stream_buffer_maxsize=tuning.buffered_weight + tuning.chunk_records,
            broker_commit_interval=tuning.commit_every,
            broker_client_id=client,
            **access.faust_settings(),
            **SETTINGS,
        )
        self.app.producer_only = True  # until there is an agent
        self.app.chunk_shared = self._shared
        self.sink: Sink = KafkaSink(self._producer, functools.partial(self._status.wait_for, "sink"))

    def agent(self, *topics: str) -> Callable[[Handle], Handle]:
        """Make the decorated stage the agent of these topics: chunks in, `Done` or `Seek` out.

        One chunk at a time. `Unavailable` repeats the chunk, anything else ends the worker with rc 1.
        """

        def register(handle: Handle) -> Handle:
            name = getattr(handle, "__name__", type(handle).__name__)
            self._register(topics, name, one_by_one(handle), together=False)
            return handle

        return register

    def sheaf_agent(self, *topics: str, name: str) -> Callable[[SheafHandle], SheafHandle]:
        """The same for a stage that does all that is ready, of as many partitions as there are, at a time."""

        def register(handle: SheafHandle) -> SheafHandle:
            self._register(topics, name, handle, together=True)
            return handle

        return register

    def _register(self, topics: Sequence[str], name: str, handle: SheafHandle, *, together: bool) -> None:
        safe = patient(
            discreet(handle),
            giving_up=lambda: self._shared.draining,
            note=functools.partial(self._status.wait_for, name),
        )
        most = self._tuning.chunk_records if together else 0
        self._shared.reads(topics)

        async def agent(stream: Any) -> None:
            await drive(StreamSource(stream, self._shared, most), safe)

        channel = self.app.topic(*topics, schema=ChunkSchema())
        self.app.agent(channel, name=f"{self.group}.{name}")(agent)
        self.app.producer_only = False

    def task(self, function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Run the decorated coroutine function beside the agents; an exception ends the worker with rc 1."""
        self.app.task(function)
        return function

    async def work(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call blocking code (SQL, sealing) on the worker's one thread, so heartbeats and the loop go on.

        Always the same thread: connections may be bound to it, and calls do not overlap.
        """
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def wait_for(self, who: str, what: str | None) -> None:
        """Note what a task beside the agents waits for; None when it waits no more."""
        self._status.wait_for(who, what)

    def health(self) -> EngineHealth:
        """What the worker knows about itself now."""
        consumer = self._shared.consumer
        if self.app.producer_only:
            self._status.joined = bool(self.app.started) and self._producer() is not None
        if self.app.producer_only or consumer is None:
            return self._status.snapshot((), {})
        return self._status.snapshot(consumer.places(), consumer.lag())

    def _producer(self) -> Any | None:
        return getattr(self.app.producer, "_producer", None)
