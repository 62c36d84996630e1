"""What our tag and route stages make of one event of each kind, in bytes: what a peer copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hot import Bench
from benchmarks.traffic import KINDS, Kind
from streams.out import DECISIONS
from streams.ports import Chunk, Outbound

Made = Sequence[tuple[str, int]]
"""What one record becomes: the topic and the bytes of each that is written."""
Sent = Mapping[tuple[str, int], Sequence[Outbound]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Records of one kind as a role reads them, and what it writes for each of them."""

    read: Sequence[bytes]
    written: Made


def shapes(folder: Path, people: Sequence[int]) -> Mapping[str, Mapping[Kind, Shape]]:
    """What tag and route read and write for an event of each of these people, whom the vault knows."""
    bench = Bench(folder)
    bench.tag(bench.events("form", people))
    bench.tag(bench.events("cookie", people, first=True))
    bench.mail(people)
    bench.sink.take()
    found: dict[str, dict[Kind, Shape]] = {"tag": {}, "route": {}}
    for kind in KINDS:
        events = bench.events(kind, people)
        bench.tag(events)
        tagged = bench.sink.take()
        found["tag"][kind] = _shape(events, tagged)
        records = [
            chunk
            for (topic, partition), some in tagged.items()
            for chunk in bench.inbound(topic, partition, some)
        ]
        bench.route(records)
        found["route"][kind] = _shape(records, bench.sink.take())
    bench.vault.close()
    return found


def _shape(chunks: Sequence[Chunk], sent: Sent) -> Shape:
    """Of each topic as many as one event gives on average; decisions, which are packed, one for each."""
    read = [record.value or b"" for chunk in chunks for record in chunk.records]
    count, size = Counter[str](), Counter[str]()
    for (topic, _), records in sent.items():
        count[topic] += len(records)
        size[topic] += sum(len(record.value or b"") for record in records)
    written = []
    for topic in sorted(count):
        each = 1 if topic == DECISIONS else round(count[topic] / len(read))
        written += [(topic, size[topic] // (each * len(read)))] * each
    return Shape(read=read, written=written)
