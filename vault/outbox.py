"""What committed transactions owe to the log, commands already judged, how much of `control` is applied."""

from collections.abc import Iterable, Sequence

from schemas.errors import Bug
from schemas.ids import CommandId, Micros
from schemas.ids import Sequence as Seq
from vault.base import Base, one
from vault.tables import COMMAND, COUNTER, OUTBOX
from vault.values import Judged, OutboxRow

_IDS = "outbox"
_CONTROL = "control"
Owed = tuple[str, str, int, bytes | None, bytes]
"""A message owed: kind of record, topic, partition, key, value."""


class OutboxRows(Base):
    """`OutboxTx` over rows."""

    def put_outbox(self, *, kind: str, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        """Owe a message."""
        self.put_outbox_rows([(kind, topic, partition, key, value)])

    def put_outbox_rows(self, owed: Sequence[Owed]) -> None:
        """Owe messages, in this order."""
        self.alone()
        numbers = self.rows.draw(_IDS, len(owed))
        self.rows.put(OUTBOX, [(n, *each, self.now) for n, each in zip(numbers, owed, strict=True)])

    def outbox(self, limit: int) -> list[OutboxRow]:
        """Return the oldest messages owed, in order."""
        return [
            OutboxRow(id=n, kind=kind, topic=topic, partition=part, key=key, value=value, written_at=at)
            for n, kind, topic, part, key, value, at in self.rows.scan(OUTBOX, order=("id",), limit=limit)
        ]

    def delete_outbox(self, ids: Iterable[int]) -> None:
        """Forget messages that were acknowledged."""
        self.rows.delete(OUTBOX, ("id",), [(i,) for i in ids])

    def outbox_count(self) -> int:
        """Return how many messages are owed."""
        return self.rows.count(OUTBOX)

    def endings_owed(self) -> bool:
        """Say whether a destruction, or what the system applied itself, is not on the log yet."""
        topics = ("lifecycle", "control")
        return any(self.rows.count(OUTBOX, [("topic", "=", topic)]) for topic in topics)

    def judge_command(self, command_id: CommandId, code: str | None, detail: bytes) -> None:
        """Record how a command ended; `Bug` when it was judged before."""
        if self.command_judged(command_id) is not None:
            raise Bug("bug", "a command is judged twice", "command")
        self.rows.put(COMMAND, [(command_id, code, detail, self.seq, self.now)])

    def command_judged(self, command_id: CommandId) -> Judged | None:
        """Return how a command ended."""
        row = one(self.rows.find(COMMAND, ("id",), [(command_id,)]))
        if row is None:
            return None
        _, code, detail, seq, at = row
        return Judged(code=code, detail=detail, seq=Seq(seq), at=Micros(at))

    def prune_commands(self, before: Micros) -> int:
        """Forget how commands ended that were judged before this time; returns how many."""
        return self.rows.delete_where(COMMAND, [("at", "<", before)])

    @property
    def control_offset(self) -> int:
        """The offset of `control` up to which (exclusive) commands are applied."""
        found = one(self.rows.find(COUNTER, ("name",), [(_CONTROL,)]))
        return 0 if found is None else int(found[1])

    def set_control_offset(self, next_offset: int) -> None:
        """Record what of `control` is applied."""
        self.rows.put(COUNTER, [(_CONTROL, next_offset)])
