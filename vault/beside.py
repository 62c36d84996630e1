"""What may be written beside other writers, where the store lets them run side by side.

Everything else (what destroys, what is ordered, what is owed to the log) is done alone: then no pair of
transactions has to be thought through but those named here, and a reader of docs/decisions.md can check them.
"""

from collections.abc import Mapping

from schemas.errors import Conflict
from vault.store import Way
from vault.tables import (
    ALIAS,
    ANCHOR,
    BUCKET,
    COUNTER,
    KEYSLOT,
    META,
    PLAN,
    PROGRESS,
    RESIDUE_CELL,
    RESIDUE_PERSON,
    SECRET,
    SEEN,
    SUBJECT,
    TALLY,
    TOLD_BUCKET,
    TOLD_SUBJECT,
    Table,
)

_FENCE = frozenset({PROGRESS, PLAN})
_MAY: Mapping[Way, frozenset[Table]] = {
    "judging": _FENCE
    | {SEEN, ALIAS, SUBJECT, ANCHOR, KEYSLOT, SECRET, BUCKET, TOLD_BUCKET, TOLD_SUBJECT, META},
    "counting": _FENCE | {TALLY, COUNTER, RESIDUE_CELL, RESIDUE_PERSON},
}


def check(way: Way, table: Table | None) -> None:
    """Raise `Conflict` where a transaction has to be alone to write this: it is done again, alone."""
    if way != "alone" and table is not None and table not in _MAY[way]:
        raise needs_alone()


def needs_alone() -> Conflict:
    """What a transaction beside others raises when it turns out that it has to be alone."""
    return Conflict("conflict", "this needs the vault alone", "vault")
