"""Hypothesis strategies drawn from the Avro files alone, so that they know nothing of the models."""

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from schemas.catalogue import Catalogue

CATALOGUE = Catalogue.load()
NAMES = sorted(CATALOGUE.latest())

Schema = Any
Raw = dict[str, Any]

# Inside datetime's years, so that the official package can express each.
MICROS = st.integers(-(10**15), 2 * 10**17)
RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}


def records(name: str) -> st.SearchStrategy[Raw]:
    """Draw plain values of the newest version of a record, a union's branch named by the key `type`."""
    return _values(CATALOGUE.schema(CATALOGUE.id_of(name)), {})


def _values(schema: Schema, named: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    if isinstance(schema, list):
        branches = [_branch(branch, named, len(schema) - schema.count("null") > 1) for branch in schema]
        return st.one_of(branches)
    if isinstance(schema, str):
        return named[schema] if schema in named else _primitive(schema)
    if schema["type"] in ("record", "enum", "fixed"):
        named[schema["name"]] = found = _named(schema, named)
        return found
    if schema["type"] == "array":
        return st.lists(_values(schema["items"], named), max_size=3)
    if schema["type"] == "map":
        return st.dictionaries(st.text(max_size=5), _values(schema["values"], named), max_size=3)
    return MICROS if schema.get("logicalType") == "timestamp-micros" else _primitive(schema["type"])


def _branch(schema: Schema, named: dict[str, st.SearchStrategy[Any]], tagged: bool) -> st.SearchStrategy[Any]:
    values = _values(schema, named)
    return values.map(lambda raw: {"type": schema["name"], **raw}) if tagged else values


def _named(schema: Raw, named: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    if schema["type"] == "enum":
        return st.sampled_from(schema["symbols"])
    if schema["type"] == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    return st.fixed_dictionaries({field["name"]: _values(field["type"], named) for field in schema["fields"]})


def _primitive(name: str) -> st.SearchStrategy[Any]:
    if name in RANGES:
        return st.integers(*RANGES[name])
    known = {"null": st.none(), "boolean": st.booleans(), "string": st.text(max_size=8)}
    return known.get(name, st.binary(max_size=8))


def without_tags_and_times(value: Any) -> Any:
    """Return decoded values of any library in one shape: times as microseconds, unions without their tag."""
    if isinstance(value, dict):
        return {key: without_tags_and_times(v) for key, v in value.items() if key != "type"}
    if isinstance(value, list):
        return [without_tags_and_times(v) for v in value]
    if isinstance(value, datetime):
        since = value - datetime.fromtimestamp(0, value.tzinfo)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return value
