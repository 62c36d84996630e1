"""Reading the log for a command: decoded, as the auditor, who may read every topic but intake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from lapse.main import Installation
from schemas import codec
from schemas.errors import Rejected
from schemas.models import Record
from streams.scan import Scan, Start, scan

AUDITOR = "auditor"


class Where(NamedTuple):
    """Where a record lies, and when the broker appended it (milliseconds since the epoch)."""

    topic: str
    partition: int
    offset: int
    appended_ms: int


def read(
    here: Installation,
    topics: Sequence[str],
    *,
    containing: Sequence[bytes] = (),
    holds: Callable[[bytes], bool] = lambda _: True,
    start: Start = "beginning",
    partitions: Iterable[int] | None = None,
) -> Iterator[tuple[Where, Record]]:
    """Yield every readable record of these topics, or only those whose bytes `holds` is true of.

    With `containing`, only those whose bytes hold one of the ids.

    The bytes are looked at first: decoding a whole topic to find one id costs a hundred times as much.
    """
    here.reach_broker()
    for batch in scan(here.librdkafka(AUDITOR), topics, start=start, partitions=partitions):
        for record in batch.records:
            value = record.value
            if value is None or (containing and not any(needle in value for needle in containing)):
                continue
            if not holds(value):
                continue
            try:
                decoded = codec.decode(value)
            except Rejected:
                continue
            yield Where(batch.topic, batch.partition, record.offset, record.timestamp_ms), decoded


def scanning(here: Installation) -> Scan:
    """Return the one scan as the auditor, for who reads by layout; `Unavailable` where no broker listens."""
    here.reach_broker()
    return partial(scan, here.librdkafka(AUDITOR))
