"""The table of reason codes: one truth for Python, for other languages and for people."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import codes, errors
from schemas.codes import CODES

ROOT = Path(__file__).parents[3]
FOLDERS = ("schemas", "vault", "processors", "streams", "lapse", "lapse_client")
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
}

PROMISED = """
no_basis no_consent withdrawn objected erased suppressed lapsed unknown_purpose unknown_form unknown_field
unknown_source no_subject token_expired token_invalid duplicate conflicting_event_id too_old clock_future
schema_unknown schema_mismatch framing too_large bot bug gpc restricted not_granted suspended not_approved
assurance_ended not_yours unknown expired hidden destroyed
"""


def test_the_json_is_the_table() -> None:
    """codes.json is what `python -m schemas.codes` writes from the table."""
    assert (ROOT / "schemas/codes.json").read_text(encoding="utf-8") == codes.as_json()
    assert list(json.loads(codes.as_json())) == list(CODES)


def test_the_tool_writes_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file lands beside the module."""
    monkeypatch.setattr(codes, "__file__", str(tmp_path / "codes.py"))
    assert codes.main() == 0
    assert (tmp_path / "codes.json").read_text(encoding="utf-8") == codes.as_json()


def test_the_page_explains_every_code() -> None:
    """docs/codes.md has a row per code, with the places it may stand, and no row for anything else."""
    page = (ROOT / "docs/codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", page, flags=re.MULTILINE))
    assert rows == {code.name: ", ".join(code.kinds) for code in CODES.values()}


@pytest.mark.parametrize("name", CODES)
def test_a_code_is_well_formed(name: str) -> None:
    """Lower case with underscores, at least one place, and two sentences that end."""
    code = CODES[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert code.kinds
    assert len(set(code.kinds)) == len(code.kinds)
    assert code.meaning.endswith(".")
    assert code.do.endswith(".")


def test_what_was_promised_is_there() -> None:
    """The codes that outsiders were told of exist."""
    assert set(PROMISED.split()) <= set(CODES)


def test_no_code_is_used_that_is_not_in_the_table() -> None:
    """Every literal code in the sources (of an error, or a `code=` argument) stands in the table."""
    strangers = {
        f"{path.relative_to(ROOT)}:{line}: {code}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, code in _literal_codes(ast.parse(path.read_text(encoding="utf-8")))
        if code not in CODES
    }
    assert not strangers


def test_the_scan_sees_codes() -> None:
    """The scan above finds a code in each of the ways sources write one."""
    source = 'Refused("a", "w")\nerrors.Bug(code="b")\nDecision(code="c")\nother("d")\nRefused(code, "w")'
    assert [code for _, code in _literal_codes(ast.parse(source))] == ["a", "b", "c"]


def _literal_codes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        found = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        found += call.args[:1] if name in ERRORS else []
        for value in found:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield call.lineno, value.value
