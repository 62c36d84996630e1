"""Records laid out by hand are, byte for byte, what the codec writes."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec
from schemas.avrobytes import number
from schemas.errors import BadInput
from schemas.frames import DecisionFrame, DeliveredFrame, FrameGrant, TaggedFrame, pack_decisions
from schemas.ids import DeliveryId, Handle, Micros, Period, RecordId, Slot, Terms
from schemas.models import Compartment, DecisionBatch, Link, RecordDelivered, RecordTagged, Wrap
from tests.unit.schemas.avro_values import records

INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
IDS = st.binary(min_size=16, max_size=16)
CATEGORIES = st.lists(st.integers(0, 300), max_size=3)


@st.composite
def tagged(draw: st.DrawFn) -> RecordTagged:
    """Any record whose compartments derive the key of their first link."""
    links = draw(
        st.lists(
            st.builds(Link, purpose=st.integers(0, 70), period=LONGS, terms=INTS, handle=IDS),
            min_size=1,
            max_size=4,
        )
    )
    keys = st.binary(min_size=40, max_size=40)
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        opens = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
        wraps = [Wrap(link=opens[0], key=b"")] + [Wrap(link=n, key=draw(keys)) for n in opens[1:]]
        sealed = draw(st.one_of(st.binary(max_size=90), st.just(bytes(9000))))
        boxes.append(Compartment(categories=draw(CATEGORIES), sealed=sealed, wraps=wraps))
    return RecordTagged(
        record_id=RecordId(draw(IDS)),
        revision=draw(INTS),
        source=draw(st.text(max_size=20)),
        schema_id=draw(INTS),
        policy=draw(INTS),
        tagged_at=Micros(draw(LONGS)),
        slot=Slot(draw(st.integers(0, 255))),
        links=links,
        compartments=boxes,
    )


def framed(record: RecordTagged) -> bytes:
    """The record by way of a frame."""
    frame = TaggedFrame(
        revision=record.revision,
        source=record.source,
        schema_id=record.schema_id,
        policy=record.policy,
        links=[(link.purpose, link.period, link.terms) for link in record.links],
        parts=[(box.categories, [wrap.link for wrap in box.wraps]) for box in record.compartments],
    )
    sealed = [
        part for box in record.compartments for part in (box.sealed, *(wrap.key for wrap in box.wraps[1:]))
    ]
    handles = [link.handle for link in record.links]
    # The same record twice: what is written of one says nothing of what is written of the other.
    ids, when, slots = [record.record_id] * 2, number(record.tagged_at), [record.slot] * 2
    one, other = frame.encode(
        ids, when, slots, [[each] * 2 for each in handles], [[each] * 2 for each in sealed]
    )
    assert one == other
    return one


@given(tagged())
def test_a_tagged_frame_writes_what_the_codec_writes(record: RecordTagged) -> None:
    """Also for numbers of every size and a sealed part longer than the numbers known by themselves."""
    assert framed(record) == codec.encode(record)


@pytest.mark.parametrize("encode", [framed, codec.encode])
def test_a_record_too_large_is_refused_by_a_frame_too(encode: Callable[[RecordTagged], bytes]) -> None:
    """What no broker would take is bad input here as it is in the codec."""
    box = Compartment(categories=[1], sealed=bytes(1_000_001), wraps=[Wrap(link=0, key=b"")])
    record = RecordTagged(
        record_id=RecordId(bytes(16)),
        revision=1,
        source="form/x",
        schema_id=1,
        policy=1,
        tagged_at=Micros(0),
        slot=Slot(0),
        links=[Link(purpose=0, period=Period(0), terms=Terms(0), handle=Handle(bytes(16)))],
        compartments=[box],
    )
    with pytest.raises(BadInput):
        encode(record)


@given(records("RecordDelivered"), st.data())
def test_a_delivered_frame_writes_what_the_codec_writes(raw: dict[str, Any], data: st.DataObject) -> None:
    """Any grants, and compartments of one category each; a wrap has forty bytes."""
    for box in raw["compartments"]:
        box["categories"] = [data.draw(st.text(max_size=9))]
        for wrap in box["wraps"]:
            wrap["key"] = data.draw(st.binary(min_size=40, max_size=40))
    record = msgspec.convert(raw, RecordDelivered, builtin_types=(bytes,))
    frame = DeliveredFrame(
        revision=record.revision,
        source=record.source,
        schema_id=record.schema_id,
        grants=[FrameGrant(g.purpose, g.period, g.terms, g.decided, g.use_until) for g in record.grants],
        parts=[(box.categories[0], [wrap.grant for wrap in box.wraps]) for box in record.compartments],
    )
    sealed = [part for box in record.compartments for part in (box.sealed, *(wrap.key for wrap in box.wraps))]
    another = replace(record, delivery_id=DeliveryId(data.draw(IDS)))
    found = frame.encode(
        [record.delivery_id, another.delivery_id],
        [record.subject_ref] * 2,
        [[grant.handle] * 2 for grant in record.grants],
        [[part] * 2 for part in sealed],
    )
    assert found == [codec.encode(record), codec.encode(another)]


@given(records("DecisionBatch"), st.data())
def test_decision_frames_write_what_the_codec_writes(raw: dict[str, Any], data: st.DataObject) -> None:
    """Entries that differ from the one a frame was made of in id, slot and handles alone."""
    batch = msgspec.convert(raw, DecisionBatch, builtin_types=(bytes,))
    entries, encoded = [], []
    for entry in batch.entries:
        frame = DecisionFrame(entry)
        links = [replace(link, handle=Handle(data.draw(IDS))) for link in entry.links]
        slot = Slot(data.draw(st.integers(0, 255)))
        like = replace(entry, record_id=RecordId(data.draw(IDS)), slot=slot, links=links)
        entries.append(like)
        encoded.append(frame.encode(like.record_id, like.slot, [link.handle for link in links]))
    assert pack_decisions(encoded) == codec.encode(DecisionBatch(entries=entries))
