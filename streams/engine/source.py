"""A `Source` over one agent's stream: what lies ready in its queue is handed out together."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from streams.engine.shared import Shared
from streams.ledger import Delivery, Place
from streams.ports import Chunk, Sheaf


class StreamSource:
    """A `Source`; what weighs up to `most`, of all partitions, makes a sheaf; with 0 each chunk is one.

    A chunk's `token` is the deliveries it was joined from.
    """

    def __init__(self, stream: Any, shared: Shared, most: int) -> None:
        self._stream = stream
        self._shared = shared
        self._most = most
        self._ready: deque[Chunk] = deque()

    async def sheaves(self) -> AsyncIterator[Sheaf]:
        """Yield what is ready and still counts; it is `in_hand` until the next is asked for."""
        shared, queue = self._shared, self._stream.channel.queue
        # noack: stock Faust acknowledges, and so loses, an event whose agent raised
        async for event in self._stream.noack().events():
            self._ready.append(event.value)
            while self._ready:
                ahead = sum(map(_weight, self._ready))
                while ahead < self._most and not queue.empty():
                    self._ready.append(queue.get_nowait().value)
                    ahead += _weight(self._ready[-1])
                sheaf = self._gather()
                if not sheaf:
                    continue
                held = [delivery for chunk in sheaf for delivery in _deliveries(chunk)]
                shared.in_hand.update(held)
                try:
                    yield sheaf
                finally:
                    shared.in_hand.difference_update(held)

    def ack(self, chunk: Chunk) -> None:
        """See `Source`."""
        for delivery in _deliveries(chunk):
            if self._shared.ledger.ack(delivery):
                self._shared.status.progress()

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        """See `Source`; carried out before the next fetch."""
        self._shared.ledger.seek(Place(topic, partition), offset)

    def _gather(self) -> Sheaf:
        """What is ready and still counts, up to `most`, as one chunk for each partition.

        A chunk behind a hole begins the next sheaf: only a chunk's own start shows what the log has lost.
        """
        found: dict[tuple[str, int, bytes], list[Chunk]] = {}
        taken = 0
        while self._ready:
            chunk = self._ready[0]
            if self._counts(chunk):
                taken += _weight(chunk)
                place = (chunk.topic, chunk.partition, chunk.topic_id)
                before = found.get(place)
                hole = before is not None and chunk.first_offset != before[-1].last_offset + 1
                if found and (taken > self._most or hole):
                    break
                found.setdefault(place, []).append(chunk)
            self._ready.popleft()
        return [_joined(chunks) for chunks in found.values()]

    def _counts(self, chunk: Chunk) -> bool:
        shared = self._shared
        return not shared.draining and all(map(shared.ledger.holds, _deliveries(chunk)))


def _deliveries(chunk: Chunk) -> Iterator[Delivery]:
    tokens = chunk.token if isinstance(chunk.token, tuple) else (chunk.token,)
    return (each for each in tokens if isinstance(each, Delivery))


def _weight(chunk: Chunk) -> int:
    return sum(delivery.weight for delivery in _deliveries(chunk))


def _joined(chunks: list[Chunk]) -> Chunk:
    """Chunks of one partition that follow each other, as one."""
    if len(chunks) == 1:
        return chunks[0]
    return replace(
        chunks[0],
        records=list(chain.from_iterable(chunk.records for chunk in chunks)),
        token=tuple(chunk.token for chunk in chunks),
    )
