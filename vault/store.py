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

Way = Literal["alone", "judging", "counting"]
"""How a transaction that writes lives with other writers. `alone`: no other writes at the same time.

Two ways go beside each other (and never beside one that is alone), on tables that `vault.beside` names.
`judging` reads one snapshot and fails with `Conflict` where another changed first what it writes or claims;
`counting` waits for the other and sees what it wrote. A store may well run them one by one.
"""


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

    def add(self, table: Table, rows: Iterable[Row], sums: Sequence[str]) -> None:
        """Insert rows; where one is, add to its `sums` and replace the rest that is not key."""
        ...

    def draw(self, counter: str, n: int, least: int = 0) -> list[int]:
        """Return n numbers, ascending, that this counter never gave before; a failed transaction loses them.

        `least` is what they at least are where the transaction is alone.
        """
        ...

    def drawn(self, counter: str) -> int:
        """Return the last number this counter gave, 0 where it gave none."""
        ...

    def claim(self, names: Iterable[bytes]) -> None:
        """Meet whoever claims one of these names at the same time, as if both wrote one row of that name."""
        ...

    def delete(self, table: Table, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> None:
        """Delete rows whose `columns` are among `values`; `Bug` where another row refers to one."""
        ...

    def delete_where(self, table: Table, where: Where) -> int:
        """Delete rows for which all holds; returns how many."""
        ...


class Store(Protocol):
    """Something that keeps rows, durably or not, for several processes or one."""

    @property
    def overwrites(self) -> bool:
        """Whether `forget` removes bytes from every file; where not, only the end of an epoch does."""
        ...

    def weaknesses(self) -> list[str]:
        """Return what of the server's set-up breaks a promise of this port, in words for an operator."""
        ...

    def begin(self, *, write: bool, way: Way = "alone") -> AbstractContextManager[Rows]:
        """Open a transaction; commits at the end, rolls back if the block raises. Reads are one snapshot."""
        ...

    def forget(self) -> bool:
        """Try to remove what was overwritten, and every older view of it; say whether it is gone."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
