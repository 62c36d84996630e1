"""Records to bytes and back: Confluent framing around Avro, with the schemas that ship in this package."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, cast

import fastavro
import msgspec

from lapse_client.errors import Invalid
from lapse_client.records import (
    ConsentStated,
    CookieObserved,
    Delivery,
    EmailOpened,
    FormSubmitted,
    Lapse,
    Publishable,
)
from lapse_client.registry import Registry

TOPICS: Mapping[str, str] = {
    "FormSubmitted": "intake.form",
    "EmailOpened": "intake.email-open",
    "CookieObserved": "intake.cookie",
    "SignalReceived": "intake.signal",
}
_NAMES: Mapping[type[Publishable], str] = {
    FormSubmitted: "FormSubmitted",
    EmailOpened: "EmailOpened",
    CookieObserved: "CookieObserved",
    ConsentStated: "SignalReceived",
}
_HEADER = 5
_UNREADABLE = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    msgspec.ValidationError,
)


def record_name(event: Publishable) -> str:
    """The name of the Avro record an event travels as."""
    return _NAMES[type(event)]


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """Record name -> `{id, file, sha256}` of the schemas in this package."""
    text = files("lapse_client").joinpath("avro", "ids.json").read_text(encoding="utf-8")
    return cast("dict[str, dict[str, Any]]", json.loads(text))


def _plain(schema: Any) -> Any:
    """The schema without logical types: a time stays an int of microseconds."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _file(name: str) -> dict[str, Any]:
    text = files("lapse_client").joinpath("avro", catalogue()[name]["file"]).read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


@cache
def _schema(name: str) -> Any:
    return fastavro.parse_schema(_plain(_file(name)), {})


def encode(event: Publishable, registry: Registry | None = None) -> bytes:
    """The framed record, under the registry's id where there is one; Invalid where a member does not fit."""
    name = record_name(event)
    number = registry.id_of(name, _file(name)) if registry else int(catalogue()[name]["id"])
    raw = msgspec.to_builtins(event, builtin_types=(bytes,))
    if isinstance(event, ConsentStated):
        raw["body"] = ("lapse.v1.ConsentStated", {"consents": raw.pop("consents")})
    out = BytesIO()
    out.write(b"\0" + number.to_bytes(4, "big"))
    written = False
    with suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError):
        fastavro.schemaless_writer(out, _schema(name), raw)
        written = True
    if not written:
        raise Invalid("the event does not fit its schema", code="schema_mismatch", where=name)
    return out.getvalue()


def decode(value: bytes | None, registry: Registry | None = None) -> Delivery | Lapse | None:
    """A message of a processor's topic; None for a tick, which has no value. Invalid for anything else.

    `registry` resolves the ids of a Lapse that uses one; the key endpoint's address does as well.
    """
    if value is None:
        return None
    name = _name_of(value, registry)
    body = BytesIO(value)
    body.seek(_HEADER)
    found: Delivery | Lapse | None = None
    # Suppressed rather than chained: foreign errors quote values.
    with suppress(*_UNREADABLE):
        raw = fastavro.schemaless_reader(
            body, _schema(name), None, return_record_name=True, return_record_name_override=True
        )
        found = _delivered(name, raw)
    if found is None:
        raise Invalid("the bytes do not fit their schema", code="schema_mismatch", where=name)
    return found


def _delivered(name: str, raw: Any) -> Delivery | Lapse:
    if name == "RecordDelivered":
        return msgspec.convert(raw, Delivery, builtin_types=(bytes,))
    branch, scope = raw.pop("scope")
    raw["scope"] = {"type": str(branch).rpartition(".")[2], **scope}
    return msgspec.convert(raw, Lapse, builtin_types=(bytes,))


def _name_of(value: bytes, registry: Registry | None) -> str:
    name, framed = None, value[:1] == b"\0" and len(value) >= _HEADER
    if framed:
        number = int.from_bytes(value[1:_HEADER], "big")
        known = {entry["id"]: name for name, entry in catalogue().items()}
        name = registry.name_of(number) if registry else known.get(number)
    if name not in {"RecordDelivered", "Depersonalized"}:
        raise Invalid("neither a delivery nor a lapse", code="schema_unknown")
    return name


def headers(event: Publishable) -> list[tuple[str, bytes]]:
    """CloudEvents headers in binary mode; nothing personal."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.collected_at)
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.event_id.hex().encode()),
        ("ce_source", f"/sites/{event.site}".encode()),
        ("ce_type", f"lapse.v1.{record_name(event)}".encode()),
        ("ce_time", at.isoformat().replace("+00:00", "Z").encode()),
        ("content-type", b"application/avro"),
    ]
