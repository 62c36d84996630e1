"""The part of `Tx` that records flow through: the fence, people, buckets, the outbox and commands."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from schemas.ids import CommandId, Micros, RecordId, SubjectNumber
from vault.values import (
    AliasRow,
    BucketId,
    BucketRow,
    BucketState,
    BucketWanted,
    Judged,
    OutboxRow,
    SubjectState,
)


class ProgressTx(Protocol):
    """The fence and the plan of a chunk (model m1); `topic_id` is Kafka's."""

    def progress(self, topic_id: str, partition: int) -> int | None:
        """Return the next offset to be done, None where nothing was ever done."""
        ...

    def set_progress(self, topic_id: str, partition: int, next_offset: int) -> None:
        """Fence: everything below `next_offset` is done."""
        ...

    def plan(self, topic_id: str, partition: int) -> bytes | None:
        """Return the plan of the chunk in hand."""
        ...

    def put_plan(self, topic_id: str, partition: int, plan: bytes) -> None:
        """Keep the plan of the chunk in hand."""
        ...

    def drop_plan(self, topic_id: str, partition: int) -> None:
        """Forget the plan: its chunk is counted."""
        ...

    def seen(self, record_ids: Iterable[RecordId]) -> dict[RecordId, bytes]:
        """Return the 16-byte content digest of each record id already accepted (`Vault.content_digest`)."""
        ...

    def put_seen(self, digests: Mapping[RecordId, bytes], *, longer: int = 0) -> None:
        """Remember what was accepted, under today; `longer` microseconds more than everything else."""
        ...

    def prune_seen(self, before: Micros) -> int:
        """Forget what was seen before that day; returns how many."""
        ...


class IdentityTx(Protocol):
    """Identifiers and people. Rows of the same transaction are seen by its later reads."""

    def aliases(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[AliasRow, ...]]:
        """Return every row of each identifier, open and closed; judge them with `subjects.resolve`."""
        ...

    def put_aliases(self, rows: Iterable[AliasRow]) -> None:
        """Link identifiers to stored or new subjects (put the subject in the same transaction)."""
        ...

    def aliases_of(self, numbers: Iterable[SubjectNumber]) -> dict[SubjectNumber, tuple[bytes, ...]]:
        """Return the identifiers that lead to each subject, open or kept."""
        ...

    def new_subject(self) -> SubjectState:
        """Return a person with a number nobody ever had; stored once it is put."""
        ...

    def subjects(self, numbers: Iterable[SubjectNumber]) -> dict[SubjectNumber, SubjectState]:
        """Read people; never cached beyond the transaction."""
        ...

    def subject_numbers(self, after: int, limit: int) -> list[SubjectNumber]:
        """Return the numbers of stored people above `after`, ascending: for a pass over everybody."""
        ...

    def put_subjects(self, states: Iterable[SubjectState]) -> None:
        """Write people; `Conflict` where the row is no longer the version that was read.

        It refuses (`Bug`) to lose a live key: keys end through `vault.ending` alone.
        """
        ...

    def anchors_due(self, now: Micros, limit: int) -> list[tuple[SubjectNumber, str, Micros]]:
        """Return (subject, purpose, due) of anchored purposes that are due, by due date."""
        ...

    def superseded(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Return the highest revision of record or delivery ids that were rectified."""
        ...

    def supersede(self, revisions: Mapping[bytes, int]) -> None:
        """Record the highest revision of ids; never lowers one."""
        ...


class BucketTx(Protocol):
    """Buckets, their keys, and who was told of them."""

    def buckets(self, ids: Iterable[BucketId]) -> dict[BucketId, BucketRow]:
        """Read bucket rows; never cached beyond the chunk."""
        ...

    def ensure_buckets(self, wanted: Iterable[BucketWanted]) -> dict[BucketId, BucketRow]:
        """Create what is absent and not due yet, with its key; rows that exist keep their due date."""
        ...

    def bucket_keys(self, ids: Iterable[BucketId]) -> dict[BucketId, bytes]:
        """Return the key bytes of buckets that are usable now (open, not due)."""
        ...

    def all_buckets(self, *, purpose: str | None = None, state: BucketState | None = None) -> list[BucketRow]:
        """Return bucket rows by due date."""
        ...

    def due_buckets(self, now: Micros, limit: int) -> list[BucketRow]:
        """Return open buckets that are due, by due date, the longest overdue first."""
        ...

    def next_due(self, after: Micros) -> Micros | None:
        """Return the first instant later than `after` at which a bucket or an anchored purpose is due."""
        ...

    def add_tally(self, counts: Mapping[BucketId, int]) -> None:
        """Count accepted records into their buckets, also into ended ones."""
        ...

    def add_leaves(self, blobs: Mapping[BucketId, bytes]) -> None:
        """Keep a blob beside each bucket's tally: the chunk's leaves."""
        ...

    def leaves(self, bucket: BucketId) -> dict[str, bytes]:
        """Return the blobs kept beside a bucket's tally, by name."""
        ...

    def count_leaves(self, bucket: BucketId) -> int:
        """Return how many there are, without reading them."""
        ...

    def drop_leaves(self, bucket: BucketId, names: Iterable[str] | None = None) -> None:
        """Forget those of these names, or all of them."""
        ...

    def shorten_bucket(self, bucket: BucketId, due: Micros) -> None:
        """Bring a due date forward; `Bug` if it would be later."""
        ...

    def hide_bucket(self, bucket: BucketId, reason: str) -> None:
        """Stop every use of an open bucket at once and keep its key (the brake of a narrower policy)."""
        ...

    def tell_buckets(self, pairs: Iterable[tuple[BucketId, str]]) -> None:
        """Record that a processor must be told when this bucket ends."""
        ...

    def tell_subjects(self, pairs: Iterable[tuple[SubjectNumber, str]]) -> None:
        """Record that a processor must be told when this person's keys end."""
        ...

    def told_of_bucket(self, bucket: BucketId) -> tuple[str, ...]:
        """Return the processors to tell of a bucket's end."""
        ...

    def told_of_buckets(self, ids: Iterable[BucketId]) -> dict[BucketId, tuple[str, ...]]:
        """Return the processors to tell of each bucket's end."""
        ...

    def told_of_subject(self, number: SubjectNumber) -> tuple[str, ...]:
        """Return the processors to tell of a person's endings."""
        ...


class OutboxTx(Protocol):
    """What committed transactions owe to the log, and commands already judged."""

    def put_outbox(self, *, kind: str, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        """Owe a message."""
        ...

    def outbox(self, limit: int) -> list[OutboxRow]:
        """Return the oldest messages owed, in order."""
        ...

    def delete_outbox(self, ids: Iterable[int]) -> None:
        """Forget messages that were acknowledged."""
        ...

    def outbox_count(self) -> int:
        """Return how many messages are owed."""
        ...

    def judge_command(self, command_id: CommandId, code: str | None, detail: bytes) -> None:
        """Record how a command ended (also refused ones); `Bug` when it was judged before."""
        ...

    def command_judged(self, command_id: CommandId) -> Judged | None:
        """Return how a command ended; a second arrival is a replay."""
        ...

    def prune_commands(self, before: Micros) -> int:
        """Forget how commands ended that were judged before this time; returns how many."""
        ...

    @property
    def control_offset(self) -> int:
        """The offset of `control` up to which (exclusive) commands are applied."""
        ...

    def set_control_offset(self, next_offset: int) -> None:
        """Record what of `control` is applied."""
        ...
