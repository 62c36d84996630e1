"""A Kafka of somebody else's, as the settings describe it; nothing here connects."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.cluster import administrator, as_set, replicas
from lapse.main import settings
from lapse.settings import Settings
from schemas.errors import BadInput

BOOTSTRAP = "LAPSE_BOOTSTRAP"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine's."""
    for name in ("", "_USER", "_PASSWORD", "_PASSWORD_FILE", "_CA"):
        monkeypatch.delenv(BOOTSTRAP + name, raising=False)


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"bootstrap_ca": "/ca.pem"}, "SSL"),
        ({"bootstrap_user": "u", "bootstrap_password": "p"}, "SASL_PLAINTEXT"),
        ({"bootstrap_user": "u", "bootstrap_password": "p", "bootstrap_ca": "/ca.pem"}, "SASL_SSL"),
    ],
)
def test_a_user_makes_it_sasl_and_an_authority_makes_it_tls(given: dict[str, str], protocol: str) -> None:
    """The protocol follows from what is set."""
    chosen = Settings.model_validate({"bootstrap": "a:1", **given})
    address = as_set("a:1,b:2", chosen)
    assert address.protocol == protocol
    assert address.secured is ("bootstrap_user" in given)
    assert (administrator(chosen) is None) is ("bootstrap_user" not in given)


def test_an_authority_is_found_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative CA file is resolved where it was written."""
    monkeypatch.chdir(tmp_path)
    address = as_set("a:1", Settings.model_validate({"bootstrap_ca": "ca.pem"}))
    assert address.ca == tmp_path / "ca.pem"


def test_a_password_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..._PASSWORD_FILE` stands in for the variable; a file that cannot be read is named, never shown."""
    file = tmp_path / "password"
    for name, value in (("", "a:1"), ("_USER", "u"), ("_PASSWORD_FILE", str(file))):
        monkeypatch.setenv(BOOTSTRAP + name, value)
    with pytest.raises(BadInput, match="cannot be read") as error:
        administrator(settings())
    assert error.value.where == str(file)
    file.write_text("secret\n")
    login = administrator(settings())
    assert login is not None
    assert login.password == "secret"


@pytest.mark.parametrize(
    "names", [("_USER",), ("_PASSWORD",), ("_PASSWORD_FILE",), ("_USER", "_PASSWORD", "_PASSWORD_FILE")]
)
def test_credentials_come_whole(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two, or the password twice, is a bad setting."""
    for name in ("", *names):
        monkeypatch.setenv(BOOTSTRAP + name, "x")
    with pytest.raises(BadInput, match="LAPSE_BOOTSTRAP_PASSWORD"):
        settings()


@pytest.mark.parametrize(
    ("wanted", "brokers", "before", "found"),
    [
        (None, 1, 1, 1),
        (None, 2, 1, 2),
        (None, 3, 1, 3),
        (None, 7, 1, 3),
        (None, 2, 3, 3),
        (5, 7, 1, 5),
        (1, 3, 3, 1),
    ],
)
def test_a_topic_has_a_replica_on_each_broker_at_most_three(
    wanted: int | None, brokers: int, before: int, found: int
) -> None:
    """What is set counts; else the brokers do, and an earlier start that saw more of them."""
    assert replicas(wanted, brokers, before) == found
