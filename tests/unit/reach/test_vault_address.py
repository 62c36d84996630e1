"""Where a data folder's vault is: named once, remembered without its password, never mistaken for another."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from lapse.initialise import Marker, read_marker
from lapse.layout import Layout, write_json
from lapse.settings import Settings
from lapse.vaults import address, parse, settle
from schemas.errors import BadInput, NotFound, Refused

URL = "postgresql://lapse@db.example/lapse?sslmode=require"
SECRET = "p/w:s@cret"
WITH_PASSWORD = "postgresql://lapse:p%2Fw%3As%40cret@db.example/lapse?sslmode=require"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data folder that was never started."""
    made = Layout(tmp_path)
    made.keys.mkdir()
    marker = Marker(
        installation="i", created_at="now", test=True, clock="system", policy_version=1, policy_sha256="0"
    )
    write_json(made.marker, marker.model_dump(exclude_none=True))
    return made


def naming(url: str | None, secret: Path | None = None) -> Settings:
    """Settings that name this vault and nothing of the environment."""
    return Settings(vault=None if url is None else SecretStr(url), vault_password_file=secret)


def start(layout: Layout, settings: Settings) -> Marker:
    """What `up` does first."""
    return settle(layout, read_marker(layout), settings)


def test_without_a_setting_it_is_sqlite_in_the_folder(layout: Layout) -> None:
    """As it always was; the marker says nothing."""
    marker = start(layout, naming(None))
    assert marker.vault is None and address(layout, marker, naming(None)).kind == "sqlite"
    assert not layout.vault_password.exists()


def test_the_first_start_remembers_the_vault_and_its_password_apart(layout: Layout) -> None:
    """Later commands need no setting; the password is in one 0600 file and in no text that is shown."""
    start(layout, naming(WITH_PASSWORD))
    assert read_marker(layout).vault == URL and SECRET not in layout.marker.read_text()
    found = address(layout, read_marker(layout), naming(None))
    assert (found.url, found.kind, found.password) == (URL, "postgresql", SECRET)
    assert layout.vault_password.stat().st_mode & 0o777 == 0o600
    assert SECRET not in repr(found) and "p%2Fw" not in repr(naming(WITH_PASSWORD))


def test_a_password_file_is_read_and_a_missing_one_is_named(layout: Layout, tmp_path: Path) -> None:
    """As Docker hands secrets over."""
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    start(layout, naming(URL, secret))
    assert address(layout, read_marker(layout), naming(None)).password == "from a file"
    with pytest.raises(NotFound):
        address(layout, read_marker(layout), naming(URL, tmp_path / "none"))


def test_another_vault_than_the_folders_is_refused(layout: Layout) -> None:
    """Neither a folder of another database nor one that began on SQLite is started on this one."""
    start(layout, naming(URL))
    for other in ("postgresql://lapse@other.example/lapse", layout.vault_url):
        with pytest.raises(Refused):
            start(layout, naming(other))
    begun = Layout(layout.root / "old")
    begun.vault_file.parent.mkdir(parents=True)
    begun.vault_file.touch()
    write_json(
        begun.marker, read_marker(layout).model_copy(update={"vault": None}).model_dump(exclude_none=True)
    )
    with pytest.raises(Refused):
        start(begun, naming(URL))


@pytest.mark.parametrize("wrong", ["mysql://x/y", "host=db user=x", "postgresql://x/y?password=z", ""])
def test_what_is_no_address_is_said_without_repeating_it(wrong: str) -> None:
    """A setting may hold a password even where it is wrong."""
    with pytest.raises(BadInput) as said:
        parse(wrong)
    assert said.value.code == "bad_setting" and (not wrong or wrong not in str(said.value))
