"""Events read straight from their bytes are what the codec decodes, and what it refuses is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import Rejected
from schemas.events import EVENTS, Event, EventReader
from schemas.ids import EventId, Micros
from schemas.models import CookieObserved, EmailOpened, FormSubmitted
from tests.unit.schemas.avro_values import CATALOGUE, records

_ID, _AT = EventId(bytes(16)), Micros(10**15)
FORM = FormSubmitted(
    event_id=_ID,
    collected_at=_AT,
    site="www",
    form="demo",
    identifiers=[],
    fields={"email": "a"},
    consents=[],
)
PLAIN: dict[str, Event] = {
    "FormSubmitted": FORM,
    "EmailOpened": EmailOpened(
        event_id=_ID, collected_at=_AT, site="www", token="t", open_kind="direct", ip="192.0.2.1"
    ),
    "CookieObserved": CookieObserved(event_id=_ID, collected_at=_AT, site="www", name="view", url="u" * 100),
}
FEW = settings(max_examples=25)
KINDS: dict[str, type[Event]] = {model.__name__: model for model in EVENTS}
TODAY = st.integers(10**15, 2 * 10**15)
"""Times as real events have them, which are read without the codec."""


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A generated event as its publisher sends it."""
    name = draw(st.sampled_from(sorted(KINDS)))
    raw: dict[str, Any] = draw(records(name))
    if draw(st.booleans()):
        raw = {**raw, "collected_at": Micros(draw(TODAY))}
    return codec.encode(msgspec.convert(raw, KINDS[name], builtin_types=(bytes,)))


@FEW
@given(st.lists(written(), min_size=1, max_size=4))
def test_a_reader_reads_what_the_codec_decodes(values: list[bytes]) -> None:
    """Whatever the event, the first time and when its parts are known."""
    reader = EventReader()
    for data in (*values, *values):
        assert reader.read(data) == codec.decode(data)


@settings(max_examples=60)
@given(written(), st.data())
def test_a_reader_refuses_what_the_codec_refuses(data: bytes, drawn: st.DataObject) -> None:
    """A byte changed, the end cut off or something behind it: the reader says what the codec says."""
    reader, broken = EventReader(), bytearray(data)
    reader.read(data)
    place = drawn.draw(st.integers(0, len(broken) - 1))
    match drawn.draw(st.sampled_from(("changed", "cut", "longer"))):
        case "changed":
            broken[place] = drawn.draw(st.integers(0, 255))
        case "cut":
            del broken[place:]
        case _:
            broken += drawn.draw(st.binary(min_size=1, max_size=3))
    try:
        expected = codec.decode(bytes(broken))
    except Rejected as rejected:
        with pytest.raises(Rejected) as refused:
            reader.read(bytes(broken))
        assert (refused.value.code, refused.value.where) == (rejected.code, rejected.where)
    else:
        assert reader.read(bytes(broken)) == expected


@pytest.mark.parametrize("name", sorted(KINDS))
def test_plain_events_are_read_without_the_codec(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schemas in the catalogue are those the reader knows, and its short way is taken."""
    event = PLAIN[name]
    reader, data = EventReader(), codec.encode(event)
    first = reader.read(data)
    monkeypatch.setattr(codec, "decode", None)
    monkeypatch.setattr(codec, "decode_as", None)
    assert reader.read(data) == first == event


class _Other:
    """Ids under which a form has one field more."""

    def id_of(self, name: str) -> int:
        return CATALOGUE.id_of(name)

    def schema(self, schema_id: int) -> dict[str, Any]:
        schema = CATALOGUE.schema(schema_id)
        if schema["name"] == "FormSubmitted":
            more = {"name": "more", "type": "string", "default": ""}
            schema = {**schema, "fields": [*schema["fields"], more]}
        return schema


def test_another_version_of_a_schema_is_left_to_the_codec() -> None:
    """Bytes of a schema nobody knew when the reader was written are never read as another."""
    data = codec.encode(FORM)
    codec.use(_Other())
    try:
        with pytest.raises(Rejected):
            EventReader().read(data)
    finally:
        codec.use(CATALOGUE)
