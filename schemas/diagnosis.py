"""Where in a schema bytes stop being a record: the path a publisher needs and fastavro does not tell.

Only for values already refused. It walks the schema over the bytes and keeps nothing of them; the walk is
bounded, since whoever sends garbage must not buy time with it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_STEPS = 2000
"""Values looked at before giving up; a form of 200 fields has about 400."""


def fault_path(schema: Mapping[str, Any], body: bytes) -> str:
    """Return the path of the first value that cannot be read.

    Such as `lapse.v1.FormSubmitted.consents[].purpose`.

    `schema` is fastavro's parsed form. Where every value can be read by itself the path is the record's name.
    """
    walk = _Walk(body, dict(_named(schema)))
    try:
        walk.value(schema, str(schema["name"]))
    except _FoundError as found:
        return found.path
    return str(schema["name"])


def _named(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield every named type defined anywhere inside a schema."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _named(branch)
    elif isinstance(schema, Mapping):
        if "name" in schema:
            yield schema["name"], schema
        inside = [field["type"] for field in schema.get("fields", [])]
        for part in (*inside, schema.get("items"), schema.get("values")):
            yield from _named(part)


class _FoundError(Exception):
    """Ends the walk with the path it stands at."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path


class _Walk:
    def __init__(self, body: bytes, named: Mapping[str, Any]) -> None:
        self._body = body
        self._named = named
        self._at = 0
        self._steps = 0

    def value(self, schema: Any, path: str) -> None:
        """Pass over one value."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _FoundError(path.partition("[")[0])
        if isinstance(schema, list):
            self.value(schema[self._index(len(schema), path)], path)
            return
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind == "record":
            for field in schema["fields"]:
                self.value(field["type"], f"{path}.{field['name']}")
        elif kind in ("array", "map"):
            self._blocks(schema, kind, path)
        elif kind == "enum":
            self._index(len(schema["symbols"]), path)
        else:
            self._simple(schema, kind, path)

    def _simple(self, schema: Any, kind: str, path: str) -> None:
        if kind in ("int", "long"):
            self._number(path)
        elif kind == "fixed":
            self._take(schema["size"], path)
        elif kind in ("string", "bytes"):
            content = self._take(self._number(path), path)
            if kind == "string" and not _is_text(content):
                raise _FoundError(path)
        else:
            self._take({"boolean": 1, "float": 4, "double": 8}.get(kind, 0), path)

    def _blocks(self, schema: Any, kind: str, path: str) -> None:
        while count := self._number(path):
            if count < 0:
                # A negative count is followed by the block's size in bytes (Avro 1.11, Arrays).
                self._number(path)
            for _ in range(abs(count)):
                if kind == "map":
                    self.value("string", f"{path}[]")
                self.value(schema["items" if kind == "array" else "values"], f"{path}[]")

    def _index(self, count: int, path: str) -> int:
        index = self._number(path)
        if not 0 <= index < count:
            raise _FoundError(path)
        return index

    def _number(self, path: str) -> int:
        """Read a zigzag variable-length number of at most ten bytes."""
        raw = 0
        for shift in range(0, 70, 7):
            byte = self._take(1, path)[0]
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (raw >> 1) ^ -(raw & 1)
        raise _FoundError(path)

    def _take(self, size: int, path: str) -> bytes:
        if not 0 <= size <= len(self._body) - self._at:
            raise _FoundError(path)
        self._at += size
        return self._body[self._at - size : self._at]


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
