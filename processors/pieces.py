"""A chunk of a processor's topic, who does it, and how it falls into pieces done one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from schemas.codec import decode
from schemas.errors import Rejected
from schemas.models import Depersonalized, RecordDelivered


class InboundLike(Protocol):
    """One record of a chunk (`streams.ports.Inbound`)."""

    @property
    def offset(self) -> int:
        """Where it lies."""

    @property
    def value(self) -> bytes | None:
        """The framed record; None for a tick, which only rolls a segment."""


class ChunkLike(Protocol):
    """A chunk (`streams.ports.Chunk`)."""

    @property
    def topic_id(self) -> bytes:
        """Kafka's id of the topic."""

    @property
    def partition(self) -> int:
        """The partition."""

    @property
    def records(self) -> Sequence[InboundLike]:
        """Not empty, offsets ascending."""


class Handler(Protocol):
    """What the connect agent of one processor drives; `Connector` and `Plain` are the two there are."""

    async def handle(self, chunk: ChunkLike) -> int | None:
        """Do one chunk; None when it may be acknowledged, else where another worker has gone on."""

    async def run(self) -> None:
        """Do what had to wait, until cancelled."""

    def waiting(self) -> int:
        """Return how much has still to be done at the recipient."""

    async def close(self) -> None:
        """Release connections."""


def pieces(
    records: Sequence[InboundLike], batch: int
) -> Iterator[Depersonalized | list[tuple[RecordDelivered, bytes]]]:
    """Split a chunk where lapses stand: what was delivered before one is entered before it is marked."""
    run: list[tuple[RecordDelivered, bytes]] = []
    for record in records:
        if record.value is None:  # a tick: it only rolls a segment
            continue
        match decode(record.value):
            case RecordDelivered() as delivery:
                run.append((delivery, record.value))
            case Depersonalized() as lapse:
                if run:
                    yield run
                    run = []
                yield lapse
            case _:
                raise Rejected(
                    "schema_mismatch", "not a record of a processor's topic", f"offset {record.offset}"
                )
        if len(run) >= batch:
            yield run
            run = []
    if run:
        yield run
