"""Changes of a schema that the rules let through, and changes they refuse."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas import catalogue, compat
from schemas.catalogue import FOLDER, Catalogue

FORM = Catalogue.load().schema(1)


def having(*, more: dict[str, Any] | None = None, less: str | None = None) -> dict[str, Any]:
    """Return the form's schema with one field more or less."""
    schema = copy.deepcopy(FORM)
    schema["fields"] = [f for f in schema["fields"] if f["name"] != less] + ([more] if more else [])
    return schema


OPTIONAL = {"name": "mood", "type": ["null", "string"], "default": None}
REQUIRED = {"name": "mood", "type": "string"}


def test_a_field_with_a_default_suits_everybody() -> None:
    """Old and new readers agree on a field that may be absent."""
    assert compat.broken("FULL_TRANSITIVE", [FORM, having(more=OPTIONAL)]) == []


def test_a_new_required_field_is_refused() -> None:
    """Nobody could read what was written before; the fault names readers and writers."""
    (fault,) = compat.broken("BACKWARD_TRANSITIVE", [FORM, having(more=REQUIRED)])
    assert fault.startswith("reader v2, writer v1: ")
    assert "mood" in fault


def test_dropping_a_required_field_suits_only_ourselves() -> None:
    """Readers of yesterday would miss it; where outsiders read, that is refused."""
    versions = [FORM, having(less="site")]
    assert compat.broken("BACKWARD_TRANSITIVE", versions) == []
    (fault,) = compat.broken("FULL_TRANSITIVE", versions)
    assert fault.startswith("reader v1, writer v2: ")


def test_every_pair_counts_not_only_neighbours() -> None:
    """Dropping a field and bringing it back as required suits each neighbour; the first version says no."""
    texts = having(more={"name": "mood", "type": "string", "default": ""})
    numbers = having(more={"name": "mood", "type": "long"})
    assert compat.broken("BACKWARD_TRANSITIVE", [texts, FORM]) == []
    found = compat.broken("BACKWARD_TRANSITIVE", [texts, FORM, {**numbers, "fields": _defaulted(numbers)}])
    assert [fault.partition(": ")[0] for fault in found] == ["reader v3, writer v1"]


def _defaulted(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**f, "default": 0} if f["name"] == "mood" else f for f in schema["fields"]]


@pytest.mark.parametrize(
    ("name", "change"),
    [("site", "long"), ("event_id", {"type": "fixed", "name": "EventId", "size": 8}), ("fields", "string")],
)
def test_another_type_is_refused(name: str, change: Any) -> None:
    """A field never changes its type or size."""
    schema = copy.deepcopy(FORM)
    schema["fields"] = [{**f, "type": change} if f["name"] == name else f for f in schema["fields"]]
    assert compat.broken("BACKWARD_TRANSITIVE", [FORM, schema])


def test_a_removed_symbol_is_refused() -> None:
    """What an old writer could say, a new reader must understand."""
    schema = copy.deepcopy(FORM)
    kind = next(f for f in schema["fields"] if f["name"] == "identifiers")["type"]["items"]["fields"][0][
        "type"
    ]
    kind["symbols"].remove("phone")
    assert compat.broken("BACKWARD_TRANSITIVE", [FORM, schema])


def test_a_catalogue_names_the_record_it_breaks(tmp_path: Path) -> None:
    """A whole catalogue with one incompatible version is one sentence."""
    shutil.copytree(FOLDER / "avro", tmp_path / "avro")
    text = (FOLDER / "avro/EmailOpened.v1.avsc").read_text()
    worse = text.replace('"name": "token"', '"name": "ticket"').encode()
    (tmp_path / "avro/EmailOpened.v2.avsc").write_bytes(worse)
    entries = catalogue.add(Catalogue.load().entries, "EmailOpened.v2.avsc", worse, ["intake.email-open"])
    (problem,) = compat.problems(Catalogue(entries, tmp_path))
    assert problem.startswith("EmailOpened: reader v2, writer v1: ")
