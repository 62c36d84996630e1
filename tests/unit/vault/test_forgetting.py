"""What was destroyed is in no byte of any file, wrapped or clear, journals included; old copies are dead."""

import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.errors import Refused, Unavailable
from schemas.ids import Micros, SubjectNumber
from tests.unit.vault.worlds import DAY, START, World, bucket, open_world, wanted
from vault import epochs
from vault.ending import apply_statements, end_bucket, erase, finish_buckets
from vault.epochs import FileEpochKeys, MemoryEpochKeys
from vault.holds import place_hold, release_hold
from vault.keys import new_key
from vault.postgres import PostgresStore
from vault.slots import NOBODY
from vault.sqlite import SqliteStore
from vault.store import Rows, Store
from vault.subjects import with_key
from vault.tables import BUCKET, EPOCH, ESCROW, HOLD, KEYSLOT, SUBJECT
from vault.transaction import destroying
from vault.values import Statement
from vault.vaults import StoreVault


def every_byte(folder: Path) -> bytes:
    """All that lies in the vault's folder, companions and all."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def pieces(secret: bytes) -> Iterable[bytes]:
    """Parts of a secret that would not occur by chance."""
    return (secret[i : i + 12] for i in range(0, max(1, len(secret) - 11), 4))


def occurs(secret: bytes, everything: bytes) -> bool:
    """Whether any part of a secret lies anywhere."""
    return any(piece in everything for piece in pieces(secret))


def wrapped(rows: Rows, slots: Iterable[int]) -> list[bytes]:
    """Slots as they lie."""
    return [row[2] for row in rows.find(KEYSLOT, ("n",), [(n,) for n in slots])]


def again(world: World) -> Store:
    """The same store once more, as another process opens it."""
    if isinstance(world.store, PostgresStore):
        return PostgresStore(world.store.url)
    return SqliteStore(world.folder / "vault" / "vault.db")


def test_a_churning_vault_forgets_every_key_and_no_other(on_disk: World) -> None:
    """Hundreds of buckets and people come and go in random order; the files hold the living alone."""
    dice, dead = random.Random(11), list[bytes]()
    people: list[SubjectNumber] = []
    period = 0
    for _ in range(25):
        with on_disk.write() as tx:
            ids = [bucket(dice.choice(("news", "ads")), period + n) for n in range(8)]
            period += 8
            tx.ensure_buckets([wanted(i) for i in ids])
            tx.tell_buckets([(i, "crm") for i in ids])
            purposes = ("news", "ads", "shop" * dice.randint(1, 30))
            people += [on_disk.person(tx, f"{period}-{n}@x", purposes=purposes).number for n in range(8)]
        with on_disk.write() as tx:
            grown = [
                with_key(s, f"p{dice.random()}", START, new_key)
                for s in tx.subjects(dice.sample(people, 4)).values()
                if not s.erased
            ]
            tx.put_subjects(grown)
        doomed_people = dice.sample(people, 6)
        with on_disk.store.begin(write=False) as rows:
            live = [row for row in rows.scan(BUCKET) if row[-1] is not None]
            doomed = dice.sample(live, min(len(live), 6))
            dead += wrapped(rows, [row[-1] for row in doomed])
            sealed = rows.find(SUBJECT, ("number",), [(n,) for n in doomed_people])
            dead += wrapped(rows, [row[2] for row in sealed])
        with on_disk.write() as tx:
            dead += _kept(tx, doomed)
            for state in tx.subjects(doomed_people).values():
                dead += [s.key for s in state.purposes.values() if s.key is not None]
                names = tx.aliases_of([state.number])[state.number]
                erase(tx, names, tx.now, on_disk.herald)
            for row in doomed:
                end_bucket(tx, bucket(row[0], row[1]), on_disk.herald)
        on_disk.drain()
    finish_buckets(on_disk.vault)
    everything = every_byte(on_disk.folder)
    gone = [d for d in dead if any(d)]
    with on_disk.store.begin(write=False) as rows:
        living = {row[2] for row in rows.scan(KEYSLOT, [("epoch", ">", NOBODY)])}
    assert len(gone) > 400 and len(living) > 50
    assert not [d for d in gone if d not in living and occurs(d, everything)]
    assert all(w in everything for w in living)


def _kept(tx: object, doomed: list[tuple[object, ...]]) -> list[bytes]:
    own = destroying(tx)  # type: ignore[arg-type]
    slots = [row[-1] for row in doomed]
    derived = own.living_keys({str(row[0]) for row in doomed})
    return [*own.slots.read(slots).values(), *(derived[bucket(row[0], row[1])] for row in doomed)]  # type: ignore[arg-type]


def test_a_withdrawn_key_is_gone_from_every_older_copy_of_its_row(on_disk: World) -> None:
    """The row's key is replaced in place, so that no earlier sealed row opens, wherever a copy lies."""
    with on_disk.write() as tx:
        state = on_disk.person(tx, "a@x", purposes=("news", "ads"))
    with on_disk.store.begin(write=False) as rows:
        ((_, _, slot, old_row),) = rows.find(SUBJECT, ("number",), [(state.number,)])
        (old_key,) = wrapped(rows, [slot])
    denied = Statement(purpose="news", granted=False, at=START)
    with on_disk.write() as tx:
        apply_statements(tx, tx.subjects([state.number])[state.number], [denied], on_disk.herald)
    finish_buckets(on_disk.vault)
    everything = every_byte(on_disk.folder)
    assert not occurs(old_key, everything) and not occurs(old_row, everything)
    assert not occurs(state.purposes["news"].key or b"", everything)
    assert on_disk.state(state.number).purpose("ads").key == state.purposes["ads"].key


def test_a_released_hold_leaves_nothing(on_disk: World) -> None:
    """What it put aside and its own key are in no byte."""
    with on_disk.write() as tx:
        on_disk.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket())])
    with on_disk.write() as tx:
        place_hold(tx, b"h" * 16, [on_disk.hash("a@x")], ["news"], reason="a reason")
        end_bucket(tx, bucket(), on_disk.herald)
        dead = [key.k for key in tx.hold_keys(b"h" * 16)]
    with on_disk.store.begin(write=False) as rows:
        ((_, _, _, slot, sealed),) = rows.scan(HOLD)
        dead += [sealed, *wrapped(rows, [slot]), *(row[-1] for row in rows.scan(ESCROW))]
    with on_disk.write() as tx:
        release_hold(tx, b"h" * 16)
    finish_buckets(on_disk.vault)
    everything = every_byte(on_disk.folder)
    assert len(dead) == 4 and not [d for d in dead if occurs(d, everything)]


def test_nothing_personal_lies_in_clear(on_disk: World) -> None:
    """Identifiers, keys, reasons and requests are hashed or sealed in every file."""
    with on_disk.write() as tx:
        state = on_disk.person(tx, "canary@example.org")
        place_hold(tx, b"h" * 16, [on_disk.hash("canary@example.org")], ["news"], reason="canary reason")
    everything = every_byte(on_disk.folder)
    clear = [b"canary", state.purposes["news"].key or b"", on_disk.vault.secrets.alias]
    assert not [c for c in clear if c in everything]


def test_files_are_private(on_disk: World) -> None:
    """The database and its companions can be read by their owner alone."""
    modes = {path.stat().st_mode & 0o777 for path in (on_disk.folder / "vault").iterdir()}
    assert modes == {0o600}


# ---- epochs ------------------------------------------------------------------------------------------------
def test_turning_the_epoch_kills_old_copies_and_loses_nothing(tmp_path: Path) -> None:
    """A copy from before opens nothing with whatever keys are left; the vault opens all (invariant 17)."""
    keys = FileEpochKeys(tmp_path / "keys", tmp_path / "backup")
    world = open_world("sqlite", tmp_path, keys=keys)
    with world.write() as tx:
        state = world.person(tx, "a@x")
        tx.ensure_buckets([wanted(bucket(period=1)), wanted(bucket(period=2))])
        before = tx.bucket_keys([bucket(period=1), bucket(period=2)])
    assert world.vault.checkpoint()
    shutil.copytree(tmp_path / "vault", tmp_path / "copy")
    with world.write() as tx:
        end_bucket(tx, bucket(period=1), world.herald)
    finish_buckets(world.vault)
    old = SqliteStore(tmp_path / "copy" / "vault.db")
    assert StoreVault(old, keys).clock.now() == START, (
        "until the epoch turns, a backup opens what was destroyed"
    )
    assert world.vault.turn_epoch(batch=1) == NOBODY + 2
    assert sorted(p.name for p in (tmp_path / "keys").iterdir()) == [f"{NOBODY + 2}.key"]
    assert sorted(p.name for p in (tmp_path / "backup").iterdir()) == [f"{NOBODY + 2}.key"]
    with pytest.raises(Refused):
        StoreVault(old, keys)
    again = StoreVault(world.store, keys)
    with again.transaction(write=False) as tx:
        assert tx.bucket_keys(before) == {bucket(period=2): before[bucket(period=2)]}
        held = tx.subjects([state.number])[state.number]
        assert replace(held, version=0) == state
        assert again.secrets.alias == world.vault.secrets.alias
    with world.store.begin(write=False) as rows:
        assert rows.scan(EPOCH, order=("n",)) == [(NOBODY,), (NOBODY + 2,)]
    with world.read() as tx:
        assert tx.epoch_turns() == [(NOBODY + 1, START)]


def turned_thrice(world: World, made: dict[SubjectNumber, bytes], errors: list[BaseException]) -> list[int]:
    """Turn the epoch three times, each after some more were made."""
    epochs: list[int] = []
    while len(epochs) < 3 and not errors:
        if len(made) < 6 * len(epochs) + 6:
            continue
        try:
            epochs.append(world.vault.turn_epoch(batch=7))
        except Unavailable:
            continue
    return epochs


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_turn_under_load_loses_nothing(kind: str, tmp_path: Path) -> None:
    """Three epochs pass while other threads make, read and end keys; every key is the one that was made."""
    on_disk = open_world(kind, tmp_path)
    stop, errors, made = threading.Event(), list[BaseException](), dict[SubjectNumber, bytes]()

    def work(n: int) -> None:
        # A vault of its own, as another process would have.
        vault = StoreVault(again(on_disk), on_disk.keys)
        period = 0
        try:
            while not stop.is_set():
                period += 1
                with vault.transaction() as tx:
                    state = with_key(tx.new_subject(), "news", START, new_key)
                    tx.put_subjects([state])
                    tx.ensure_buckets([wanted(bucket(f"p{n}", period))])
                    assert tx.bucket_keys([bucket(f"p{n}", period)])
                made[state.number] = state.purposes["news"].key or b""
                with vault.transaction() as tx:
                    end_bucket(tx, bucket(f"p{n}", period), on_disk.herald)
                    assert tx.subjects([state.number])[state.number].purpose("news").key == made[state.number]
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test
            errors.append(error)
        finally:
            vault.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for each in threads:
        each.start()
    epochs = turned_thrice(on_disk, made, errors)
    stop.set()
    for each in threads:
        each.join()
    assert not errors and epochs == [NOBODY + 2, NOBODY + 3, NOBODY + 4]
    with on_disk.read() as tx:
        held = {n: s.purpose("news").key for n, s in tx.subjects(made).items()}
    on_disk.vault.close()
    assert held == made and len(made) > 10
    assert isinstance(on_disk.keys, MemoryEpochKeys) and list(on_disk.keys.keys) == [NOBODY + 4]


@pytest.mark.parametrize("crash", ["create", "rewrap", "close", "forget", "destroy"])
def test_an_interrupted_turn_is_finished_by_the_next_call(
    crash: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stopped, nothing is lost, and the next call leaves one epoch and one key."""
    with world.write() as tx:
        state = world.person(tx)
    places = {
        "create": "vault.epochs._rewrap",
        "rewrap": "vault.epochs._rewrapped",
        "close": "vault.epochs._close",
        "forget": "vault.epochs._destroy",
        "destroy": "tests.unit.vault.test_forgetting.MemoryEpochKeys.destroy",
    }

    def die(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(places[crash], die)
        with pytest.raises(ZeroDivisionError):
            world.vault.turn_epoch()
    assert replace(world.state(state.number), version=0) == state
    assert world.vault.turn_epoch() == NOBODY + 2
    assert isinstance(world.keys, MemoryEpochKeys) and list(world.keys.keys) == [NOBODY + 2]
    assert world.vault.turn_epoch() == NOBODY + 3
    assert replace(world.state(state.number), version=0) == state


def test_an_epoch_is_not_dropped_while_somebody_reads_old_pages(
    on_disk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn says so, keeps the old key, and ends once the reader has."""
    monkeypatch.setattr(epochs, "FORGET_TRIES", 1)
    with on_disk.store.begin(write=False) as rows:
        assert rows.count(EPOCH) == 2
        with pytest.raises(Unavailable):
            on_disk.vault.turn_epoch()
        assert isinstance(on_disk.keys, MemoryEpochKeys) and len(on_disk.keys.keys) == 2
    assert on_disk.vault.turn_epoch() == NOBODY + 2
    assert list(on_disk.keys.keys) == [NOBODY + 2]


def test_a_turn_outlasts_readers_that_come_and_go(on_disk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the bytes cannot be cleared at the first attempt, nor the second, is no reason to give up."""
    answers = [False, False]
    clear = on_disk.store.forget
    monkeypatch.setattr(epochs, "FORGET_PAUSE", 0.0)
    monkeypatch.setattr(on_disk.store, "forget", lambda: answers.pop() if answers else clear())
    assert on_disk.vault.turn_epoch() == NOBODY + 2
    assert not answers


def test_a_turn_without_a_backup_does_not_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key's backup is read before anything is wrapped under it, and again before the old goes."""
    monkeypatch.setattr(MemoryEpochKeys, "backed_up", lambda *_: False)
    with pytest.raises(Unavailable):
        world.vault.turn_epoch()
    with world.store.begin(write=False) as rows:
        assert rows.count(EPOCH) == 2
    answers = iter([True, False, True])
    monkeypatch.setattr(MemoryEpochKeys, "backed_up", lambda *_: next(answers))
    with pytest.raises(Unavailable):
        world.vault.turn_epoch()
    assert isinstance(world.keys, MemoryEpochKeys) and len(world.keys.keys) == 2
    assert world.vault.turn_epoch() == NOBODY + 2


def test_a_damaged_key_is_refused_not_replaced(world: World) -> None:
    """Another epoch key, or a slot that was changed, opens nothing and says where."""
    with world.write() as tx:
        state = world.person(tx)
    assert isinstance(world.keys, MemoryEpochKeys)
    held = dict(world.keys.keys)
    world.keys.keys[NOBODY + 1] = new_key()
    with pytest.raises(Refused):
        StoreVault(world.store, world.keys)
    world.keys.keys.clear()
    with pytest.raises(Refused):
        StoreVault(world.store, world.keys)
    world.keys.keys.update(held)
    with world.store.begin(write=True) as rows:
        ((number, version, slot, sealed),) = rows.find(SUBJECT, ("number",), [(state.number,)])
        rows.put(SUBJECT, [(number, version + 1, slot, sealed)])
    with pytest.raises(Refused):
        world.state(state.number)


# ---- epoch keys as files -----------------------------------------------------------------------------------
def test_key_files_are_private_backed_up_and_mended(tmp_path: Path) -> None:
    """Two copies of 0600; a lost one is made again from the other; a destroyed key is gone from both."""
    keys = FileEpochKeys(tmp_path / "keys", tmp_path / "backup")
    keys.create(7)
    key = keys.key(7)
    paths = [tmp_path / "keys" / "7.key", tmp_path / "backup" / "7.key"]
    assert [p.stat().st_mode & 0o777 for p in paths] == [0o600] * 2 and keys.backed_up(7)
    keys.create(7)
    assert keys.key(7) == key
    paths[0].unlink()
    assert keys.key(7) == key and not keys.backed_up(7)
    keys.create(7)
    assert keys.backed_up(7)
    paths[1].write_bytes(bytes(32))
    assert not keys.backed_up(7) and keys.key(7) == key
    keys.destroy(7)
    keys.destroy(7)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    with pytest.raises(Refused):
        keys.key(7)
    with pytest.raises(Unavailable):
        paths[0].mkdir()
        keys.key(7)


def test_a_vault_without_backup_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch's key needs its backup too."""
    monkeypatch.setattr(MemoryEpochKeys, "backed_up", lambda *_: False)
    with pytest.raises(Unavailable):
        open_world("memory", tmp_path)


def test_checkpoints_clear_the_journal(on_disk: World) -> None:
    """After a checkpoint the write-ahead log is empty; a busy one says so and harms nobody."""
    with on_disk.write() as tx:
        tx.ensure_buckets([wanted(bucket(), START + DAY)])
    log = on_disk.folder / "vault" / "vault.db-wal"
    assert log.stat().st_size > 0
    assert on_disk.vault.checkpoint() and log.stat().st_size == 0
    with on_disk.store.begin(write=False) as rows:
        assert rows.count(BUCKET) == 1
        with on_disk.write() as tx:
            tx.add_tally({bucket(): 1})
        assert not on_disk.vault.checkpoint()
    assert on_disk.vault.checkpoint()
    on_disk.vault.clock.set_manual(Micros(START + 1))
