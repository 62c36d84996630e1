"""The JSON Schema beside the code is the one the models give."""

import json
import runpy
from pathlib import Path

import pytest

from schemas.policy import jsonschema


def test_it_is_current() -> None:
    """`python -m schemas.policy` has been run since the models changed."""
    assert jsonschema.FILE.read_text(encoding="utf-8") == jsonschema.text()


def test_it_is_written_by_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running the module writes the whole schema, with every key of a policy described."""
    monkeypatch.setattr(jsonschema, "FILE", tmp_path / "policy.schema.json")
    runpy.run_module("schemas.policy", run_name="__main__")
    schema = json.loads((tmp_path / "policy.schema.json").read_text(encoding="utf-8"))
    assert schema["additionalProperties"] is False
    assert {"version", "effective", "purposes", "forms", "processors", "horizons"} <= set(
        schema["properties"]
    )
    assert all(part.get("description") for part in schema["$defs"].values())
