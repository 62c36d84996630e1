"""The narrow port under the vault: rows in tables, and transactions over them. All rules live above it.

Memory, SQLite and PostgreSQL implement it; one contract suite runs on each.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from vault.tables import Table

Row = tuple[Any, ...]
"""A row in the order of the table's columns: int, bytes, str or None."""

Op = Literal["=", "<", "<=", ">", ">=", "null", "set"]
Where = Sequence[tuple[str, Op, Any]]
"""Conditions that all hold: (column, comparison, value); `null` and `set` ignore the value."""


class Rows(Protocol):
    """The rows of one open transaction: a snapshot, and its own writes."""

    def find(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Row]:
        """Return rows whose `columns` are among `values`, in no order."""
        ...

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
        ...

    def count(self, table: Table, where: Where = ()) -> int:
        """Return how many rows there are."""
        ...

    def put(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows, or replace all that is not key; a replaced row stays where it lies."""
        ...

    def delete(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> None:
        """Delete rows whose `columns` are among `values`; `Bug` where another row refers to one."""
        ...

    def delete_where(self, table: Table, where: Where) -> int:
        """Delete rows for which all holds; returns how many."""
        ...


class Store(Protocol):
    """Something that keeps rows, durably or not, for several processes or one."""

    def begin(self, *, write: bool) -> AbstractContextManager[Rows]:
        """Open a serializable transaction; commits at the end, rolls back if the block raises."""
        ...

    def forget(self) -> bool:
        """Try to remove every byte that was overwritten or deleted; say whether they are gone."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
