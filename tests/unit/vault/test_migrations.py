"""Vaults of earlier releases are brought to today's tables; one of a later release is not touched."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from schemas.errors import Refused
from tests.support.postgres import databases
from tests.unit.vault.worlds import START, World, bucket, wanted
from vault.epochs import MemoryEpochKeys
from vault.migrations import STEPS
from vault.postgres import PostgresStore
from vault.sqlite import SqliteStore
from vault.store import Store
from vault.tables import LAYOUT, META, MIGRATION
from vault.vaults import StoreVault


def opened(kind: str, folder: Path, url: str) -> Store:
    """One more process on the vault."""
    return SqliteStore(folder / "vault" / "vault.db") if kind == "sqlite" else PostgresStore(url)


def execute(kind: str, folder: Path, url: str, *statements: str) -> None:
    """Change a vault from outside."""
    if kind == "sqlite":
        with sqlite3.connect(folder / "vault" / "vault.db") as direct:
            for text in statements:
                direct.execute(text)
        direct.close()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            for text in statements:
                server.execute(text.encode())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_vault_of_version_1_is_migrated_and_keeps_everything(kind: str, tmp_path: Path) -> None:
    """People, keys and clock are as they were; the day it was migrated is written down."""
    url = databases().borrow() if kind == "postgresql" else ""
    store = opened(kind, tmp_path, url)
    keys = MemoryEpochKeys()
    vault = StoreVault(store, keys, mode="manual", start=START)
    world = World(store=store, keys=keys, vault=vault, folder=tmp_path)
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket())])
        kept = tx.bucket_keys([bucket()])
    store.close()
    version = "x'31'" if kind == "sqlite" else "'1'"
    back = f"UPDATE meta SET value = {version} WHERE name = 'layout'"  # noqa: S608 a literal of this test
    execute(kind, tmp_path, url, "DROP TABLE migration", back)
    again = opened(kind, tmp_path, url)
    vault = StoreVault(again, keys)
    with vault.transaction(write=False) as tx:
        assert tx.bucket_keys([bucket()]) == kept and tx.now == START
        assert tx.subjects([state.number])[state.number].purposes == state.purposes
    with again.begin(write=False) as rows:
        assert [row[0] for row in rows.scan(MIGRATION)] == [LAYOUT]
        assert rows.find(META, ("name",), [("layout",)]) == [("layout", str(LAYOUT).encode())]
    again.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_vault_of_a_later_release_is_refused_as_it_is(kind: str, tmp_path: Path) -> None:
    """The error names both versions; nothing is changed."""
    url = databases().borrow() if kind == "postgresql" else ""
    opened(kind, tmp_path, url).close()
    version = "x'3939'" if kind == "sqlite" else "'99'"
    later = f"INSERT INTO meta VALUES ('layout', {version})"  # noqa: S608 a literal of this test
    execute(kind, tmp_path, url, later)
    with pytest.raises(Refused) as refused:
        opened(kind, tmp_path, url)
    assert "layout 99" in str(refused.value) and str(LAYOUT) in str(refused.value)


def test_every_version_has_its_step() -> None:
    """From the first on there is a way to today's."""
    assert sorted(STEPS) == list(range(2, LAYOUT + 1))
