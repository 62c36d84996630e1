"""Start-up check: the engine overrides private methods of Faust and aiokafka and must not run on others."""

from __future__ import annotations

import importlib
import inspect

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.message_accumulator import BatchBuilder
from faust import App
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver

from schemas.errors import Bug

_SIGNATURES: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (Consumer, "_drain_messages", ("self", "fetcher")),
    (Consumer, "_filter_tps_with_pending_acks", ("self", "topics")),
    (Consumer, "_get_active_partitions", ("self",)),
    (Consumer, "_new_offset", ("self", "tp")),
    (Consumer, "_should_commit", ("self", "tp", "offset")),
    (Consumer, "force_commit", ("self", "topics", "start_new_transaction")),
    (Consumer, "maybe_wait_for_commit_to_finish", ("self",)),
    (Consumer, "perform_seek", ("self",)),
    (Consumer, "resume_flow", ("self",)),
    (Consumer, "wait_empty", ("self",)),
    (App, "_stop_consumer", ("self",)),
    (driver.Consumer, "_commit", ("self", "offsets")),
    (driver.Consumer, "_new_consumer_thread", ("self",)),
    (driver.Consumer, "verify_event_path", ("self", "now", "tp")),
    (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ("self", "transport")),
    (driver.AIOKafkaConsumerThread, "call_thread", ("self", "fun", "args", "kwargs")),
    (driver.Producer, "_settings_extra", ("self",)),
    (driver.Producer, "on_start", ("self",)),
    (AIOKafkaProducer, "create_batch", ("self",)),
    (AIOKafkaProducer, "send_batch", ("self", "batch", "topic", "partition")),
    (AIOKafkaConsumer, "committed", ("self", "partition")),
    (AIOKafkaConsumer, "seek", ("self", "partition", "offset")),
    (BatchBuilder, "append", ("self", "timestamp", "key", "value", "headers")),
    (GroupCoordinator, "check_errors", ("self",)),
)

_ATTRIBUTES: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (AIOKafkaConsumer, "__init__", ("_fetch_max_bytes", "_fetch_max_wait_ms", "_subscription")),
    (AIOKafkaConsumer, "start", ("_coordinator", "_fetch_max_bytes", "_fetch_max_wait_ms")),
    (GroupCoordinator, "__init__", ("_pending_exception", "coordinator_id", "generation")),
    (Consumer, "__init__", ("_buffered_partitions",)),
)


def check_libraries() -> None:
    """Raise `Bug` if an overridden method has other parameters, an attribute is gone, or a C part missing."""
    for owner, name, wanted in _SIGNATURES:
        method = getattr(owner, name)
        found = tuple(inspect.signature(method).parameters)
        if found != wanted:
            raise _unfit(f"{method.__qualname__}{found}")
    for owner, name, names in _ATTRIBUTES:
        method = getattr(owner, name)
        gone = set(names) - set(method.__code__.co_names)
        if gone:
            raise _unfit(f"{method.__qualname__} without {sorted(gone)}")
    try:
        importlib.import_module("faust._cython.streams")
    except ImportError as error:
        raise _unfit("faust._cython.streams") from error


def _unfit(where: str) -> Bug:
    return Bug(
        code="bug",
        what="this Faust or aiokafka is not the one the engine was written for",
        where=where,
        do="install the locked versions: make setup",
    )
