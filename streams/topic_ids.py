"""Kafka's own ids of topics: all that tells a topic from one created later under its name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

_TIMEOUT = 2.5
"""Seconds one attempt may take; there are two."""
_SILENT = frozenset({"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN"})
"""How librdkafka calls it that nobody answered."""


class TopicIds(Protocol):
    """Looks up topic ids on the broker."""

    async def look_up(self, topics: Iterable[str]) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        """Ids (16 bytes) of the topics that can be seen, and for the others why not, in a word or two."""


class BrokerTopicIds:
    """Look-ups through librdkafka: aiokafka speaks no request version that carries topic ids.

    librdkafka asks the broker it last heard was the controller. When that one is gone it waits for it,
    at half a core, and asks nobody for another: so a client that got no answer is given up for a new one.
    """

    def __init__(self, librdkafka: Mapping[str, Any]) -> None:
        self._conf = dict(librdkafka)
        self._client: Any = None

    async def look_up(self, topics: Iterable[str]) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        """See `TopicIds`; a broker that does not answer in 5 s is the reason of every topic."""
        names = sorted(set(topics))
        if not names:
            return {}, {}
        return await asyncio.to_thread(self._look_up, names)

    def _look_up(self, names: list[str]) -> tuple[dict[str, bytes], dict[str, str]]:
        ids, missing, silent = self._ask(names)
        if silent:
            self._client = None
            ids, missing, silent = self._ask(names)
        return ids, missing

    def _ask(self, names: list[str]) -> tuple[dict[str, bytes], dict[str, str], bool]:
        """Ids, what is missing and why, and whether nobody answered."""
        if self._client is None:
            quiet = logging.getLogger("streams.librdkafka")
            self._client = AdminClient(self._conf | {"log_level": 2}, logger=quiet)
        ids, missing, silent = {}, {}, False
        futures = self._client.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT)
        for name, future in futures.items():
            try:
                uuid = future.result(timeout=_TIMEOUT + 1).topic_id
            except KafkaException as error:
                why = str(error.args[0].name())
                missing[name] = why.strip("_").lower().replace("_", " ")
                silent = silent or why in _SILENT
            except TimeoutError:
                missing[name], silent = "timed out", True
            else:
                ids[name] = _uuid_bytes(uuid.get_most_significant_bits(), uuid.get_least_significant_bits())
        return ids, missing, silent


def _uuid_bytes(high: int, low: int) -> bytes:
    mask = (1 << 64) - 1
    return (((high & mask) << 64) | (low & mask)).to_bytes(16, "big")
