"""The models and the Avro files say the same: every record, field, type, default and document."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from schemas import ids, models
from schemas.codec import MODELS
from tests.unit.schemas.avro_values import CATALOGUE, NAMES

BASES = {"Record", "Clear", "Command"}
FIXED = {
    **{
        kind: (kind.__name__, 16)
        for kind in (
            ids.EventId,
            ids.RecordId,
            ids.DeliveryId,
            ids.SubjectRef,
            ids.LapseId,
            ids.CommandId,
            ids.RequestId,
            ids.Handle,
        )
    },
}
# Plain bytes in the model whose length the Avro file fixes.
FIXED_BYTES = {
    "reveal_id": 16,
    "receipt_id": 16,
    "about": 16,
    "hold_id": 16,
    "root": 32,
    "sha256": 32,
}


def _tag(model: type[models.Record]) -> str:
    tag = model.__struct_config__.tag
    return tag if isinstance(tag, str) else model.__name__


class Walk:
    """Compares one record's model with its schema, down to the last type; remembers what it met."""

    def __init__(self) -> None:
        self.met: set[type[models.Record]] = set()
        self._named: dict[str, Any] = {}

    def record(self, model: type[models.Record], schema: dict[str, Any]) -> None:
        """Assert that fields, order, types, defaults and docs agree."""
        self.met.add(model)
        assert (schema["type"], schema["name"]) == ("record", _tag(model))
        assert schema["doc"], model
        hints = typing.get_type_hints(model)
        fields = msgspec.structs.fields(model)
        assert [f.name for f in fields] == [f["name"] for f in schema["fields"]]
        for field, written in zip(fields, schema["fields"], strict=True):
            where = f"{model.__name__}.{field.name}"
            assert written["doc"], where
            assert ("default" in written) is not field.required, where
            if not field.required:
                made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
                assert written["default"] == made, where
            self.type(hints[field.name], written["type"], where)

    def type(self, hint: Any, schema: Any, where: str) -> None:
        """Assert that a model's type and an Avro type are the same one."""
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        elif isinstance(schema, dict) and "name" in schema:
            self._named[schema["name"]] = schema
        arguments = typing.get_args(hint)
        origin = typing.get_origin(hint)
        if origin in (typing.Union, types.UnionType):
            self._union(arguments, schema, where)
        elif origin is typing.Literal:
            assert (schema["type"], schema["symbols"]) == ("enum", list(arguments)), where
        elif origin is list:
            assert schema["type"] == "array", where
            self.type(arguments[0], schema["items"], where)
        elif origin is dict:
            assert (schema["type"], arguments[0]) == ("map", str), where
            self.type(arguments[1], schema["values"], where)
        elif isinstance(hint, type) and issubclass(hint, models.Record):
            self.record(hint, schema)
        else:
            assert _is_simple(hint, schema, where.rpartition(".")[2]), f"{where}: {hint} is not {schema}"

    def _union(self, arguments: tuple[Any, ...], schema: Any, where: str) -> None:
        assert isinstance(schema, list), where
        assert ("null" in schema) is (type(None) in arguments), where
        assert "null" not in schema[1:], f"{where}: null first, since it is the default"
        branches = [branch for branch in schema if branch != "null"]
        hints = [a for a in arguments if a is not type(None)]
        assert len(branches) == len(hints), where
        for hint, branch in zip(hints, branches, strict=True):
            self.type(hint, branch, where)


def _is_simple(hint: Any, schema: Any, field: str) -> bool:
    if hint in FIXED:
        return bool(schema == {"type": "fixed", "name": FIXED[hint][0], "size": FIXED[hint][1]})
    if hint is ids.Micros:
        return bool(schema == {"type": "long", "logicalType": "timestamp-micros"})
    plain = getattr(hint, "__supertype__", hint)
    if plain is bytes and field in FIXED_BYTES:
        return bool(schema["type"] == "fixed" and schema["size"] == FIXED_BYTES[field])
    return schema in {int: ("int", "long"), str: ("string",), bool: ("boolean",), bytes: ("bytes",)}[plain]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_the_same_in_python_and_in_avro(name: str) -> None:
    """Every field, type, default and document of a record's newest Avro file is its model's."""
    schema = CATALOGUE.schema(CATALOGUE.id_of(name))
    assert schema["namespace"] == "lapse.v1"
    Walk().record(MODELS[name], schema)


def test_no_model_lacks_an_avro_file() -> None:
    """A model is in the catalogue, or inside a record that is."""
    walked = Walk()
    for name in NAMES:
        walked.record(MODELS[name], CATALOGUE.schema(CATALOGUE.id_of(name)))
    assert {model.__name__ for model in walked.met} == set(MODELS) - BASES


def test_models_are_frozen_and_refuse_unknown_fields() -> None:
    """msgspec inherits both; a record that lost either would let a wrong shape pass."""
    for name, model in MODELS.items():
        assert model.__struct_config__.frozen, name
        assert model.__struct_config__.forbid_unknown_fields, name
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "email", "value": "v", "more": 1}, models.Identifier)


def test_a_union_of_records_stands_only_at_the_top() -> None:
    """The codec maps branches to tagged structs in a record's own fields and nowhere deeper."""
    found = {name: list(_depths(CATALOGUE.schema(CATALOGUE.id_of(name)), 0)) for name in NAMES}
    assert {name: depths for name, depths in found.items() if depths} == {
        "SignalReceived": [1],
        "Depersonalized": [1],
    }


def _depths(schema: Any, depth: int) -> Iterator[int]:
    """Yield how deep in records every union of several records stands."""
    if isinstance(schema, list):
        if len(schema) > 2:
            yield depth
        for branch in schema:
            yield from _depths(branch, depth)
    elif isinstance(schema, dict):
        for field in schema.get("fields", []):
            yield from _depths(field["type"], depth + 1)
        for inside in ("items", "values"):
            yield from _depths(schema.get(inside), depth)
