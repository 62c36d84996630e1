"""Decisions read by the layout of their entries are those the codec decodes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec
from schemas.decided import DecisionReader, read
from schemas.errors import Rejected
from schemas.frames import LapseFrame
from schemas.ids import DeliveryId, Handle, LapseId, Micros, RecordId, Slot
from schemas.models import DecisionBatch, Depersonalized, RecordDecided, RecordScope
from tests.unit.schemas.avro_values import records

FEW = settings(max_examples=40)
"""Generated batches are large: the budget of these tests is a second each."""
IDS = st.binary(min_size=16, max_size=16)


def varied(entry: RecordDecided, data: st.DataObject) -> RecordDecided:
    """Another entry of the same layout, or nearly."""
    return replace(
        entry,
        record_id=RecordId(data.draw(IDS)),
        slot=Slot(data.draw(st.integers(0, 255))),
        control_offset=data.draw(st.integers(-1, 9)),
        decided_at=Micros(entry.decided_at ^ data.draw(st.integers(0, 99))),
        links=[replace(link, handle=Handle(data.draw(IDS))) for link in entry.links],
    )


def like(entry: RecordDecided, other: RecordDecided) -> bool:
    """Whether two entries differ in nothing but what `Decided` says they may."""
    links = [replace(link, handle=Handle(b"")) for link in entry.links]
    same = replace(
        entry,
        record_id=other.record_id,
        slot=other.slot,
        control_offset=other.control_offset,
        decided_at=other.decided_at,
        links=links,
    )
    return same == replace(other, links=[replace(link, handle=Handle(b"")) for link in other.links])


@FEW
@given(records("DecisionBatch"), st.data())
def test_a_reader_finds_the_entries_the_codec_finds(raw: dict[str, Any], data: st.DataObject) -> None:
    """The first of each layout and later ones, in their order, also in a later batch."""
    some = msgspec.convert(raw, DecisionBatch, builtin_types=(bytes,)).entries
    entries = [each for entry in some for each in (entry, *(varied(entry, data) for _ in range(5)))]
    reader = DecisionReader()
    for batch in (entries, entries[::-1]):
        found = reader.read(codec.encode(DecisionBatch(entries=batch)))
        assert [(each.record_id, each.slot) for each in found] == [(e.record_id, e.slot) for e in batch]
        assert all(like(each.like, entry) for each, entry in zip(found, batch, strict=True))


@FEW
@given(records("DecisionBatch"), st.data())
def test_a_reader_reads_no_batch_the_codec_refuses(raw: dict[str, Any], data: st.DataObject) -> None:
    """One byte changed or cut off anywhere: the same entries as the codec's, or the same refusal."""
    written = bytearray(codec.encode(msgspec.convert(raw, DecisionBatch, builtin_types=(bytes,))))
    reader = DecisionReader()
    reader.read(bytes(written))
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    value = bytes(written[: data.draw(st.sampled_from([len(written), len(written) - 1, 5]))])
    try:
        decoded = codec.decode(value)
    except Rejected as rejected:
        assert read(reader, value) == ()
        with pytest.raises(Rejected, match=rejected.code):
            reader.read(value)
        return
    expected = decoded.entries if isinstance(decoded, DecisionBatch) else []
    assert [(each.record_id, each.slot) for each in reader.read(value)] == [
        (entry.record_id, entry.slot) for entry in expected
    ]


@FEW
@given(records("RequestStepped"))
def test_what_is_no_batch_has_no_entries(raw: dict[str, Any]) -> None:
    """Other records stand on `decisions`, too."""
    model = codec.MODELS["RequestStepped"]
    assert DecisionReader().read(codec.encode(msgspec.convert(raw, model, builtin_types=(bytes,)))) == []


@FEW
@given(records("Depersonalized"), IDS, IDS, st.lists(st.text(max_size=9), max_size=2))
def test_a_lapse_frame_writes_what_the_codec_writes(
    raw: dict[str, Any], lapse: bytes, delivery: bytes, purposes: list[str]
) -> None:
    """Whatever the cause and the times, for every delivery."""
    scope = RecordScope(delivery_id=DeliveryId(bytes(16)), purposes=purposes)
    first = replace(msgspec.convert(raw, Depersonalized, builtin_types=(bytes,)), scope=scope)
    another = replace(first, lapse_id=LapseId(lapse), scope=replace(scope, delivery_id=DeliveryId(delivery)))
    assert LapseFrame(first).encode(lapse, delivery) == codec.encode(another)
