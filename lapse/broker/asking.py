"""One administrator's connection: it asks again while a failure passes, and until a change shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

from kafka import errors
from kafka.admin import KafkaAdminClient

from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.probe import probe
from lapse.broker.translation import repeat, translate
from schemas.errors import Unavailable

T = TypeVar("T")
Partition = tuple[str, int]
"""Topic and partition number."""

_VISIBLE_SECONDS = 0.05


class Asking:
    """A connection of kafka-python's admin client; what can be asked of it stands in the classes below it."""

    def __init__(
        self, address: BrokerAddress, login: Credentials | None = None, *, timeout: float = 30.0
    ) -> None:
        self._where, self._timeout = address.bootstrap, timeout
        arguments = address.kafka_python(login)
        milliseconds = int(timeout * 1000)
        probe(address, login, timeout=timeout)
        try:
            self._client: Any = KafkaAdminClient(
                **arguments,
                client_id="lapse-admin",
                bootstrap_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds,
                reconnect_backoff_max_ms=1000,
            )
        except errors.KafkaError as error:
            raise translate(error, address.bootstrap) from error

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: Callable[[], T]) -> T:
        return repeat(call, where=self._where, seconds=self._timeout)

    def _until(self, shown: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._timeout
        while not shown():
            if time.monotonic() > deadline:
                raise Unavailable(
                    code="unavailable",
                    what=f"the broker does not show {what} yet",
                    where=self._where,
                    do="try again",
                )
            time.sleep(_VISIBLE_SECONDS)
