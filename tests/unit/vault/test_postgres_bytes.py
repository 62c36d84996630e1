"""What lies in the files of a PostgreSQL server after a destruction, and what an epoch's turn does to it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from schemas.errors import Refused
from tests.support.postgres import Server
from tests.unit.vault.test_forgetting import every_byte, wrapped
from tests.unit.vault.worlds import START, World, bucket, wanted
from vault.ending import apply_statements, end_bucket, erase
from vault.epochs import FileEpochKeys
from vault.keys import INFO_SLOT_KEK, hkdf_expand, unwrap
from vault.postgres import PostgresStore
from vault.slots import NOBODY
from vault.tables import BUCKET, SUBJECT
from vault.transaction import destroying
from vault.values import BucketId, Statement, SubjectState
from vault.vaults import StoreVault

FIRST = NOBODY + 1


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own with the settings of a real one."""
    made = Server()
    made.start()
    yield made
    made.remove()


def on(server: Server, folder: Path) -> World:
    """A vault on that server, its epoch keys in files."""
    keys = FileEpochKeys(folder / "keys", folder / "backup")
    store = PostgresStore(server.url())
    return World(
        store=store, keys=keys, vault=StoreVault(store, keys, mode="manual", start=START), folder=folder
    )


def settle(server: Server) -> bytes:
    """Have every page written out; returns every byte of the data directory, the log included."""
    with psycopg.connect(server.url(), autocommit=True) as asking:
        asking.execute("CHECKPOINT")
    return every_byte(server.data)


def opening(keys: list[bytes], old: list[bytes]) -> list[bytes]:
    """Which of these wrapped keys open under one of the epoch keys."""
    keks = [hkdf_expand(key, INFO_SLOT_KEK) for key in keys]
    return [each for each in old if any(unwrap(kek, each) is not None for kek in keks)]


def test_destroyed_keys_never_lie_clear_and_are_worthless_after_a_turn(
    server: Server, tmp_path: Path
) -> None:
    """Heap and log keep wrapped keys, which count as destroyed only when the epoch's key is gone (17).

    Until then it opens them; after it nothing that is left opens a single one, here or in a copy of the whole
    server.
    """
    world = on(server, tmp_path)
    ids = [bucket("news", n) for n in range(8)]
    with world.write() as tx:
        tx.ensure_buckets([wanted(i) for i in ids])
        people = [world.person(tx, f"{n}@x", purposes=("news", "ads")) for n in range(8)]
    with world.store.begin(write=False) as rows:
        slots = [row[-1] for row in rows.scan(BUCKET)] + [row[2] for row in rows.scan(SUBJECT)]
        old = wrapped(rows, slots)
    with world.write() as tx:
        clear = [*destroying(tx).slots.read(slots).values(), *tx.bucket_keys(ids).values()]
    clear += [s.key for p in people for s in p.purposes.values() if s.key is not None]
    clear += [world.vault.secrets.alias, world.vault.secrets.record, world.keys.key(FIRST)]
    end_all(world, ids, people)
    lying = settle(server)
    halves = [half for key in clear for half in (key[:12], key[-12:])]
    assert len(halves) > 70 and not [half for half in halves if half in lying], "no key lies in clear"
    found = [each for each in old if each in lying]
    first = world.keys.key(FIRST)
    assert found and opening([first], found) == found, "what lies there opens until the epoch turns"
    with world.read() as tx:
        assert {b.state for b in tx.all_buckets()} == {"hidden"}, "so nothing is called destroyed"
    copy = stopped_copy(server)
    assert world.vault.turn_epoch() == FIRST + 1
    with world.read() as tx:
        assert {b.state for b in tx.all_buckets()} == {"destroyed"}
    lying = settle(server)
    left = [path.read_bytes() for place in ("keys", "backup") for path in (tmp_path / place).iterdir()]
    assert len(set(left)) == 1 and first not in left and first[:12] not in lying
    assert [each for each in old if each in lying] and not opening(left, old)
    world.vault.close()
    copy.start()
    store = PostgresStore(copy.url())
    with pytest.raises(Refused):
        StoreVault(store, world.keys)
    store.close()
    copy.remove()


def end_all(world: World, ids: list[BucketId], people: list[SubjectState]) -> None:
    """End every bucket; of the people withdraw one half and erase the other."""
    for n, person in enumerate(people):
        with world.write() as tx:
            if n % 2:
                erase(tx, [world.hash(f"{n}@x")], START, world.herald)
            else:
                state = tx.subjects([person.number])[person.number]
                gone = [Statement(purpose=p, granted=False, at=START) for p in ("news", "ads")]
                apply_statements(tx, state, gone, world.herald)
    with world.write() as tx:
        for each in ids:
            assert end_bucket(tx, each, world.herald)


def stopped_copy(server: Server) -> Server:
    """A copy of the whole cluster, as a cold backup takes it."""
    server.stop()
    place = server.folder.with_name(server.folder.name + "-copy")
    shutil.copytree(server.folder, place, ignore=shutil.ignore_patterns("*.pid", ".s.*"), symlinks=True)
    for path in (place, *place.rglob("*")):
        shutil.chown(path, *(server.folder.owner(), server.folder.group()))
    server.start()
    return Server(folder=place)
