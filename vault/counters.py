"""Counters as rows of a table, for stores where one writer at a time keeps them."""

from collections.abc import Callable, Iterable

from vault.store import Row, Rows
from vault.tables import COUNTER, Table

Put = Callable[[Table, Iterable[Row]], None]


def drawn(rows: Rows, counter: str) -> int:
    """Return the last number a counter gave, 0 where it gave none."""
    found = rows.find(COUNTER, ("name",), [(counter,)])
    return int(found[0][1]) if found else 0


def draw(rows: Rows, put: Put, counter: str, n: int, least: int) -> list[int]:
    """Return n numbers after the last one, from `least` on."""
    first = max(drawn(rows, counter) + 1, least)
    if n:
        put(COUNTER, [(counter, first + n - 1)])
    return list(range(first, first + n))
