"""SQL for the vault's tables in words common to SQLite and PostgreSQL; names come from `vault.tables`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vault.store import Where
from vault.tables import Kind, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What differs: the name of each kind of column, and how a parameter is written."""

    types: Mapping[Kind, str]
    mark: str


def create(table: Table, dialect: Dialect) -> list[str]:
    """Return the statements that make a table with its indexes, where absent."""
    parts = []
    for c in table.columns:
        null = "" if c.null else " NOT NULL"
        refers = f" REFERENCES {c.refers}" if c.refers else ""
        key = " PRIMARY KEY" if table.key == (c.name,) else ""
        parts.append(f"{_quoted(c.name)} {dialect.types[c.kind]}{key}{null}{refers}")
    if len(table.key) > 1:
        parts.append(f"PRIMARY KEY ({_names(table.key)})")
    made = [f"CREATE TABLE IF NOT EXISTS {_quoted(table.name)} ({', '.join(parts)})"]
    for columns in table.indexes:
        name = _quoted("_".join(("by", table.name, *columns)))
        made.append(f"CREATE INDEX IF NOT EXISTS {name} ON {_quoted(table.name)} ({_names(columns)})")
    return made


def select_in(table: Table, columns: Sequence[str], n: int, dialect: Dialect) -> str:
    """Select rows whose columns are among n distinct values, each found through an index."""
    name = _quoted(table.name)
    if len(columns) == 1:
        among = f"{_quoted(columns[0])} IN ({', '.join([dialect.mark] * n)})"
        return _text("SELECT", _all(table), "FROM", name, "WHERE", among)
    # A row value IN a list is searched by its first column only; a join is searched by all.
    one = f"({', '.join([dialect.mark] * len(columns))})"
    wanted = f"WITH wanted ({_names(columns)}) AS (VALUES {', '.join([one] * n)})"
    found = ", ".join(f"{name}.{_quoted(c.name)}" for c in table.columns)
    same = " AND ".join(f"{name}.{_quoted(c)} = wanted.{_quoted(c)}" for c in columns)
    return _text(wanted, "SELECT", found, "FROM wanted JOIN", name, "ON", same)


def delete(table: Table, columns: Sequence[str], dialect: Dialect) -> str:
    """Delete the rows of one value of the columns."""
    each = " AND ".join(f"{_quoted(c)} = {dialect.mark}" for c in columns)
    return _text("DELETE FROM", _quoted(table.name), "WHERE", each)


def values(table: Table, dialect: Dialect) -> str:
    """One row's values, to be inserted."""
    return f"VALUES ({', '.join([dialect.mark] * len(table.columns))})"


def upsert(table: Table, source: str, sums: Sequence[str] = ()) -> str:
    """Insert what `source` yields; where a row is, add to its `sums` and replace the rest that is not key."""
    name = _quoted(table.name)
    rest = [c.name for c in table.columns if c.name not in table.key]
    then = ", ".join(
        f"{_quoted(c)} = " + (f"{name}.{_quoted(c)} + " if c in sums else "") + f"excluded.{_quoted(c)}"
        for c in rest
    )
    otherwise = f"UPDATE SET {then}" if rest else "NOTHING"
    insert = _text("INSERT INTO", name, f"({_all(table)})", source)
    return _text(insert, f"ON CONFLICT ({_names(table.key)}) DO", otherwise)


def scan(
    table: Table,
    where: Where,
    order: Sequence[str],
    limit: bool,
    distinct: Sequence[str],
    dialect: Dialect,
) -> str:
    """Select rows for which all conditions hold, in order."""
    what = f"DISTINCT {_names(distinct)}" if distinct else _all(table)
    by = f"ORDER BY {_names(order)}" if order else ""
    upto = f"LIMIT {dialect.mark}" if limit else ""
    return _text("SELECT", what, "FROM", _quoted(table.name), _where(where, dialect), by, upto)


def count(table: Table, where: Where, dialect: Dialect) -> str:
    """Count rows for which all conditions hold."""
    return _text("SELECT count(*) FROM", _quoted(table.name), _where(where, dialect))


def delete_where(table: Table, where: Where, dialect: Dialect) -> str:
    """Delete rows for which all conditions hold."""
    return _text("DELETE FROM", _quoted(table.name), _where(where, dialect))


def parameters(where: Where) -> list[object]:
    """Return the values of conditions that have one."""
    return [value for _, op, value in where if op not in ("null", "set")]


def _where(where: Where, dialect: Dialect) -> str:
    unary = {"null": "IS NULL", "set": "IS NOT NULL"}
    each = [f"{_quoted(c)} {unary.get(op) or f'{op} {dialect.mark}'}" for c, op, _ in where]
    return f"WHERE {' AND '.join(each)}" if each else ""


def _all(table: Table) -> str:
    return _names([c.name for c in table.columns])


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(_quoted, columns))


def _text(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _quoted(name: str) -> str:
    return f'"{name}"'
