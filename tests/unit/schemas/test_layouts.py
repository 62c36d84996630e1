"""Records read by their layout are what the codec decodes, or are not read by it at all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import Micros, RecordId, Slot
from schemas.layouts import Layout, TaggedReader, cut, places
from schemas.models import RecordTagged
from tests.unit.schemas.avro_values import records

FEW = settings(max_examples=40)
"""Generated records are large: the budget of these tests is a second each."""


def record(raw: dict[str, Any]) -> RecordTagged:
    """A record of generated values."""
    return msgspec.convert(raw, RecordTagged, builtin_types=(bytes,))


@FEW
@given(st.lists(records("RecordTagged"), min_size=1, max_size=3), st.data())
def test_a_reader_reads_what_the_codec_decodes(raws: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever the record, the first time and later, also beside others that differ in what is cut out."""
    reader = TaggedReader()
    for raw in raws:
        first = record(raw)
        id_, slot = st.binary(min_size=16, max_size=16), st.integers(0, 255)
        others = [
            replace(first, record_id=RecordId(data.draw(id_)), slot=Slot(data.draw(slot))) for _ in range(3)
        ]
        for each in (first, *others, first):
            found = reader.read(codec.encode(each))
            assert found.record() == each
            assert (found.record_id, found.slot) == (each.record_id, each.slot)
            assert list(found.handles) == [link.handle for link in each.links]
            assert found == cut(each)


@FEW
@given(records("RecordTagged"), st.data())
def test_a_reader_refuses_what_the_codec_refuses(raw: dict[str, Any], data: st.DataObject) -> None:
    """One byte changed anywhere: what it reads is what the codec reads, and what it does not is not read."""
    reader, written = TaggedReader(), bytearray(codec.encode(record(raw)))
    reader.read(bytes(written))
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = codec.decode_as(RecordTagged, bytes(written))
    except Rejected as rejected:
        with pytest.raises(Rejected, match=rejected.code):
            reader.read(bytes(written))
    else:
        assert reader.read(bytes(written)).record() == expected


@FEW
@given(records("RecordTagged"))
def test_places_say_where_every_compartment_lies(raw: dict[str, Any]) -> None:
    """Sealed bytes and wraps, None where a wrap is empty."""
    made = record(raw)
    found = cut(made)
    for box, (sealed, keys) in zip(made.compartments, places(found.make), strict=True):
        assert found.cells[sealed] == box.sealed
        assert [b"" if key is None else found.cells[key] for key in keys] == [w.key for w in box.wraps]


def test_records_of_one_make_share_it(tagged: RecordTagged) -> None:
    """So that what is worked out for a make is found by identity."""
    reader = TaggedReader()
    later = replace(tagged, tagged_at=Micros(tagged.tagged_at + 1), slot=Slot(200))
    assert reader.read(codec.encode(tagged)).make is reader.read(codec.encode(later)).make


def test_a_reader_keeps_no_more_layouts_than_it_may(tagged: RecordTagged) -> None:
    """Strangers choose which fields they fill in: what they vary is forgotten and learnt again."""
    reader = TaggedReader(most=4)
    for n in (*range(9), *range(9)):
        each = replace(tagged, source="x" * n)
        assert reader.read(codec.encode(each)).make.source == each.source
    assert len(reader._layouts) <= 4 and len(reader._makes) <= 4  # noqa: SLF001 - the bound is the point


@pytest.fixture
def tagged() -> RecordTagged:
    """A small record."""
    return RecordTagged(
        record_id=RecordId(bytes(16)),
        revision=1,
        source="cookie",
        schema_id=3,
        policy=1,
        tagged_at=Micros(1_700_000_000_000_000),
        slot=Slot(3),
        links=[],
        compartments=[],
    )


@given(
    st.lists(st.tuples(st.binary(min_size=2, max_size=2), st.integers(64, 1_000)), max_size=90),
    st.binary(max_size=9),
    st.integers(0, 90),
)
def test_a_run_is_as_long_as_what_is_read_one_by_one(
    each: list[tuple[bytes, int]], rest: bytes, most: int
) -> None:
    """Numbers are whole ones in both, and what follows is of another layout, or cut off."""
    layout = Layout([b"a", b"bc", b"d"], [2, 2], [1])
    data = b"x" + b"".join(b"a" + name + b"bc" + n.to_bytes(2, "big") + b"d" for name, n in each) + rest
    read = 0
    while read < most and layout.read(data, 1 + read * layout.size) is not None:
        read += 1
    assert layout.run(data, 1, most) == read
