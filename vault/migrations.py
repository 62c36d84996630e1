"""Versions of the vault's tables, and how an older one becomes today's: both SQL stores, in one place.

A new table or column goes into `vault.tables`, a step into `STEPS`, and `tables.LAYOUT` up by one. Steps only
go forward and run in the transaction that opens the vault; nobody else is at work then.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from schemas.errors import Refused
from vault import sql
from vault.tables import LAYOUT, META, MIGRATION, TABLES, TASK, Table

NAME = "layout"
"""Where the version stands in `meta`, in decimal."""


class Execute(Protocol):
    """Runs a statement with the dialect's marks; returns rows where there are any."""

    def __call__(self, text: str, parameters: Sequence[object] = (), /) -> list[tuple[Any, ...]]:
        """Run it."""
        ...


STEPS: Mapping[int, tuple[Table, ...]] = {
    2: (MIGRATION,),
    3: (TASK,),
}
"""What each version adds to the one before it."""


def migrate(execute: Execute, dialect: sql.Dialect) -> None:
    """Make the tables of a new vault, or bring an older one to today's layout; `Refused` for a newer one."""
    for statement in sql.create(META, dialect):
        execute(statement)
    found = execute(f"SELECT value FROM {META.name} WHERE name = '{NAME}'")  # noqa: S608 names of ours
    version = int(bytes(found[0][0])) if found else None
    if version is not None and version > LAYOUT:
        where, do = (
            f"layout {version}, this release knows {LAYOUT}",
            "use the release that wrote it, or a later one",
        )
        raise Refused("wrong_data_folder", "the vault was written by a later release", where, do)
    tables = TABLES if version is None else [t for v in range(version + 1, LAYOUT + 1) for t in STEPS[v]]
    for table in tables:
        for statement in sql.create(table, dialect):
            execute(statement)
    if version != LAYOUT:
        marks = ", ".join([dialect.mark] * len(MIGRATION.columns))
        reached = [LAYOUT, time.time_ns() // 1000]
        execute(f"INSERT INTO {MIGRATION.name} VALUES ({marks}) ON CONFLICT DO NOTHING", reached)  # noqa: S608 same
        execute(
            f"UPDATE {META.name} SET value = {dialect.mark} WHERE name = '{NAME}'",  # noqa: S608 names of ours
            [str(LAYOUT).encode()],
        )
