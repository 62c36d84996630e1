"""SQL that only PostgreSQL understands: whole batches as one array per column, found through indexes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from vault import sql
from vault.store import Op, Where
from vault.tables import TABLES, Table

DIALECT = sql.Dialect(
    # Byte order, as SQLite and Python compare; whatever locale the database was made with.
    types={"int": "bigint", "bytes": "bytea", "text": 'text COLLATE "C"'},
    mark="%b",
)
_ARRAYS = {"int": "%b::bigint[]", "bytes": "%b::bytea[]", "text": "%b::text[]"}

COUNTERS = ("seq", "subject", "keyslot", "outbox")
"""Counters that are sequences here: a row would make every writer wait for every other."""

GATE = "gate"
"""An empty table whose locks say who may be at work beside whom."""
CLAIM = "claim"
"""A row per name that somebody claimed; emptied whenever nobody is at work."""


def furniture() -> list[str]:
    """Return the statements that make what this store has besides the tables of every store."""
    sequences = [f"CREATE SEQUENCE IF NOT EXISTS {sequence(name)} CACHE 1" for name in COUNTERS]
    return [
        *sequences,
        f"CREATE TABLE IF NOT EXISTS {GATE} ()",
        # Claims mean nothing once their transaction is over, so a crash may empty the table.
        f"CREATE UNLOGGED TABLE IF NOT EXISTS {CLAIM} (name bigint PRIMARY KEY, times bigint NOT NULL)",
    ]


def sequence(counter: str) -> str:
    """Return the name of a counter's sequence."""
    return f"counter_{counter}"


@lru_cache(maxsize=512)
def find(table: Table, columns: tuple[str, ...]) -> str:
    """Select rows whose columns are among the values of one array per column."""
    every = ", ".join(f"{table.name}.{c.name}" for c in table.columns)
    if len(columns) == 1:
        return f"SELECT {every} FROM {table.name} WHERE {columns[0]} = ANY({_array(table, columns[0])})"  # noqa: S608 names of vault.tables
    return f"SELECT {every} FROM {_wanted(table, columns)} JOIN {table.name} ON {_same(table, columns)}"  # noqa: S608 same


@lru_cache(maxsize=512)
def delete(table: Table, columns: tuple[str, ...]) -> str:
    """Delete rows whose columns are among the values of one array per column."""
    return f"DELETE FROM {table.name} USING {_wanted(table, columns)} WHERE {_same(table, columns)}"  # noqa: S608 same


@lru_cache(maxsize=512)
def upsert(table: Table, sums: tuple[str, ...] = ()) -> str:
    """Insert or replace the rows of one array per column."""
    arrays = ", ".join(_array(table, c.name) for c in table.columns)
    return sql.upsert(table, f"SELECT * FROM unnest({arrays})", sums)  # noqa: S608 same


@lru_cache(maxsize=512)
def scan(
    table: Table,
    shape: tuple[tuple[str, Op], ...],
    order: tuple[str, ...],
    limit: bool,
    distinct: tuple[str, ...],
) -> str:
    """Select rows for which all conditions hold, in order; null comes first, as in the other stores."""
    where: Where = [(column, op, None) for column, op in shape]
    null = {c.name for c in table.columns if c.null}
    ordered = [f'"{c}" NULLS FIRST' if c in null else f'"{c}"' for c in order]
    text = sql.scan(table, where, (), False, distinct, DIALECT)
    return " ".join(
        part
        for part in (text, f"ORDER BY {', '.join(ordered)}" if ordered else "", "LIMIT %b" if limit else "")
        if part
    )


def parameters(where: Where) -> list[Any]:
    """Return the values of conditions that have one."""
    return sql.parameters(where)


REFERRED = {table.name: i for i, table in enumerate(TABLES)}
"""Place of each table where those that are referred to come first."""


def _wanted(table: Table, columns: Sequence[str]) -> str:
    arrays = ", ".join(_array(table, column) for column in columns)
    return f"unnest({arrays}) AS wanted ({', '.join(columns)})"


def _same(table: Table, columns: Sequence[str]) -> str:
    return " AND ".join(f"{table.name}.{column} = wanted.{column}" for column in columns)


def _array(table: Table, column: str) -> str:
    return _ARRAYS[table.columns[table.at(column)].kind]
