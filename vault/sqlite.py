"""The vault's rows in one SQLite file, shared by the processes of one host.

Write-ahead log; `synchronous = FULL` for every commit, because both a commit that destroys and one that makes
a key durable must survive a power cut (NORMAL may lose the last commits then); `secure_delete` clears what is
freed; writers begin IMMEDIATE, so a transaction that has read never fails to write. All files are 0600.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from schemas.errors import Bug, Unavailable
from vault import beside, counters, sql
from vault.migrations import migrate
from vault.pool import Pool
from vault.store import Op, Row, Rows, Way, Where
from vault.tables import Table

DIALECT = sql.Dialect(types={"int": "INTEGER", "bytes": "BLOB", "text": "TEXT"}, mark="?")
_CHUNK = 512
_PATIENCE = 10.0
_CHECKPOINT_MS = (*[20] * 25, 1000)
"""Milliseconds a checkpoint waits each time: many looks win a turn among writers, one outlasts readers."""
_LOOK_EVERY = 0.001
"""Seconds between two looks whether the file may be written to; a look costs 10 us."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",  # statement journals hold old rows: never in a file outside the data folder
    "PRAGMA cell_size_check = ON",
)


class SqliteStore:
    """Keeps rows in one file. Each transaction has a connection of its own out of a small pool."""

    def __init__(self, path: Path, *, patience: float = _PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._pool = Pool(self._connect, _rolled_back, sqlite3.Error)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        made = path.stat()
        self._file = (made.st_dev, made.st_ino)
        with self.begin(write=True) as rows:
            assert isinstance(rows, _SqliteRows)
            rows.migrate()

    @contextmanager
    def begin(self, *, write: bool, way: Way = "alone") -> Iterator[Rows]:
        """Open a transaction; `Unavailable` where the file is busy for 10 s, full, damaged or gone."""
        with _translated():
            connection = self._take()
        try:
            with _translated():
                if write:
                    self._take_turn(connection)
                else:
                    connection.execute("BEGIN")
            yield _SqliteRows(connection, write=write, way=way)
            with _translated():
                connection.execute("COMMIT")
        finally:
            self._pool.give(connection)

    @property
    def overwrites(self) -> bool:
        """True: slots are overwritten where they lie, and the log is cut."""
        return True

    def weaknesses(self) -> list[str]:
        """Return nothing: it is set up by us."""
        return []

    def forget(self) -> bool:
        """Move the log into the file and cut it to nothing; False while somebody reads old pages."""
        with _translated():
            connection = self._take()
        try:
            # Writers wait while this waits for readers, so it waits less long than they do.
            for wait in _CHECKPOINT_MS:
                connection.execute(f"PRAGMA busy_timeout = {wait}")
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy == 0:
                    return True
            return False
        except sqlite3.OperationalError:
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._patience * 1000)}")
            self._pool.give(connection)

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are given back."""
        self._pool.close()

    def _take(self) -> sqlite3.Connection:
        self._check_file()
        return self._pool.take()

    def _take_turn(self, connection: sqlite3.Connection) -> None:
        """Begin a write as soon as nobody else writes, for as long as patience lasts.

        SQLite's own waiting looks ever more rarely, up to ten times a second: among many writers whoever has
        waited longest starves, for a second and more, while the file is free most of the time.
        """
        until = time.monotonic() + self._patience
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                    time.sleep(_LOOK_EVERY)
                else:
                    return
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._patience * 1000)}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    def _check_file(self) -> None:
        # A connection would silently make an empty file where the old one was, or go on with one that was
        # replaced while we ran (a restored backup): what it then wrote would be lost.
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise Unavailable("unavailable", "the vault's file is gone", self._path.name) from None
        if (found.st_dev, found.st_ino) != self._file:
            do = "start again: the processes still hold the old file"
            raise Unavailable("unavailable", "the vault's file was replaced", self._path.name, do)


def _rolled_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class _SqliteRows:
    def __init__(self, connection: sqlite3.Connection, *, write: bool, way: Way = "alone") -> None:
        self._connection = connection
        self._write = write
        self._way = way

    def migrate(self) -> None:
        migrate(lambda text, parameters=(): self._run(text, parameters).fetchall(), DIALECT)

    def find(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Row]:
        found: list[Row] = []
        for chunk in _chunks(values):
            # Padded to a power of two by what equals nothing, so that few statements need to be prepared.
            n = 1 << (len(chunk) - 1).bit_length()
            chunk += [(None,) * len(columns)] * (n - len(chunk))
            text = _select_in(table, tuple(columns), n)
            found += self._run(text, [cell for value in chunk for cell in value]).fetchall()
        return found

    def scan(
        self,
        table: Table,
        where: Where = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        distinct: Sequence[str] = (),
    ) -> list[Row]:
        text = _scan(table, _shape(where), tuple(order), limit is not None, tuple(distinct))
        parameters = sql.parameters(where) + ([] if limit is None else [limit])
        return self._run(text, parameters).fetchall()

    def count(self, table: Table, where: Where = ()) -> int:
        (number,) = self._run(sql.count(table, where, DIALECT), sql.parameters(where)).fetchone()
        return int(number)

    def put(self, table: Table, rows: Iterable[Row]) -> None:
        self._may_write(table)
        self._put(table, rows)

    def add(self, table: Table, rows: Iterable[Row], sums: Sequence[str]) -> None:
        self._may_write(table)
        with _translated():
            self._connection.executemany(_upsert(table, tuple(sums)), rows)

    def draw(self, counter: str, n: int, least: int = 0) -> list[int]:
        self._may_write()
        return counters.draw(self, self._put, counter, n, least)

    def drawn(self, counter: str) -> int:
        return counters.drawn(self, counter)

    def claim(self, names: Iterable[bytes]) -> None:  # noqa: ARG002 one writer at a time meets nobody
        self._may_write()

    def _put(self, table: Table, rows: Iterable[Row]) -> None:
        with _translated():
            self._connection.executemany(_upsert(table), rows)

    def delete(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> None:
        self._may_write(table)
        with _translated():
            self._connection.executemany(sql.delete(table, columns, DIALECT), values)

    def delete_where(self, table: Table, where: Where) -> int:
        self._may_write(table)
        return self._run(sql.delete_where(table, where, DIALECT), sql.parameters(where)).rowcount

    def _run(self, text: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        with _translated():
            return self._connection.execute(text, parameters)

    def _may_write(self, table: Table | None = None) -> None:
        if not self._write:
            raise Bug("bug", "a read transaction does not write")
        beside.check(self._way, table)


@lru_cache(maxsize=1024)
def _select_in(table: Table, columns: tuple[str, ...], n: int) -> str:
    return sql.select_in(table, columns, n, DIALECT)


@lru_cache(maxsize=256)
def _scan(
    table: Table,
    shape: tuple[tuple[str, Op], ...],
    order: tuple[str, ...],
    limit: bool,
    distinct: tuple[str, ...],
) -> str:
    where: list[tuple[str, Op, Any]] = [(column, op, None) for column, op in shape]
    return sql.scan(table, where, order, limit, distinct, DIALECT)


@lru_cache(maxsize=256)
def _upsert(table: Table, sums: tuple[str, ...] = ()) -> str:
    return sql.upsert(table, sql.values(table, DIALECT), sums)


def _shape(where: Where) -> tuple[tuple[str, Op], ...]:
    return tuple((column, op) for column, op, _ in where)


def _chunks(values: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    left = iter(dict.fromkeys(map(tuple, values)))
    while chunk := list(islice(left, _CHUNK)):
        yield list(chunk)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours; its texts may quote values and go no further."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise Bug("bug", "another row needs this one, or refers to nothing, or lacks a value") from None
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise Unavailable("unavailable", "the vault does not answer", name, "try again") from None
