"""Tasks at rest, and what a processor holds as far as anybody here knows."""

from collections.abc import Iterable

import msgspec

from schemas.ids import Micros
from vault.base import Base
from vault.store import Where
from vault.tables import BUCKET, HOLDING, OBJECT, TALLY, TASK, TOLD_BUCKET
from vault.tasks import Held, State, Task, TaskKind

_BUCKET = ("purpose", "period", "terms")


class TaskRows(Base):
    """`TaskTx` over rows."""

    def task(self, processor: str, about: bytes) -> Task | None:
        """Return one row."""
        return next(iter(self.tasks_about([(processor, about)])), None)

    def tasks_about(self, names: Iterable[tuple[str, bytes]]) -> list[Task]:
        """Return the rows of these (processor, about); unknown ones are left out."""
        rows = self.rows.find(TASK, ("processor", "about"), list(dict.fromkeys(names)))
        return [self._task(row[0], row[1], row[-1]) for row in rows]

    def tasks(
        self, *, state: State | None = None, processor: str | None = None, limit: int = 1000
    ) -> list[Task]:
        """Return rows by due date, those longest due first."""
        asked = {"state": state, "processor": processor}
        where: Where = [(column, "=", value) for column, value in asked.items() if value is not None]
        rows = self.rows.scan(TASK, where, order=("due", "processor", "about"), limit=limit)
        return [self._task(row[0], row[1], row[-1]) for row in rows]

    def tasks_to_look_at(self, now: Micros, limit: int) -> list[Task]:
        """Return rows whose `look` has come, by it."""
        rows = self.rows.scan(TASK, [("look", "<=", now)], order=("look", "processor", "about"), limit=limit)
        return [self._task(row[0], row[1], row[-1]) for row in rows]

    def count_tasks(self, state: State, processor: str, kind: TaskKind | None = None) -> int:
        """Return how many rows of a processor are in this state (and of this kind)."""
        asked = {"state": state, "processor": processor, "kind": kind}
        return self.rows.count(TASK, [(c, "=", value) for c, value in asked.items() if value is not None])

    def put_tasks(self, tasks: Iterable[Task]) -> None:
        """Write rows."""
        self.rows.put(
            TASK,
            [
                (
                    t.processor,
                    t.about,
                    t.state,
                    t.kind or "",
                    t.due,
                    t.look,
                    self.seal_row(TASK, _name(t.processor, t.about), msgspec.msgpack.encode(t)),
                )
                for t in tasks
            ],
        )

    def drop_tasks(self, names: Iterable[tuple[str, bytes]]) -> None:
        """Forget rows."""
        self.rows.delete(TASK, ("processor", "about"), list(names))

    def held(self, processor: str) -> list[Held]:
        """Return what a processor holds by purpose, as far as anybody here knows."""
        told = [row[:3] for row in self.rows.scan(TOLD_BUCKET, [("processor", "=", processor)])]
        living = [row for row in self.rows.find(BUCKET, _BUCKET, told) if row[BUCKET.at("ended_at")] is None]
        counts = {row[:3]: row[3] for row in self.rows.find(TALLY, _BUCKET, [row[:3] for row in living])}
        entered = self.rows.scan(HOLDING, [("processor", "=", processor)], distinct=("purpose",))
        found = []
        for purpose in sorted({row[0] for row in living} | {row[0] for row in entered}):
            mine = [row for row in living if row[0] == purpose]
            of: Where = [("processor", "=", processor), ("purpose", "=", purpose)]
            found.append(
                Held(
                    purpose=purpose,
                    deliveries=self.rows.count(HOLDING, of),
                    records=sum(counts.get(row[:3], 0) for row in mine),
                    since=min((row[BUCKET.at("first_seen")] for row in mine), default=None),
                )
            )
        return found

    def count_objects(self, processor: str) -> int:
        """Return how many objects a connector keeps track of at a processor."""
        return self.rows.count(OBJECT, [("processor", "=", processor)])

    def _task(self, processor: str, about: bytes, sealed: bytes) -> Task:
        return msgspec.msgpack.decode(self.unseal_row(TASK, _name(processor, about), sealed), type=Task)


def _name(processor: str, about: bytes) -> bytes:
    return processor.encode() + b"|" + about
