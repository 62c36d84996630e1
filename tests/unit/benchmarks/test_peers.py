"""The peers of the workers do as much as the workers do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.hot import PARTITIONS, Bench
from benchmarks.peers import stock
from benchmarks.peers.__main__ import Found, figures
from benchmarks.peers.shapes import shapes
from benchmarks.traffic import KINDS
from schemas import codec
from schemas.models import DecisionBatch
from streams.out import DECISIONS
from streams.ports import Chunk, Outbound
from streams.surroundings import Surroundings

PEOPLE = range(3)
Sent = Mapping[tuple[str, int], Sequence[Outbound]]


def amounts(sent: Sent) -> tuple[dict[str, int], dict[str, float]]:
    """How many records went to each topic, and their bytes on average; of decisions each entry counts."""
    count, size = Counter[str](), Counter[str]()
    for (topic, _), records in sent.items():
        for record in records:
            assert record.value is not None
            batch = codec.decode(record.value) if topic == DECISIONS else None
            count[topic] += len(batch.entries) if isinstance(batch, DecisionBatch) else 1
            size[topic] += len(record.value)
    return dict(count), {topic: size[topic] / n for topic, n in count.items()}


def assert_alike(one: Sent, other: Sent) -> None:
    """The same numbers; sizes as near as a slot, which takes a byte or two, and the head of a batch allow."""
    (counts, sizes), (counted, sized) = amounts(one), amounts(other)
    assert counts == counted
    assert sizes == pytest.approx(sized, abs=8)


def known(folder: Path) -> Bench:
    """Stages whose vault knows the people."""
    folder.mkdir()
    bench = Bench(folder)
    bench.tag(bench.events("form", PEOPLE))
    bench.tag(bench.events("cookie", PEOPLE, first=True))
    bench.mail(PEOPLE)
    bench.sink.take()
    return bench


async def alone(bench: Bench, role: str, chunks: Sequence[Chunk]) -> Sent:
    """What the stock agents send, which take the records of chunks one by one."""
    around = Surroundings(
        vault=bench.vault,
        sink=bench.sink,
        partitions=lambda _topic: PARTITIONS,
        service_key=bytes(32),
        pixel_keys=bench.pixels,
    )
    handle = stock.plain(around, role)
    for chunk in chunks:
        for record in chunk.records:
            await handle(chunk.topic, chunk.partition, record)
    return bench.sink.take()


def flow(bench: Bench, sent: Sent) -> list[Chunk]:
    """What route reads of what tag has sent."""
    return [
        chunk for (topic, partition), some in sent.items() for chunk in bench.inbound(topic, partition, some)
    ]


def test_stock_agents(tmp_path: Path) -> None:
    """Stock agents send as many records of the same sizes as our stages do."""
    ours, theirs = known(tmp_path / "ours"), known(tmp_path / "theirs")
    for kind in KINDS:
        ours.tag(ours.events(kind, PEOPLE))
        tagged = ours.sink.take()
        alike = asyncio.run(alone(theirs, "tag", theirs.events(kind, PEOPLE)))
        assert_alike(alike, tagged)
        ours.route(flow(ours, tagged))
        assert_alike(asyncio.run(alone(theirs, "route", flow(theirs, alike))), ours.sink.take())


def test_shapes(tmp_path: Path) -> None:
    """What Kafka Streams copies has the sizes of what our stages read and write."""
    found = shapes(tmp_path, PEOPLE)
    for role, kinds in found.items():
        assert all(len(shape.read) == len(PEOPLE) for shape in kinds.values()), role
    assert {kind: len(shape.written) for kind, shape in found["tag"].items()} == dict.fromkeys(KINDS, 1)
    written = {kind: Counter(topic for topic, _ in shape.written) for kind, shape in found["route"].items()}
    assert {kind: topics[DECISIONS] for kind, topics in written.items()} == dict.fromkeys(KINDS, 1)
    assert {kind: topics.total() - 1 for kind, topics in written.items()} == {
        "form": 4,
        "email-open": 1,
        "cookie": 1,
    }
    for kind, shape in found["tag"].items():
        ((_, size),) = shape.written
        assert size == sum(map(len, found["route"][kind].read)) // len(PEOPLE)


def test_left_out() -> None:
    """A peer that could not be built is left out."""
    found = Found(ours={"tag": 50.0}, faust={"tag": 500.0, "copy": 250.0})
    rows = list(figures(found))
    assert [row.figure for row in rows if row.unit == "times"] == [10.0]
    assert not any("Kafka Streams" in row.what for row in rows)
