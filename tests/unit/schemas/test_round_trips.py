"""What we write, we and two other Avro readers read back unchanged, whatever the record holds."""

import io
import json
from typing import Any

import avro.io
import avro.schema
import fastavro
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import codec, framing
from schemas.codec import MODELS
from schemas.errors import Rejected
from schemas.models import Record
from tests.unit.schemas.avro_values import CATALOGUE, NAMES, records, without_tags_and_times

SOME = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", NAMES)
@SOME
@given(data=st.data())
def test_a_record_survives_its_bytes(name: str, data: st.DataObject) -> None:
    """Encoding and decoding give the same model, the same plain values and the catalogue's id."""
    raw = data.draw(records(name))
    record = msgspec.convert(raw, MODELS[name], builtin_types=(bytes,))
    encoded = codec.encode(record)
    assert codec.decode(encoded) == record
    assert codec.decode_as(MODELS[name], encoded) == record
    assert codec.decode_raw(encoded) == (CATALOGUE.id_of(name), raw)
    assert codec.encode_raw(MODELS[name], raw) == encoded


@pytest.mark.parametrize("name", NAMES)
@SOME
@given(data=st.data())
def test_other_readers_see_the_same(name: str, data: st.DataObject) -> None:
    """fastavro and the official avro package, given the checked-in file, read exactly what was written."""
    raw = data.draw(records(name))
    encoded = codec.encode(msgspec.convert(raw, MODELS[name], builtin_types=(bytes,)))
    schema_id, body = framing.unframe(encoded)
    schema = CATALOGUE.schema(schema_id)
    twin = fastavro.schemaless_reader(io.BytesIO(body), fastavro.parse_schema(schema, {}))
    assert without_tags_and_times(twin) == without_tags_and_times(raw)
    assert without_tags_and_times(_official(schema, body)) == without_tags_and_times(raw)


def _official(schema: dict[str, Any], body: bytes) -> Any:
    reader = avro.io.DatumReader(avro.schema.parse(json.dumps(schema)))
    stream = io.BytesIO(body)
    value = reader.read(avro.io.BinaryDecoder(stream))
    assert stream.read() == b""
    return value


@settings(max_examples=400, deadline=None)
@given(schema_id=st.sampled_from(sorted(CATALOGUE.entries)), body=st.binary(max_size=200))
def test_garbage_is_rejected_and_nothing_else(schema_id: int, body: bytes) -> None:
    """Any bytes at all are a record or Rejected under one of three codes; no other error gets out."""
    try:
        decoded = codec.decode(framing.frame(schema_id, body))
    except Rejected as rejected:
        assert rejected.code == "schema_mismatch"
        assert rejected.where.startswith(("lapse.v1.", "$"))
    else:
        assert type(decoded) is codec.model(schema_id)


@pytest.mark.parametrize("name", NAMES)
@SOME
@given(data=st.data())
def test_a_damaged_record_never_breaks_the_reader(name: str, data: st.DataObject) -> None:
    """A cut, lengthened or flipped value is another record or Rejected."""
    raw = data.draw(records(name))
    encoded = bytearray(codec.encode_raw(MODELS[name], raw))
    place = data.draw(st.integers(0, len(encoded) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                bytes(encoded[:place]),
                bytes(encoded) + b"\x00",
                bytes(encoded[:place]) + bytes((encoded[place] ^ 0xFF,)) + bytes(encoded[place + 1 :]),
            ]
        )
    )
    (found,) = codec.decode_many([damaged])
    assert isinstance(found, (Record, Rejected))
