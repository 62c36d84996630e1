"""Kafka's own ids of topics: all that tells a topic from one created later under its name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

_TIMEOUT = 5.0
"""Seconds one look-up may take."""


class TopicIds(Protocol):
    """Looks up topic ids on the broker."""

    async def look_up(self, topics: Iterable[str]) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        """Ids (16 bytes) of the topics that can be seen, and for the others why not, in a word or two."""


class BrokerTopicIds:
    """Look-ups through librdkafka: aiokafka speaks no request version that carries topic ids."""

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
        if self._client is None:
            quiet = logging.getLogger("streams.librdkafka")
            self._client = AdminClient(self._conf | {"log_level": 2}, logger=quiet)
        ids, missing = {}, {}
        futures = self._client.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT)
        for name, future in futures.items():
            try:
                uuid = future.result(timeout=_TIMEOUT + 1).topic_id
            except KafkaException as error:
                missing[name] = str(error.args[0].name()).strip("_").lower().replace("_", " ")
            except TimeoutError:
                missing[name] = "timed out"
            else:
                ids[name] = _uuid_bytes(uuid.get_most_significant_bits(), uuid.get_least_significant_bits())
        return ids, missing


def _uuid_bytes(high: int, low: int) -> bytes:
    mask = (1 << 64) - 1
    return (((high & mask) << 64) | (low & mask)).to_bytes(16, "big")
