"""The vault's rows in memory: for tests and dry runs; one transaction at a time, gone with the process."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import ge, gt, le, lt
from typing import Any

from schemas.errors import Bug, Unavailable
from vault import beside, counters
from vault.store import Row, Rows, Way, Where
from vault.tables import TABLES, Table

_PATIENCE = 10.0
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


class _Kept:
    """One table: rows by key, and for each index the keys by its values."""

    def __init__(self, table: Table) -> None:
        self.key = [table.at(c) for c in table.key]
        self.rows: dict[Row, Row] = {}
        self.index: dict[tuple[str, ...], dict[Row, dict[Row, None]]] = {
            columns: defaultdict(dict) for columns in table.indexes
        }
        self._places = {columns: [table.at(c) for c in columns] for columns in table.indexes}

    def replace(self, key: Row, row: Row | None) -> Row | None:
        was = self.rows.pop(key, None) if row is None else self.rows.get(key)
        if row is not None:
            self.rows[key] = row
        for columns, places in self._places.items():
            if was is not None:
                self.index[columns][tuple(was[i] for i in places)].pop(key, None)
            if row is not None:
                self.index[columns][tuple(row[i] for i in places)][key] = None
        return was


class MemoryStore:
    """Keeps rows in dictionaries; a transaction holds the one lock, and undoes its writes when it fails."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.tables = {table.name: _Kept(table) for table in TABLES}

    @contextmanager
    def begin(self, *, write: bool, way: Way = "alone") -> Iterator[Rows]:
        """Open a transaction; `Unavailable` where another thread keeps the store for more than 10 s."""
        if not self._lock.acquire(timeout=_PATIENCE):
            raise Unavailable("unavailable", "the vault is busy", do="try again")
        rows = _MemoryRows(self.tables, write=write, way=way)
        try:
            yield rows
        except BaseException:
            rows.undo()
            raise
        finally:
            self._lock.release()

    @property
    def overwrites(self) -> bool:
        """True: what was overwritten is not kept."""
        return True

    def weaknesses(self) -> list[str]:
        """Return nothing: it is set up by us."""
        return []

    def forget(self) -> bool:
        """Return True: what was overwritten is not kept."""
        return True

    def close(self) -> None:
        """Do nothing: the rows stay for whoever holds the store."""


class _MemoryRows:
    def __init__(self, tables: dict[str, _Kept], *, write: bool, way: Way) -> None:
        self._tables = tables
        self._write = write
        self._way = way
        self._undo: list[tuple[_Kept, Row, Row | None]] = []

    def undo(self) -> None:
        for kept, key, was in reversed(self._undo):
            kept.replace(key, was)

    def find(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Row]:
        kept, wanted = self._tables[table.name], {tuple(v) for v in values}
        if tuple(columns) == table.key:
            return [kept.rows[v] for v in wanted if v in kept.rows]
        if tuple(columns) in kept.index:
            index = kept.index[tuple(columns)]
            return [kept.rows[key] for v in wanted if v in index for key in index[v]]
        places = [table.at(c) for c in columns]
        return [row for row in kept.rows.values() if tuple(row[i] for i in places) in wanted]

    def scan(
        self,
        table: Table,
        where: Where = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        distinct: Sequence[str] = (),
    ) -> list[Row]:
        rows = [row for row in self._tables[table.name].rows.values() if _holds(table, row, where)]
        places = [table.at(c) for c in order]
        rows.sort(key=lambda row: tuple((row[i] is not None, row[i]) for i in places))
        if distinct:
            rows = list(dict.fromkeys(tuple(row[table.at(c)] for c in distinct) for row in rows))
        return rows if limit is None else rows[:limit]

    def count(self, table: Table, where: Where = ()) -> int:
        return sum(_holds(table, row, where) for row in self._tables[table.name].rows.values())

    def put(self, table: Table, rows: Iterable[Row]) -> None:
        self._may_write(table)
        self._put(table, rows)

    def add(self, table: Table, rows: Iterable[Row], sums: Sequence[str]) -> None:
        self._may_write(table)
        kept, places = self._tables[table.name], {table.at(column) for column in sums}
        for row in rows:
            was = kept.rows.get(tuple(row[i] for i in kept.key))
            summed = (
                row if was is None else tuple(v + was[i] if i in places else v for i, v in enumerate(row))
            )
            self._put(table, [summed])

    def draw(self, counter: str, n: int, least: int = 0) -> list[int]:
        self._may_write()
        return counters.draw(self, self._put, counter, n, least)

    def drawn(self, counter: str) -> int:
        return counters.drawn(self, counter)

    def claim(self, names: Iterable[bytes]) -> None:  # noqa: ARG002 one writer at a time meets nobody
        self._may_write()

    def _put(self, table: Table, rows: Iterable[Row]) -> None:
        kept = self._tables[table.name]
        for row in rows:
            for column, value in zip(table.columns, row, strict=True):
                if value is None and not column.null:
                    raise Bug("bug", "a column without a value", f"{table.name}.{column.name}")
                if value is not None and column.refers and (value,) not in self._tables[column.refers].rows:
                    raise Bug("bug", "a reference to nothing", f"{table.name}.{column.name}")
            key = tuple(row[i] for i in kept.key)
            self._undo.append((kept, key, kept.replace(key, row)))

    def delete(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> None:
        self._drop(table, self.find(table, columns, values))

    def delete_where(self, table: Table, where: Where) -> int:
        rows = self.scan(table, where)
        self._drop(table, rows)
        return len(rows)

    def _drop(self, table: Table, rows: Iterable[Row]) -> None:
        self._may_write(table)
        kept = self._tables[table.name]
        for row in rows:
            key = tuple(row[i] for i in kept.key)
            for other in TABLES:
                for column in other.columns:
                    if column.refers == table.name and self.find(other, (column.name,), [key]):
                        raise Bug("bug", "another row needs this one", table.name)
            self._undo.append((kept, key, kept.replace(key, None)))

    def _may_write(self, table: Table | None = None) -> None:
        if not self._write:
            raise Bug("bug", "a read transaction does not write")
        beside.check(self._way, table)


def _holds(table: Table, row: Row, where: Where) -> bool:
    for column, op, value in where:
        cell = row[table.at(column)]
        if op == "null" or op == "set":
            if (cell is None) != (op == "null"):
                return False
        elif cell is None or not (cell == value if op == "=" else _COMPARE[op](cell, value)):
            return False
    return True
