"""How a vault is opened, what is refused, and how the driver's errors come out."""

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from schemas.errors import BadInput, Bug, LapseError, Refused, Unavailable
from schemas.ids import Micros
from tests.support.postgres import databases
from tests.unit.vault.worlds import START, World
from vault import memory_vault, open_vault, pgsql, sql
from vault.epochs import MemoryEpochKeys
from vault.memory import MemoryStore
from vault.pgrows import PostgresRows
from vault.port import Vault
from vault.postgres import PostgresStore
from vault.sqlite import DIALECT, SqliteStore
from vault.store import Store
from vault.tables import ALIAS, BUCKET, KEYSLOT, META, PROGRESS, TABLES, Table
from vault.values import BucketId, Ended, HeldKey, HeldPair, PurposeState
from vault.vaults import StoreVault


def test_an_address_names_the_store(tmp_path: Path) -> None:
    """Memory and SQLite open; a second opening finds the first one's data; everything else is said."""
    epochs, url = MemoryEpochKeys(), f"sqlite://{tmp_path}/with%20space/v.db"
    first = open_vault(url, epochs)
    assert first.clock.mode == "system" and (tmp_path / "with space" / "v.db").exists()
    with first.transaction() as tx:
        tx.put_meta("k", b"v")
    second: Vault = open_vault(url, epochs, clock="system")
    with second.transaction(write=False) as tx:
        assert tx.meta("k") == b"v"
    first.close()
    first.close()
    second.close()
    assert open_vault("memory:", MemoryEpochKeys()).clock.mode == "system"
    for wrong in ("mysql://x", "sqlite://relative", "sqlite:", "v.db", ""):
        with pytest.raises(BadInput):
            open_vault(wrong, epochs)


def test_a_vault_in_memory_stands_where_it_was_told() -> None:
    """The test's vault begins at its start, or now."""
    assert memory_vault(START).clock.now() == START
    assert memory_vault().clock.now() > START


def test_a_system_clock_runs_and_cannot_be_set(tmp_path: Path) -> None:
    """Its time is the host's, in and out of transactions."""
    vault = open_vault(f"sqlite://{tmp_path}/v.db", MemoryEpochKeys())
    before = vault.clock.now()
    with vault.transaction(write=False) as tx:
        assert before <= tx.now <= vault.clock.now()
    with pytest.raises(Refused):
        vault.clock.set_manual(Micros(1))
    vault.close()


def test_another_layout_is_refused(world: World) -> None:
    """A vault written by another version is not touched."""
    with world.store.begin(write=True) as rows:
        rows.put(META, [("layout", b"999")])
    with pytest.raises(Refused):
        StoreVault(world.store, world.keys)


def test_a_row_that_was_moved_does_not_open(world: World) -> None:
    """An identifier's owner is bound to its hash; a key slot to its epoch."""
    with world.write() as tx:
        world.person(tx, "a@x")
    with world.store.begin(write=True) as rows:
        ((_, owner, since, until),) = rows.scan(ALIAS)
        rows.put(ALIAS, [(world.hash("b@x"), owner, since, until)])
    with pytest.raises(Refused), world.read() as tx:
        tx.aliases([world.hash("b@x")])
    with world.store.begin(write=True) as rows:
        rows.put(KEYSLOT, [(n, epoch, bytes(39) + b"x") for n, epoch, _ in rows.scan(KEYSLOT)])
    with pytest.raises(Refused):
        StoreVault(world.store, world.keys)


def test_a_slot_that_was_changed_stops_a_turn(world: World) -> None:
    """An epoch turn re-wraps what opens and refuses what does not; the old key stays."""
    with world.store.begin(write=True) as rows:
        n, epoch, _ = rows.scan(KEYSLOT, limit=1)[0]
        rows.put(KEYSLOT, [(n, epoch, bytes(39) + b"x")])
    with pytest.raises(Refused):
        world.vault.turn_epoch()
    assert isinstance(world.keys, MemoryEpochKeys) and len(world.keys.keys) == 2


def test_a_secret_asked_for_by_a_reader_is_made_for_everybody(world: World) -> None:
    """Also when the first to ask only reads; a second process sees the same."""
    with world.read():
        first = world.vault.secrets.named("new")
    other = StoreVault(world.store, world.keys)
    with other.transaction(write=False):
        assert other.secrets.named("new") == first
    with other.transaction(write=False) as tx:
        assert tx.seq > 0 and other.secrets.record == world.vault.secrets.record


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_busy_store_says_so(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits too long is told to try again, not left hanging."""
    monkeypatch.setattr("vault.memory._PATIENCE", 0.2)
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "v.db", patience=0.2)
    errors = list[LapseError]()

    def wait() -> None:
        try:
            with store.begin(write=True):
                pass
        except Unavailable as error:
            errors.append(error)

    with store.begin(write=True):
        other = threading.Thread(target=wait)
        other.start()
        other.join()
    assert [e.code for e in errors] == ["unavailable"]
    store.close()


def test_a_checkpoint_gets_its_turn_among_writers_that_never_rest(tmp_path: Path) -> None:
    """What is destroyed under load is gone under load: who only looks now and then would not get there."""
    store, over = SqliteStore(tmp_path / "v.db"), threading.Event()

    def write(part: int) -> None:
        while not over.is_set():
            with store.begin(write=True) as rows:
                rows.put(PROGRESS, [("t", part, 1)])
                over.wait(0.002)

    writers = [threading.Thread(target=write, args=(part,)) for part in range(3)]
    for each in writers:
        each.start()
    forgotten = any(store.forget() for _ in range(20))
    over.set()
    for each in writers:
        each.join()
    assert forgotten
    store.close()


def test_what_the_driver_says_is_translated_without_values(tmp_path: Path) -> None:
    """A damaged file is `Unavailable`, a broken reference a `Bug`; no text of the driver's comes out."""
    path = tmp_path / "v.db"
    store = SqliteStore(path)
    with store.begin(write=True) as rows:
        rows.put(PROGRESS, [("canary", 1, 1)])
    with pytest.raises(Bug) as broken, store.begin(write=True) as rows:
        rows.put(BUCKET, [("canary", 1, 1, 5, None, "open", 1, None, None, None, None, 99)])
    assert "canary" not in str(broken.value) and broken.value.__cause__ is None
    assert store.forget()
    store.close()
    with sqlite3.connect(path) as direct:
        direct.execute("DROP TABLE progress")
    direct.close()
    again = SqliteStore(path)
    with again.begin(write=False) as rows:
        assert rows.scan(PROGRESS) == []
    again.close()
    path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(Unavailable) as damaged:
        SqliteStore(path)
    assert "database" not in damaged.value.what


def test_a_file_that_is_gone_or_replaced_is_said(tmp_path: Path) -> None:
    """A vault whose file was removed does not come back empty, and nobody goes on with the old one."""
    path = tmp_path / "v.db"
    store = SqliteStore(path)
    assert store.forget()
    shutil.copy(path, tmp_path / "backup.db")
    path.unlink()
    with pytest.raises(Unavailable), store.begin(write=False):
        pass
    assert not path.exists()
    (tmp_path / "backup.db").rename(path)
    with pytest.raises(Unavailable), store.begin(write=True):
        pass
    store.close()
    again = SqliteStore(path)
    with again.begin(write=True) as rows:
        assert rows.scan(PROGRESS) == []
    again.close()


def test_a_closed_store_stays_closed_for_those_still_inside(tmp_path: Path) -> None:
    """Closing while a transaction is open lets it end, then nothing begins."""
    store = SqliteStore(tmp_path / "v.db")
    with store.begin(write=True) as rows:
        rows.put(PROGRESS, [("t", 0, 1)])
        store.close()
    with pytest.raises(Unavailable), store.begin(write=False):
        pass
    with pytest.raises(Unavailable):
        store.forget()
    again = SqliteStore(tmp_path / "v.db")
    with again.begin(write=False) as rows:
        assert rows.scan(PROGRESS) == [("t", 0, 1)]
    again.close()


def test_keys_are_not_printed() -> None:
    """What holds a key says what it is, never the key."""
    secret = b"SECRETSECRETSECRETSECRETSECRETSE"
    bucket = BucketId("p", *([1] * 2))  # type: ignore[arg-type]
    pair = HeldPair(bucket, 1, 1)  # type: ignore[arg-type]
    for each in (
        PurposeState(key=secret),
        Ended(purpose="p", generation=1, key=secret),
        HeldKey(pair=pair, k=secret),
    ):
        assert "SECRET" not in repr(each) and "SECRET" not in f"{[each]}"


@pytest.mark.parametrize("table", [t for t in TABLES if len(t.columns) > 1], ids=lambda t: str(t.name))
def test_every_look_up_by_key_or_index_uses_one(table: Table, tmp_path: Path) -> None:
    """No read by key or by a declared index looks at every row, and no deletion does."""
    SqliteStore(tmp_path / "v.db").close()
    with sqlite3.connect(tmp_path / "v.db") as direct:
        for columns in (table.key, *table.indexes):
            for text, n in (
                (sql.select_in(table, columns, 2, DIALECT), 2),
                (sql.delete(table, columns, DIALECT), 1),
            ):
                plan = direct.execute(f"EXPLAIN QUERY PLAN {text}", [0] * n * len(columns)).fetchall()
                steps = [row[3] for row in plan if table.name in row[3]]
                names = [step for step in steps if step.startswith(f"SEARCH {table.name}")]
                assert names and len(steps) == len(names), steps
                assert names[0].count("=?") == len(columns)
    direct.close()


@pytest.mark.parametrize("table", [t for t in TABLES if len(t.columns) > 1], ids=lambda t: str(t.name))
def test_every_look_up_on_postgresql_uses_an_index(table: Table) -> None:
    """However little the planner knows of the table, and however many values are looked for at once."""
    store = PostgresStore(databases().borrow())
    sample = {"int": list(range(300)), "bytes": [b"x"] * 300, "text": ["x"] * 300}
    with store.begin(write=True) as rows:
        assert isinstance(rows, PostgresRows)
        for columns in (table.key, *table.indexes):
            values = [sample[table.columns[table.at(column)].kind] for column in columns]
            for text in (pgsql.find(table, columns), pgsql.delete(table, columns)):
                plan = "\n".join(row[0] for row in rows.ask(f"EXPLAIN {text}", values))
                assert "Index" in plan and "Seq Scan" not in plan, plan
    store.close()
