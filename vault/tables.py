"""The tables of the vault, once for every store: columns, keys, indexes.

Key material stands in `keyslot` alone. Its rows have one size, are added in ascending order, overwritten in
place and never deleted: so no store ever moves one, and no stale copy of a destroyed key stays in a page
(SQLite's `secure_delete` clears what it frees, not what it moves when it balances pages; found by test).
"""

from typing import Literal, NamedTuple

Kind = Literal["int", "bytes", "text"]


class Column(NamedTuple):
    """One column; `refers` names a table whose single-column key it must find."""

    name: str
    kind: Kind
    null: bool = False
    refers: str | None = None


class Table(NamedTuple):
    """One table: its columns, the names of its key columns, its further indexes."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    def at(self, column: str) -> int:
        """Return a column's position in a row."""
        for i, each in enumerate(self.columns):
            if each.name == column:
                return i
        raise KeyError(column)


_KINDS: dict[str, Kind] = {"i": "int", "b": "bytes", "t": "text"}


def _table(name: str, columns: str, key: str, *indexes: str) -> Table:
    """Read `name:kind` pairs; kind i, b or t, with ? where null is allowed and >table for a reference."""
    found = []
    for each in columns.split():
        column, kind = each.split(":")
        kind, _, refers = kind.partition(">")
        found.append(Column(column, _KINDS[kind[0]], kind.endswith("?"), refers or None))
    return Table(name, tuple(found), tuple(key.split()), tuple(tuple(i.split()) for i in indexes))


EPOCH = _table("epoch", "n:i", "n")
EPOCH_TURN = _table("epoch_turn", "n:i at:i?", "n")
KEYSLOT = _table("keyslot", "n:i epoch:i>epoch wrapped:b", "n", "epoch")
MIGRATION = _table("migration", "layout:i at:i", "layout")
META = _table("meta", "name:t value:b", "name")
COUNTER = _table("counter", "name:t value:i", "name")
SECRET = _table("secret", "name:t slot:i>keyslot", "name")

PROGRESS = _table("progress", "topic_id:t part:i next:i", "topic_id part")
PLAN = _table("plan", "topic_id:t part:i plan:b", "topic_id part")
SEEN = _table("seen", "id:i day:i digest:b", "id", "day")

ALIAS = _table("alias", "hash:b owner:b since:i until:i?", "hash owner")
SUPPRESSION = _table("suppression", "hash:b since:i until:i", "hash")
SUBJECT = _table("subject", "number:i version:i slot:i>keyslot sealed:b", "number")
ANCHOR = _table("anchor", "number:i purpose:t due:i", "number purpose", "due")
SUPERSEDED = _table("superseded", "id:b revision:i", "id")

BUCKET = _table(
    "bucket",
    "purpose:t period:i terms:i due:i cap:i? state:t first_seen:i hidden_at:i? ended_at:i? destroyed_at:i? "
    "reason:t? slot:i?>keyslot",
    "purpose period terms",
    "state due",
)
TALLY = _table("tally", "purpose:t period:i terms:i n:i last_seen:i", "purpose period terms")
TOLD_BUCKET = _table(
    "told_bucket", "purpose:t period:i terms:i processor:t", "purpose period terms processor"
)
TOLD_SUBJECT = _table("told_subject", "number:i processor:t", "number processor")

OUTBOX = _table("outbox", "id:i kind:t topic:t part:i key:b? value:b at:i", "id")
COMMAND = _table("command", "id:b code:t? detail:b seq:i at:i", "id")

POLICY = _table("policy", "version:i effective:i sha256:b body:t", "version")
RETENTION_ORDER = _table("retention_order", "id:b at:i body:b", "id")
PROCESSOR = _table("processor", "name:t body:b", "name")
REQUEST = _table("request", "id:b state:t received_at:i sealed:b", "id", "state")

HOLD = _table("hold", "id:b placed_at:i released_at:i? slot:i?>keyslot sealed:b", "id")
ESCROW = _table("escrow", "hold:b n:i purpose:t period:i terms:i sealed:b", "hold n")

OBJECT = _table(
    "object", "processor:t ref:b due:i? lease:b? lease_until:i sealed:b", "processor ref", "processor due"
)
HOLDING = _table(
    "holding",
    "processor:t ref:b delivery_id:b purpose:t period:i terms:i subject_ref:b decided:i ending:i",
    "processor ref delivery_id purpose period terms",
    "processor purpose period terms ref",
    "processor subject_ref ref",
    "processor delivery_id",
)
TASK = _table(
    "task",
    "processor:t about:b state:t kind:t due:i look:i sealed:b",
    "processor about",
    "look",
    "state processor kind",
)
RESIDUE_CELL = _table("residue_cell", "period:t label:t events:i", "period label")
RESIDUE_PERSON = _table("residue_person", "period:t label:t tag:b", "period label tag")

TABLES = (
    EPOCH, EPOCH_TURN, KEYSLOT, META, MIGRATION, COUNTER, SECRET,
    PROGRESS, PLAN, SEEN,
    ALIAS, SUPPRESSION, SUBJECT, ANCHOR, SUPERSEDED,
    BUCKET, TALLY, TOLD_BUCKET, TOLD_SUBJECT,
    OUTBOX, COMMAND,
    POLICY, RETENTION_ORDER, PROCESSOR, REQUEST,
    HOLD, ESCROW,
    OBJECT, HOLDING, TASK, RESIDUE_CELL, RESIDUE_PERSON,
)  # fmt: skip
"""Every table, referred ones first."""

LAYOUT = 3
"""Version of this layout: `vault.migrations` brings older ones here; a newer one is refused."""
