"""Key epochs: where their keys live outside the database, and how an epoch is turned under load.

Turning re-wraps every living key under a new epoch, batch by batch beside other writers; then the old
epoch's row goes (a foreign key refuses while one key needs it), its bytes go from every file, and at last
its key: from then on no older copy of the database opens anything that was destroyed before.
"""

import hmac
import os
import time
from pathlib import Path
from typing import NamedTuple

from schemas.errors import Refused, Unavailable
from vault.base import Base, Tools
from vault.faults import (
    BEGUN,
    CLEARED,
    CLOSED,
    COPIED,
    DESTROYED,
    HALVED,
    KEYED,
    REWRAPPED,
    Crash,
    never,
)
from vault.keys import KEY_BYTES, Draw, new_key, random_bytes, unwrap, wrap
from vault.port import EpochKeys
from vault.slots import NOBODY
from vault.store import Rows, Store
from vault.tables import EPOCH, EPOCH_TURN, KEYSLOT

FORGET_TRIES, FORGET_PAUSE = 5, 0.2
"""How often a turn asks the store to clear destroyed bytes, and the seconds between two attempts."""


class MemoryEpochKeys:
    """Epoch keys that die with the process: for tests."""

    def __init__(self, draw: Draw = random_bytes) -> None:
        self._draw = draw
        self.keys: dict[int, bytes] = {}

    def key(self, epoch: int) -> bytes:
        """Return an epoch's key; `Refused` when it is gone."""
        if epoch not in self.keys:
            raise Refused("wrong_data_folder", "an epoch's key is gone", f"epoch {epoch}")
        return self.keys[epoch]

    def create(self, epoch: int) -> None:
        """Make a key; keeps the one that is there."""
        self.keys.setdefault(epoch, new_key(self._draw))

    def backed_up(self, epoch: int) -> bool:
        """Say that what is there is there."""
        return epoch in self.keys

    def destroy(self, epoch: int) -> None:
        """Forget a key."""
        self.keys.pop(epoch, None)


class FileEpochKeys:
    """Epoch keys as 0600 files `<n>.key` outside the database, each with a copy in a second folder."""

    def __init__(
        self, folder: Path, backup: Path, draw: Draw = random_bytes, *, crash: Crash = never
    ) -> None:
        self._folders = (folder, backup)
        self._draw = draw
        self._crash = crash

    def key(self, epoch: int) -> bytes:
        """Return an epoch's key, from the backup where the first copy is lost; `Refused` when both are."""
        for path in self._paths(epoch):
            key = _read(path)
            if key is not None:
                return key
        raise Refused("wrong_data_folder", "an epoch's key is gone or damaged", f"{epoch}.key")

    def create(self, epoch: int) -> None:
        """Make a key and its backup durable; keeps the key that is there, mends a missing copy."""
        known = [key for key in map(_read, self._paths(epoch)) if key is not None]
        key = known[0] if known else new_key(self._draw)
        for path in self._paths(epoch):
            if _read(path) != key:
                _write(path, key)
                self._crash(COPIED)

    def backed_up(self, epoch: int) -> bool:
        """Read both copies and say whether they hold the same key."""
        first, second = map(_read, self._paths(epoch))
        return first is not None and second is not None and hmac.compare_digest(first, second)

    def destroy(self, epoch: int) -> None:
        """Overwrite and remove both copies, the backup first: what is half done is still found."""
        for path in reversed(self._paths(epoch)):
            if path.exists():
                with path.open("r+b") as file:
                    file.write(bytes(KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                _sync(path.parent)
                self._crash(HALVED)

    def _paths(self, epoch: int) -> tuple[Path, ...]:
        return tuple(folder / f"{epoch}.key" for folder in self._folders)


def _read(path: Path) -> bytes | None:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(
            "unavailable", "an epoch's key cannot be read", path.name, "check the file"
        ) from error
    # A key of zeros is what an interrupted destruction leaves.
    return key if len(key) == KEY_BYTES and any(key) else None


def _private(folder: Path) -> None:
    """Make a folder for its owner alone, and each missing one above it: `mkdir` minds the last one only."""
    if not folder.exists():
        _private(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def _write(path: Path, key: bytes) -> None:
    _private(path.parent)
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Turned(NamedTuple):
    """The epoch in force after a turn, and whether an earlier call had begun it."""

    epoch: int
    resumed: bool


def turn(store: Store, keys: EpochKeys, tools: Tools, batch: int, crash: Crash = never) -> Turned:
    """Turn the epoch, or finish a turn that was interrupted.

    `Unavailable` where somebody reads old pages for seconds: all is re-wrapped, and the next call goes on.
    """
    with store.begin(write=True) as rows:
        epochs = sorted(n for (n,) in rows.scan(EPOCH) if n != NOBODY)
        new = int(epochs[-1])
        left = sorted(n for n, _ in rows.scan(EPOCH_TURN, [("at", "null", None)]))
        resumed = len(epochs) > 1 or bool(left)
        if not resumed:
            new += 1
            keys.create(new)
            if not keys.backed_up(new):
                raise Unavailable("unavailable", "the new epoch's key has no backup", f"{new}.key")
            crash(KEYED)
            rows.put(EPOCH, [(new,)])
    crash(BEGUN)
    for old in epochs:
        if old != new:
            _rewrap(store, tools, old, new, batch, crash)
            _close(store, keys, old, new)
            left.append(old)
    crash(CLOSED)
    _destroy(store, keys, tools, left, crash)
    return Turned(new, resumed)


def _rewrap(store: Store, tools: Tools, old: int, new: int, batch: int, crash: Crash) -> None:
    # In the order of the slots, not by epoch: an index on what is being changed is full of dead entries.
    after = 0
    while True:
        with store.begin(write=True) as rows:
            found = rows.scan(KEYSLOT, [("n", ">", after)], order=("n",), limit=batch)
            living = [(n, wrapped) for n, epoch, wrapped in found if epoch == old]
            rows.put(KEYSLOT, [(n, new, _rewrapped(tools, old, new, wrapped)) for n, wrapped in living])
        crash(REWRAPPED)
        if len(found) < batch:
            return
        after = found[-1][0]


def _rewrapped(tools: Tools, old: int, new: int, wrapped: bytes) -> bytes:
    key = unwrap(tools.epochs.kek(old), wrapped)
    if key is None:
        raise Refused("wrong_data_folder", "a key does not open under its epoch", f"epoch {old}")
    return wrap(tools.epochs.kek(new), key)


def _close(store: Store, keys: EpochKeys, old: int, new: int) -> None:
    if not keys.backed_up(new):
        raise Unavailable("unavailable", "the new epoch's key has no backup", f"{new}.key")
    with store.begin(write=True) as rows:
        rows.delete(EPOCH, ("n",), [(old,)])
        rows.put(EPOCH_TURN, [(old, None)])


def _destroy(store: Store, keys: EpochKeys, tools: Tools, left: list[int], crash: Crash) -> None:
    if not left:
        return
    if not _forgotten(store):
        raise Unavailable("unavailable", "somebody reads old pages of the vault", do="turn the epoch again")
    crash(CLEARED)
    for old in left:
        keys.destroy(old)
        tools.epochs.drop(old)
    crash(DESTROYED)
    with store.begin(write=True) as rows:
        at = Base(rows, tools, write=True).now
        rows.put(EPOCH_TURN, [(old, at) for old in left])


def _forgotten(store: Store) -> bool:
    """Readers come and go, and expiry takes its own looks: one refusal means little, several in a row do."""
    for _ in range(FORGET_TRIES - 1):
        if store.forget():
            return True
        time.sleep(FORGET_PAUSE)
    return store.forget()


def first_epoch(rows: Rows, keys: EpochKeys) -> None:
    """Make the first epoch of a new vault, and the one of destroyed keys."""
    keys.create(NOBODY + 1)
    if not keys.backed_up(NOBODY + 1):
        raise Unavailable("unavailable", "the first epoch's key has no backup", f"{NOBODY + 1}.key")
    rows.put(EPOCH, [(NOBODY,), (NOBODY + 1,)])
