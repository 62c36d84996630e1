"""The catalogue's promises: ids are for ever, files never change, every version stays readable."""

import hashlib
import shutil
from pathlib import Path

import pytest

from schemas import catalogue, compat
from schemas.catalogue import FOLDER, Catalogue, Entry
from schemas.errors import BadInput, Rejected

CHECKED_IN = Catalogue.load()
FILES = {file.name: file.read_bytes() for file in (FOLDER / "avro").glob("*.avsc")}

PUBLISHED = {
    1: "FormSubmitted",
    2: "EmailOpened",
    3: "CookieObserved",
    4: "SignalReceived",
    5: "RecordTagged",
    6: "RecordDecided",
    7: "DecisionBatch",
    8: "RequestStepped",
    9: "FieldsRevealed",
    10: "Quarantined",
    11: "RecordDelivered",
    12: "Depersonalized",
    13: "ReceiptGiven",
    14: "CheckpointSigned",
    15: "ResidueCounted",
    16: "PolicyPublished",
    17: "ProcessorApproved",
    18: "ProcessorSuspended",
    19: "HoldPlaced",
    20: "HoldReleased",
    21: "RequestDecided",
    22: "RetentionOrdered",
    23: "RecordOpened",
    24: "FieldsRevealed",
    25: "RestrictionLifted",
    26: "RequestClosed",
    27: "FieldsCorrected",
    28: "RecordRectified",
}


def test_the_checked_in_catalogue_is_right() -> None:
    """Ids, files, hashes, names and versions agree, and every version pair keeps its record's rule."""
    assert catalogue.problems(CHECKED_IN.entries, FILES) == []
    assert compat.problems(CHECKED_IN) == []


def test_published_ids_keep_their_meaning() -> None:
    """What an id meant in the first release it means for ever; logs kept for years rest on it."""
    assert {i: CHECKED_IN.entries[i].name for i in PUBLISHED} == PUBLISHED


def test_the_text_is_canonical() -> None:
    """The file is exactly what the tool would write, so a diff shows what was added and nothing else."""
    assert (FOLDER / "catalogue.json").read_text() == catalogue.render(CHECKED_IN.entries)


def test_ids_and_schemas_are_found_by_each_other() -> None:
    """The newest id of a record leads to its schema and back; nothing else is known."""
    for name, schema_id in CHECKED_IN.latest().items():
        assert CHECKED_IN.id_of(name) == schema_id
        assert CHECKED_IN.schema(schema_id)["name"] == name
    with pytest.raises(BadInput, match="schema_unknown"):
        CHECKED_IN.id_of("Command")
    with pytest.raises(Rejected, match="schema_unknown"):
        CHECKED_IN.schema(0)


def test_outsiders_get_both_directions() -> None:
    """Only what we alone read may drop a field; everything else must also suit the readers of yesterday."""
    rules = {entry.name: entry.rule for entry in CHECKED_IN.entries.values()}
    intake = {"FormSubmitted", "EmailOpened", "CookieObserved", "SignalReceived", "FieldsCorrected"}
    assert {name for name, rule in rules.items() if rule == "BACKWARD_TRANSITIVE"} == intake


@pytest.mark.parametrize("text", [b"", b"[]", b'{"x": {}}', b'{"1": {"name": "A"}}'])
def test_a_broken_catalogue_does_not_load(text: bytes) -> None:
    """A file that is no catalogue is the caller's mistake, said with its name."""
    with pytest.raises(BadInput, match=r"catalogue\.json"):
        catalogue.parse(text)


def changed(schema_id: int, **fields: object) -> dict[int, Entry]:
    """Return the checked-in entries with one of them changed."""
    values = {f: getattr(CHECKED_IN.entries[schema_id], f) for f in Entry.__struct_fields__}
    return {**CHECKED_IN.entries, schema_id: Entry(**{**values, **fields})}


def without(schema_id: int) -> dict[int, Entry]:
    """Return the checked-in entries but one."""
    return {i: entry for i, entry in CHECKED_IN.entries.items() if i != schema_id}


@pytest.mark.parametrize(
    ("entries", "files", "problem"),
    [
        (without(5), FILES, "ids are not"),
        (without(23), FILES, "RecordOpened.v1.avsc is not in the catalogue"),
        (CHECKED_IN.entries, {**FILES, "EmailOpened.v1.avsc": b"{}"}, "2: EmailOpened.v1.avsc was changed"),
        (CHECKED_IN.entries, {k: v for k, v in FILES.items() if k != "EmailOpened.v1.avsc"}, "is missing"),
        (changed(2, version=2), FILES, "should be called EmailOpened.v2.avsc"),
        (changed(2, version=2), FILES, "EmailOpened: versions are not"),
        (changed(2, name="MailOpened"), FILES, "does not define lapse.v1.MailOpened"),
    ],
)
def test_every_way_to_break_it_is_noticed(
    entries: dict[int, Entry], files: dict[str, bytes], problem: str
) -> None:
    """A reused or removed id, a changed, missing, unlisted or misnamed file each is a sentence."""
    assert any(problem in found for found in catalogue.problems(entries, files))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the catalogue and its files."""
    shutil.copytree(FOLDER / "avro", tmp_path / "avro")
    shutil.copy(FOLDER / "catalogue.json", tmp_path)
    return tmp_path


def test_the_tool_gives_a_new_version_the_next_id(folder: Path) -> None:
    """`add` extends the catalogue; the new version is what we write from then on."""
    content = FILES["EmailOpened.v1.avsc"]
    (folder / "avro/EmailOpened.v2.avsc").write_bytes(content)
    assert catalogue.main(["add", "EmailOpened.v2.avsc", "intake.email-open"], folder) == 0
    found = Catalogue.load(folder)
    assert found.id_of("EmailOpened") == len(PUBLISHED) + 1
    assert found.entries[len(PUBLISHED) + 1].sha256 == hashlib.sha256(content).hexdigest()
    assert len(found.versions("EmailOpened")) == 2
    assert catalogue.main([], folder) == 0


def test_the_tool_writes_nothing_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A problem is printed, the exit code is 1, and the file stays as it was."""
    before = (folder / "catalogue.json").read_bytes()
    assert catalogue.main(["add", "Missing.v1.avsc"], folder) == 1
    assert "Missing.v1.avsc is missing" in capsys.readouterr().err
    (folder / "avro/EmailOpened.v1.avsc").write_text("{}")
    assert catalogue.main([], folder) == 1
    assert "was changed" in capsys.readouterr().err
    assert (folder / "catalogue.json").read_bytes() == before


@pytest.mark.parametrize("file", ["EmailOpened.avsc", "EmailOpened.vx.avsc", "EmailOpened.v2.json"])
def test_a_schema_file_has_one_kind_of_name(file: str) -> None:
    """The version stands in the name, so that a published file need never be touched again."""
    with pytest.raises(BadInput, match="bad_argument"):
        catalogue.add({}, file, b"{}", [])
