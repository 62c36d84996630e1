"""The path a publisher hears when bytes do not fit their schema."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, diagnosis, framing
from schemas.diagnosis import fault_path
from schemas.errors import Rejected
from tests.unit.schemas.avro_values import CATALOGUE, NAMES, records

FORM: dict[str, Any] = {
    "event_id": b"e" * 16,
    "collected_at": 5,
    "site": "www",
    "form": "demo",
    "identifiers": [{"kind": "email", "value": "value"}],
    "fields": {"key": "field"},
    "consents": [{"purpose": "demo", "granted": True, "notice": "first"}],
    "notice": None,
    "signals": [],
    "backfill": False,
}
BODY = framing.unframe(codec.encode_raw(codec.MODELS["FormSubmitted"], FORM))[1]


def where(body: bytes) -> str:
    """Return the path under which the codec rejects a form with this body."""
    with pytest.raises(Rejected) as caught:
        codec.decode(framing.frame(1, body))
    return caught.value.where


@pytest.mark.parametrize(
    ("find", "replace", "path"),
    [
        (b"www", b"\xff\xff\xff", ".site"),
        (b"\x0avalue", b"\x7fvalue", ".identifiers[].value"),
        (b"\x00\x0avalue", b"\x0a\x0avalue", ".identifiers[].kind"),
        (b"field", b"\xff\xff\xff\xff\xff", ".fields[]"),
        (b"key", b"\xff\xff\xff", ".fields[]"),
        (b"demo\x01\x02", b"demo\x01\x04", ".consents[].notice"),
        (b"\x0afirst", b"\x01first", ".consents[].notice"),
    ],
)
def test_a_fault_has_a_path(find: bytes, replace: bytes, path: str) -> None:
    """Bad text, length, symbol and branch each are named by where they stand, never by what they are."""
    assert BODY.count(find) == 1
    assert where(BODY.replace(find, replace)) == f"lapse.v1.FormSubmitted{path}"


@pytest.mark.parametrize(("cut", "path"), [(3, "event_id"), (16, "collected_at"), (-1, "backfill")])
def test_a_cut_value_names_what_is_missing(cut: int, path: str) -> None:
    """The first value that is not there is the fault."""
    assert where(BODY[:cut]) == f"lapse.v1.FormSubmitted.{path}"


def test_numbers_end() -> None:
    """A number of more than ten bytes is none."""
    schema = codec.parse({"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]})
    assert fault_path(schema, b"\xff" * 11) == "R.n"
    assert fault_path(schema, b"\x80" * 9 + b"\x01") == "R"


def test_a_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage cannot buy time: after some steps the place where the walk stands must do."""
    monkeypatch.setattr(diagnosis, "MAX_STEPS", 20)
    schema = codec.parse(CATALOGUE.schema(1))
    many = codec.encode_raw(codec.MODELS["FormSubmitted"], {**FORM, "signals": ["s"] * 100})
    assert fault_path(schema, framing.unframe(many)[1]) == "lapse.v1.FormSubmitted.signals"


def test_every_avro_type_is_passed_over() -> None:
    """Schemas of others may hold types that ours do not, and blocks with their size."""
    types = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
    fields: list[dict[str, Any]] = [{"name": f"f{i}", "type": kind} for i, kind in enumerate(types)]
    fields.append({"name": "last", "type": {"type": "array", "items": "int"}})
    schema = codec.parse({"type": "record", "name": "R", "fields": fields})
    out = io.BytesIO()
    values = {"f0": None, "f1": True, "f2": -1, "f3": 2**62, "f4": 1.5, "f5": 2.5, "f6": b"b", "f7": "t"}
    fastavro.schemaless_writer(out, schema, {**values, "last": []})
    sized = out.getvalue()[:-1] + b"\x03\x04\x02\x04" + b"\x00"
    assert fault_path(schema, sized) == "R"
    assert fault_path(schema, sized[:-1]) == "R.last"


def test_a_type_defined_earlier_is_known_later() -> None:
    """A second field of a named type says only its name."""
    fixed = {"type": "fixed", "name": "Id", "size": 2}
    fields = [{"name": "a", "type": fixed}, {"name": "b", "type": "Id"}]
    schema = codec.parse({"type": "record", "name": "R", "fields": fields})
    assert fault_path(schema, b"aab") == "R.b"
    assert fault_path(schema, b"aabb") == "R"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_walk_agrees_with_the_reader(name: str, data: st.DataObject) -> None:
    """A record that was written whole has no fault, and one cut short always has one inside it."""
    body = framing.unframe(codec.encode_raw(codec.MODELS[name], data.draw(records(name))))[1]
    schema = codec.parse(CATALOGUE.schema(CATALOGUE.id_of(name)))
    assert fault_path(schema, body) == f"lapse.v1.{name}"
    cut = data.draw(st.integers(0, len(body) - 1))
    assert fault_path(schema, body[:cut]).startswith(f"lapse.v1.{name}.")
