"""The checked-in table of schema ids: `catalogue.json` says which file in `avro/` an id means, for ever.

It plays the registry where none runs, and says what to register where one does. A published file never
changes and an id is never given again, because logs kept for years are read by them. `python -m
schemas.catalogue` checks it; with `add FILE TOPIC...` it gives a new version of a record the next id.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import BadInput, Rejected

FOLDER = Path(__file__).parent
NAMESPACE = "lapse.v1"
"""Avro namespace of every type; a new major would be another namespace, not another version."""

Rule = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]
"""Compatibility in Confluent's words: new readers read old data; or old readers read new data too."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One schema: record name, file in `avro/`, version, topics (`*` for any name), sha256 of the file.

    A record without topics stands inside another one (RecordDecided in DecisionBatch).
    """

    name: str
    file: str
    version: int
    topics: list[str]
    sha256: str

    @property
    def rule(self) -> Rule:
        """What a new version must keep: we alone read intake, outsiders and audits everything else."""
        ours = bool(self.topics) and all(topic.startswith("intake.") for topic in self.topics)
        return "BACKWARD_TRANSITIVE" if ours else "FULL_TRANSITIVE"


class Catalogue:
    """Schema ids as checked in; one of the two sources of ids the codec can use."""

    def __init__(self, entries: Mapping[int, Entry], folder: Path) -> None:
        self.entries = dict(entries)
        self._folder = folder
        newest: dict[str, tuple[int, int]] = {}
        for schema_id, entry in entries.items():
            newest[entry.name] = max(newest.get(entry.name, (0, 0)), (entry.version, schema_id))
        self._latest = {name: schema_id for name, (_, schema_id) in newest.items()}

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Catalogue":
        """Read `catalogue.json`; BadInput if it is not one."""
        return cls(parse((folder / "catalogue.json").read_bytes()), folder)

    def latest(self) -> dict[str, int]:
        """Return the id of the newest version of every record."""
        return dict(self._latest)

    def id_of(self, name: str) -> int:
        """Return the id we write this record under; BadInput for a record without one."""
        if name not in self._latest:
            raise BadInput(
                "schema_unknown", "no schema of this name", name, "list it in schemas/catalogue.json"
            )
        return self._latest[name]

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return the Avro schema of an id; Rejected `schema_unknown` if there is none."""
        entry = self.entries.get(schema_id)
        if entry is None:
            raise Rejected("schema_unknown", "the schema id is not in the catalogue", "schema id")
        schema: dict[str, Any] = json.loads((self._folder / "avro" / entry.file).read_bytes())
        return schema

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return every version of a record's schema, oldest first."""
        ids = [(e.version, schema_id) for schema_id, e in self.entries.items() if e.name == name]
        return [self.schema(schema_id) for _, schema_id in sorted(ids)]


def parse(text: bytes) -> dict[int, Entry]:
    """Read the text of a catalogue; BadInput where it is not a map of ids to entries."""
    try:
        return msgspec.json.decode(text, type=dict[int, Entry])
    except msgspec.DecodeError as error:
        raise BadInput("malformed", str(error), "schemas/catalogue.json") from error


def render(entries: Mapping[int, Entry]) -> str:
    """Return the text of a catalogue, one line per id."""
    lines = [f'"{i}": {json.dumps(msgspec.to_builtins(e))}' for i, e in sorted(entries.items())]
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def problems(entries: Mapping[int, Entry], files: Mapping[str, bytes]) -> list[str]:
    """Return what is wrong with a catalogue against the files of `avro/`, as sentences; none is right.

    A hole among ids or versions means that one was removed, another hash that a published file was changed.
    """
    found = []
    if list(entries) != list(range(1, len(entries) + 1)):
        found.append("ids are not 1, 2, 3, ... in order: one was removed, reused or skipped")
    for schema_id, entry in entries.items():
        content = files.get(entry.file)
        if content is None:
            found.append(f"{schema_id}: {entry.file} is missing")
            continue
        found += [f"{schema_id}: {fault}" for fault in _faults(entry, content)]
    found += [
        f"{file} is not in the catalogue" for file in sorted(set(files) - {e.file for e in entries.values()})
    ]
    versions: dict[str, list[int]] = {}
    for entry in entries.values():
        versions.setdefault(entry.name, []).append(entry.version)
    for name, numbers in versions.items():
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"{name}: versions are not 1, 2, 3, ... in the order of their ids")
    return found


def _faults(entry: Entry, content: bytes) -> Iterable[str]:
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        yield f"{entry.file} was changed after it was published; add a new version instead"
    if entry.file != f"{entry.name}.v{entry.version}.avsc":
        yield f"{entry.file} should be called {entry.name}.v{entry.version}.avsc"
    schema = json.loads(content)
    if (schema.get("namespace"), schema.get("name")) != (NAMESPACE, entry.name):
        yield f"{entry.file} does not define {NAMESPACE}.{entry.name}"


def add(entries: Mapping[int, Entry], file: str, content: bytes, topics: Iterable[str]) -> dict[int, Entry]:
    """Return the catalogue with one more id for this file, `<Record>.v<k>.avsc`; else BadInput."""
    name, dot, version = file.removesuffix(".avsc").rpartition(".v")
    if not dot or not version.isdigit() or not file.endswith(".avsc"):
        raise BadInput("bad_argument", "a schema file is called <Record>.v<k>.avsc", file)
    entry = Entry(
        name=name,
        file=file,
        version=int(version),
        topics=list(topics),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return {**entries, len(entries) + 1: entry}


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Check the catalogue, or `add FILE TOPIC...` to it first; return 0, or 1 with the problems on stderr."""
    path = folder / "catalogue.json"
    entries = parse(path.read_bytes())
    files = {file.name: file.read_bytes() for file in (folder / "avro").glob("*.avsc")}
    if arguments[:1] == ["add"] and len(arguments) > 1:
        entries = add(entries, arguments[1], files.get(arguments[1], b"{}"), arguments[2:])
    found = problems(entries, files)
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    if not found:
        path.write_text(render(entries), encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":  # pragma: no cover
    raise SystemExit(main(sys.argv[1:]))
