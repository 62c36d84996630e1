"""The rows of one open PostgreSQL transaction: reads at once, writes in batches."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any

import psycopg

from schemas.errors import Bug
from vault import beside, counters, pgsql, sql
from vault.store import Row, Way, Where
from vault.tables import Table

_AHEAD = 64
"""How many subject numbers a process draws beyond those it needs now: one trip instead of one a person."""

_Adding = tuple[tuple[str, ...], dict[Row, Row]]


class PostgresRows:
    """`Rows`. What is put waits here until its table is read, something is deleted, or the end."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        numbers: dict[str, list[int]],
        *,
        write: bool,
        way: Way,
        run: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._numbers = numbers
        self._write = write
        self._way = way
        self._translated = run
        self._put: dict[Table, dict[Row, Row]] = {}
        self._added: dict[Table, _Adding] = {}

    def find(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Row]:
        """Return rows whose `columns` are among `values`, in no order."""
        wanted = list(dict.fromkeys(map(tuple, values)))
        if not wanted:
            return []
        self._flush_table(table)
        text = pgsql.find(table, tuple(columns))
        return self._run(text, [list(column) for column in zip(*wanted, strict=True)]).fetchall()

    def scan(
        self,
        table: Table,
        where: Where = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        distinct: Sequence[str] = (),
    ) -> list[Row]:
        """Return rows by `order`; with `distinct`, only these columns and each combination once."""
        self._flush_table(table)
        shape = tuple((column, op) for column, op, _ in where)
        text = pgsql.scan(table, shape, tuple(order), limit is not None, tuple(distinct))
        return self._run(text, sql.parameters(where) + ([] if limit is None else [limit])).fetchall()

    def count(self, table: Table, where: Where = ()) -> int:
        """Return how many rows there are."""
        self._flush_table(table)
        found = self._run(sql.count(table, where, pgsql.DIALECT), sql.parameters(where)).fetchone()
        assert found is not None, "a count is one row"
        return int(found[0])

    def put(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows, or replace all that is not key."""
        self._may_write(table)
        if table in self._added:
            self._flush_table(table)
        kept, places = self._put.setdefault(table, {}), [table.at(c) for c in table.key]
        for row in rows:
            kept[tuple(row[i] for i in places)] = row

    def add(self, table: Table, rows: Iterable[Row], sums: Sequence[str]) -> None:
        """Insert rows; where one is, add to its `sums` and replace the rest that is not key."""
        self._may_write(table)
        self._flush_table(table)
        summed: dict[Row, Row] = {}
        key, places = [table.at(c) for c in table.key], {table.at(c) for c in sums}
        for row in rows:
            name = tuple(row[i] for i in key)
            was = summed.get(name)
            if was is not None:
                row = tuple(cell + was[i] if i in places else cell for i, cell in enumerate(row))
            summed[name] = row
        self._added[table] = (tuple(sums), summed)

    def draw(self, counter: str, n: int, least: int = 0) -> list[int]:
        """Return n numbers, ascending, that this counter never gave before."""
        self._may_write()
        if n == 0:
            return []
        if self._way == "alone":
            return self._draw_alone(counter, n, least)
        ahead = self._numbers.setdefault(counter, []) if counter == "subject" else []
        if len(ahead) < n:
            ahead += self._next(counter, n - len(ahead) + (_AHEAD if counter == "subject" else 0))
        return [ahead.pop(0) for _ in range(n)]

    def drawn(self, counter: str) -> int:
        """Return the last number this counter gave, 0 where it gave none."""
        if counter not in pgsql.COUNTERS:
            return counters.drawn(self, counter)
        row = self._run(f"SELECT last_value, is_called FROM {pgsql.sequence(counter)}").fetchone()  # noqa: S608 names of ours
        assert row is not None, "a sequence is one row"
        return int(row[0]) if row[1] else 0

    def claim(self, names: Iterable[bytes]) -> None:
        """Write a row per name: who claims one at the same time fails (`judging`) or waits (`counting`)."""
        self._may_write()
        if self._way == "alone":
            return
        numbers = sorted({_short(name) for name in names})
        self._run(
            f"INSERT INTO {pgsql.CLAIM} SELECT *, 1 FROM unnest(%b::bigint[]) "  # noqa: S608 names of ours
            f"ON CONFLICT (name) DO UPDATE SET times = {pgsql.CLAIM}.times + 1",
            [numbers],
        )

    def delete(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> None:
        """Delete rows whose `columns` are among `values`."""
        self._may_write(table)
        self.flush()
        wanted = list(dict.fromkeys(map(tuple, values)))
        if wanted:
            text = pgsql.delete(table, tuple(columns))
            self._run(text, [list(column) for column in zip(*wanted, strict=True)])

    def delete_where(self, table: Table, where: Where) -> int:
        """Delete rows for which all holds; returns how many."""
        self._may_write(table)
        self.flush()
        return self._run(sql.delete_where(table, where, pgsql.DIALECT), sql.parameters(where)).rowcount

    def flush(self) -> None:
        """Send what was put, tables that others refer to first, rows by key: all lock in one order."""
        for table in sorted({*self._put, *self._added}, key=lambda table: pgsql.REFERRED[table.name]):
            self._flush_table(table)

    def _flush_table(self, table: Table) -> None:
        rows = self._put.pop(table, None)
        if rows:
            for column in table.columns:
                if column.refers is not None:
                    self._flush_named(column.refers)
            self._send(table, rows, ())
        sums, added = self._added.pop(table, ((), {}))
        if added:
            self._send(table, added, sums)

    def _flush_named(self, name: str) -> None:
        for table in [each for each in self._put if each.name == name]:
            self._flush_table(table)

    def _send(self, table: Table, rows: dict[Row, Row], sums: tuple[str, ...]) -> None:
        ordered = [rows[key] for key in sorted(rows)]
        columns = [list(column) for column in zip(*ordered, strict=True)]
        self._run(pgsql.upsert(table, sums), columns)

    def _draw_alone(self, counter: str, n: int, least: int) -> list[int]:
        # Nobody else draws while this is alone, so the sequence may be moved: after a restore it lags behind.
        name = pgsql.sequence(counter)
        row = self._run(
            f"SELECT setval('{name}', greatest(nextval('{name}'), %b) + %b)",
            [least, n - 1],
        ).fetchone()
        assert row is not None, "a number was drawn"
        return list(range(int(row[0]) - n + 1, int(row[0]) + 1))

    def _next(self, counter: str, n: int) -> list[int]:
        name = pgsql.sequence(counter)
        found = self._run(f"SELECT nextval('{name}') FROM generate_series(1, %b)", [n])  # noqa: S608 names of ours
        return sorted(int(row[0]) for row in found.fetchall())

    def ask(self, text: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return what a statement of PostgreSQL's own answers, for whoever looks at the server itself."""
        return self._run(text, parameters).fetchall()

    def _run(self, text: str, parameters: Sequence[object] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        with self._translated():
            cursor = self._connection.cursor(binary=True)
            return cursor.execute(text.encode(), parameters or None)

    def _may_write(self, table: Table | None = None) -> None:
        if not self._write:
            raise Bug("bug", "a read transaction does not write")
        beside.check(self._way, table)


def _short(name: bytes) -> int:
    # Two names that share 64 bits meet without need, and no harm comes of it.
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)
