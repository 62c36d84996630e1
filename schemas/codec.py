"""Bytes to records and back: Confluent framing around Avro, at the speed of fastavro, checked by msgspec.

Schemas are parsed once per id. Logical types are dropped at parse, so a time stays an int of microseconds. A
union of records travels in Avro as a branch and in Python as a tagged struct. What cannot be read is
`Rejected` with a code and a schema path: the value itself never enters an error, and foreign errors, which
quote it, are not chained.
"""

import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import fastavro
import msgspec

from schemas import framing, models
from schemas.catalogue import NAMESPACE, Catalogue
from schemas.diagnosis import fault_path
from schemas.errors import BadInput, Rejected
from schemas.models import Record

R = TypeVar("R", bound=Record)
Raw = dict[str, Any]
"""A record as plain dicts, lists, str, int, bool and bytes, a union's branch named by the key `type`."""

UNREADABLE = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    fastavro.read.SchemaResolutionError,
)
"""What fastavro raises on bytes that do not fit their schema."""
_PATH = re.compile(r"`(\$[^`]*)`$")


class SchemaIds(Protocol):
    """Where schema ids come from: the catalogue, or a registry."""

    def id_of(self, name: str) -> int:
        """Return the id we write this record under."""
        ...

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return the Avro schema of an id; Rejected `schema_unknown` if there is none."""
        ...


class _Reader(NamedTuple):
    schema_id: int
    name: str
    writer: dict[str, Any]
    reader: dict[str, Any] | None
    unions: tuple[str, ...]
    model: type[Record]


class _Writer(NamedTuple):
    header: bytes
    schema: dict[str, Any]
    unions: tuple[str, ...]


class Codec:
    """Encodes and decodes with one source of schema ids; thread-safe, since its caches only grow."""

    def __init__(self, ids: SchemaIds) -> None:
        self._ids = ids
        self._readers: dict[bytes, _Reader] = {}
        self._writers: dict[type[Record], _Writer] = {}

    def schema_id(self, cls: type[Record]) -> int:
        """Return the id this record is written under."""
        return self._ids.id_of(cls.__name__)

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return the Avro schema behind an id; Rejected `schema_unknown` for what is none of our records."""
        schema = self._ids.schema(schema_id)
        _known(schema)
        return schema

    def encode(self, record: Record) -> bytes:
        """Return the framed record; BadInput where it breaks its own schema or is over the size limit."""
        try:
            raw = msgspec.to_builtins(record, builtin_types=(bytes,))
        except (TypeError, ValueError):
            raw = {}
        return self.encode_raw(type(record), raw)

    def encode_raw(self, cls: type[Record], raw: Raw) -> bytes:
        """Return the framed record from plain values, for hot paths that need no model."""
        writer = self._writers.get(cls) or self._writer(cls)
        out = BytesIO()
        out.write(writer.header)
        try:
            for name in writer.unions:
                raw = {**raw, name: (f"{NAMESPACE}.{raw[name]['type']}", raw[name])}
            fastavro.schemaless_writer(out, writer.schema, raw)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError):
            written = False
        else:
            written = True
        if not written:
            raise BadInput("schema_mismatch", "the record does not fit its schema", cls.__name__)
        if out.tell() > framing.MAX_BYTES:
            raise BadInput("too_large", f"longer than {framing.MAX_BYTES} bytes", cls.__name__)
        return out.getvalue()

    def decode(self, data: bytes) -> Record:
        """Return the record; Rejected where framing, schema id or bytes are wrong."""
        reader, raw = self._read(data)
        return _checked(reader.model, raw)

    def decode_as(self, cls: type[R], data: bytes) -> R:
        """Return the record if it is of this kind, else Rejected `schema_mismatch`."""
        reader, raw = self._read(data)
        if reader.model is not cls:
            raise Rejected(
                "schema_mismatch", "another kind of record stands here", f"{NAMESPACE}.{reader.name}"
            )
        return _checked(cls, raw)

    def decode_raw(self, data: bytes) -> tuple[int, Raw]:
        """Return schema id and plain values, for hot paths; only Avro's types have been checked."""
        reader, raw = self._read(data)
        return reader.schema_id, raw

    def decode_many(self, values: Iterable[bytes]) -> list[Record | Rejected]:
        """Return for every value its record or why there is none: one bad record never costs a chunk."""
        found: list[Record | Rejected] = []
        for data in values:
            try:
                found.append(self.decode(data))
            except Rejected as rejected:
                found.append(rejected)
        return found

    def model(self, schema_id: int) -> type[Record]:
        """Return the model an id is read as; Rejected `schema_unknown` if there is none."""
        return self._open(framing.header(schema_id)).model

    def _read(self, data: bytes) -> tuple[_Reader, Raw]:
        reader = self._readers.get(data[: framing.HEADER])
        if reader is None or len(data) > framing.MAX_BYTES:
            reader = self._open(data)
        body = BytesIO(data)
        body.seek(framing.HEADER)
        try:
            raw = fastavro.schemaless_reader(
                body, reader.writer, reader.reader, return_record_name=True, return_record_name_override=True
            )
        except UNREADABLE:
            raw = None
        if raw is None:
            where = fault_path(reader.writer, data[framing.HEADER :])
            raise Rejected("schema_mismatch", "the bytes do not fit their schema", where)
        if body.tell() != len(data):
            raise Rejected("schema_mismatch", "bytes follow the record", f"{NAMESPACE}.{reader.name}")
        for name in reader.unions:
            branch, fields = raw[name]
            raw[name] = {"type": branch.rpartition(".")[2], **fields}
        return reader, raw

    def _open(self, data: bytes) -> _Reader:
        schema_id, _ = framing.unframe(data)
        writer, name = _known(self._ids.schema(schema_id))
        model = MODELS[name]
        try:
            ours = self._ids.id_of(name)
        except BadInput:
            raise _unknown() from None
        reader = None if ours == schema_id else parse(self._ids.schema(ours))
        opened = _Reader(schema_id, name, writer, reader, _unions(reader or writer), model)
        self._readers[data[: framing.HEADER]] = opened
        return opened

    def _writer(self, cls: type[Record]) -> _Writer:
        schema_id = self.schema_id(cls)
        schema = parse(self._ids.schema(schema_id))
        writer = self._writers[cls] = _Writer(framing.header(schema_id), schema, _unions(schema))
        return writer


def _travelling() -> dict[str, type[Record]]:
    found = [m for m in vars(models).values() if isinstance(m, type) and issubclass(m, Record)]
    return {model.__name__: model for model in found}


MODELS: Mapping[str, type[Record]] = _travelling()
"""Every model by its name, which is also its Avro name."""


def parse(schema: dict[str, Any]) -> dict[str, Any]:
    """Return fastavro's parsed form of a schema, without logical types."""
    return cast(dict[str, Any], fastavro.parse_schema(_plain(schema), {}))


def _known(schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a schema parsed, and the name of our model it is for; Rejected where it is none of ours."""
    try:
        parsed = parse(schema)
    except (fastavro.schema.SchemaParseException, ValueError, KeyError, TypeError):
        raise _unknown() from None
    namespace, _, name = str(parsed["name"]).rpartition(".")
    if namespace != NAMESPACE or name not in MODELS:
        raise _unknown()
    return parsed, name


def _unknown() -> Rejected:
    return Rejected("schema_unknown", "the schema is not one of ours", "schema id")


def _plain(schema: Any) -> Any:
    """Return the schema without logical types, wherever they stand."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    return schema


def _unions(schema: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields that are unions of several records."""
    return tuple(
        f["name"] for f in schema["fields"] if isinstance(f["type"], list) and "null" not in f["type"]
    )


def _checked(cls: type[R], raw: Raw) -> R:
    try:
        return msgspec.convert(raw, type=cls, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
    raise Rejected("schema_mismatch", "the record does not fit its model", path[1] if path else "$")


_current: list[Codec] = []


def _codec() -> Codec:
    if not _current:
        _current.append(Codec(Catalogue.load()))
    return _current[0]


def use(ids: SchemaIds) -> None:
    """Take schema ids from here from now on, such as a registry; for the composition root."""
    _current[:] = [Codec(ids)]


def encode(record: Record) -> bytes:
    """Return the framed record; BadInput where it breaks its own schema."""
    return _codec().encode(record)


def encode_raw(cls: type[Record], raw: Raw) -> bytes:
    """Return the framed record from plain values, for hot paths."""
    return _codec().encode_raw(cls, raw)


def decode(data: bytes) -> Record:
    """Return the record; Rejected where framing, schema id or bytes are wrong."""
    return _codec().decode(data)


def decode_as(cls: type[R], data: bytes) -> R:
    """Return the record if it is of this kind, else Rejected."""
    return _codec().decode_as(cls, data)


def decode_raw(data: bytes) -> tuple[int, Raw]:
    """Return schema id and plain values, for hot paths."""
    return _codec().decode_raw(data)


def decode_many(values: Iterable[bytes]) -> list[Record | Rejected]:
    """Return for every value its record or why there is none."""
    return _codec().decode_many(values)


def schema_id(cls: type[Record]) -> int:
    """Return the id this record is written under."""
    return _codec().schema_id(cls)


def schema(schema_id: int) -> dict[str, Any]:
    """Return the Avro schema behind an id; Rejected for what is none of our records."""
    return _codec().schema(schema_id)


def model(schema_id: int) -> type[Record]:
    """Return the model an id is read as."""
    return _codec().model(schema_id)
