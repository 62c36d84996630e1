"""The vault as everybody else sees it: `Vault`, its transactions `Tx`, and the ports it stands on.

A transaction is serializable, short, and belongs to one thread: no sealing, no network, no `await` inside.
What it read is true when it commits. A write transaction takes a fresh `seq`; whatever destroys goes through
`vault.ending` and `vault.holds`. Errors: `Unavailable` when the store does not answer, `Conflict` when a
subject row changed since it was read elsewhere. Wherever a mapping is returned, what is unknown is absent.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from schemas.ids import CommandId, DeliveryId, Micros, RecordId, RequestId, SubjectNumber, SubjectRef
from schemas.ids import Sequence as Seq
from vault.values import (
    AliasRow,
    BucketId,
    BucketRow,
    BucketState,
    BucketWanted,
    ClockState,
    HeldKey,
    Hold,
    Judged,
    OutboxRow,
    PolicyRow,
    ProcessorState,
    RequestState,
    ResidueCell,
    ResidueEntry,
    RetentionOrder,
    SubjectState,
    VendorObject,
)


class EpochKeys(Protocol):
    """Where epoch keys live, outside the database (a 0600 file, a KMS), each with its own backup."""

    def key(self, epoch: int) -> bytes:
        """Return the 32 bytes of an epoch's key; `Refused` when it is gone or damaged."""
        ...

    def create(self, epoch: int) -> None:
        """Make a new key and its backup durable; keeps the key that is already there."""
        ...

    def backed_up(self, epoch: int) -> bool:
        """Read the backup and say whether it holds the same key."""
        ...

    def destroy(self, epoch: int) -> None:
        """Overwrite and remove key and backup; does nothing where there is none."""
        ...


class Clock(Protocol):
    """The vault's time: the only one that decides expiry; shared by all processes."""

    @property
    def mode(self) -> Literal["system", "manual"]:
        """Say whether time runs or stands until it is set."""
        ...

    def now(self) -> Micros:
        """Return the vault's time."""
        ...

    def set_manual(self, instant: Micros) -> None:
        """Move a manual clock forward; `Refused` for a system clock and for any step back."""
        ...


class Secrets(Protocol):
    """The named secrets of this installation, 32 bytes each; `vault.handles` says what they key."""

    @property
    def alias(self) -> bytes:
        """Key of alias hashes."""
        ...

    @property
    def record(self) -> bytes:
        """Key of record ids (the id key)."""
        ...

    @property
    def slot(self) -> bytes:
        """Key of slots."""
        ...

    @property
    def lifecycle(self) -> bytes:
        """Key of the tags by which lifecycle names an ended generation."""
        ...

    def named(self, name: str) -> bytes:
        """Return the secret of this name ("seen", "pixel-id", ...), made on first use."""
        ...

    def processor(self, name: str) -> bytes:
        """Return one processor's secret, made on first use."""
        ...


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

    def put_seen(self, digests: Mapping[RecordId, bytes]) -> None:
        """Remember what was accepted, under today."""
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

    @property
    def control_offset(self) -> int:
        """The offset of `control` up to which (exclusive) commands are applied."""
        ...

    def set_control_offset(self, next_offset: int) -> None:
        """Record what of `control` is applied."""
        ...


class RegistryTx(Protocol):
    """Policies, processors, requests, holds, clock and odd values."""

    def policies(self) -> list[PolicyRow]:
        """Return every published version, in order."""
        ...

    def policy_count(self) -> int:
        """Return how many versions there are: cheap enough for every chunk."""
        ...

    def put_policy(self, policy: PolicyRow) -> None:
        """Publish a version; `Bug` if the number exists with other content."""
        ...

    def retention_orders(self) -> list[RetentionOrder]:
        """Return every order, oldest first."""
        ...

    def put_retention_order(self, order: RetentionOrder) -> None:
        """Keep an order."""
        ...

    def processor(self, name: str) -> ProcessorState | None:
        """Return what control says of one processor."""
        ...

    def processors(self) -> list[ProcessorState]:
        """Return what control says of all, by name."""
        ...

    def put_processor(self, state: ProcessorState) -> None:
        """Replace what control says of one processor."""
        ...

    def request(self, request_id: RequestId) -> RequestState | None:
        """Return one data subject's request."""
        ...

    def requests(self, state: str | None = None) -> list[RequestState]:
        """Return requests, oldest first."""
        ...

    def put_request(self, request: RequestState) -> None:
        """Replace one request."""
        ...

    def drop_request(self, request_id: RequestId) -> None:
        """Forget one request."""
        ...

    def holds(self) -> list[Hold]:
        """Return holds, released ones too, by when they were placed."""
        ...

    def hold_keys(self, hold_id: bytes) -> list[HeldKey]:
        """Return every key that opens under a standing hold: escrowed, or of parents that still live."""
        ...

    def clock_state(self) -> ClockState:
        """Return what expiry remembers of its clock."""
        ...

    def put_clock_state(self, state: ClockState) -> None:
        """Replace what expiry remembers of its clock."""
        ...

    def meta(self, key: str) -> bytes | None:
        """Return an odd value that has no table."""
        ...

    def put_meta(self, key: str, value: bytes | None) -> None:
        """Replace an odd value; None forgets it."""
        ...


class RecipientTx(Protocol):
    """What connectors keep of vendors' objects (model m5), and residue."""

    def objects(self, processor: str, refs: Iterable[bytes]) -> dict[bytes, VendorObject]:
        """Read objects with their holdings."""
        ...

    def put_objects(self, rows: Iterable[VendorObject]) -> None:
        """Write objects; each one's holdings are replaced as a set."""
        ...

    def drop_objects(self, processor: str, refs: Iterable[bytes]) -> None:
        """Forget objects and their holdings."""
        ...

    def objects_of_bucket(
        self, processor: str, bucket: BucketId, reaches: Seq, *, after: bytes = b"", limit: int = 500
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with a living holding of the bucket decided before `reaches`."""
        ...

    def objects_of_subject(
        self,
        processor: str,
        subject_ref: SubjectRef,
        purposes: Sequence[str],
        reaches: Seq,
        *,
        after: bytes = b"",
        limit: int = 500,
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with such a holding of that person and a purpose."""
        ...

    def objects_of_delivery(
        self, processor: str, delivery_id: DeliveryId, *, limit: int = 500
    ) -> list[bytes]:
        """Return refs with a holding of that delivery, in any state."""
        ...

    def objects_of_processor(self, processor: str, *, after: bytes = b"", limit: int = 500) -> list[bytes]:
        """Return all refs > `after`, ascending."""
        ...

    def objects_due(self, processor: str, now: Micros, limit: int) -> list[bytes]:
        """Return refs with `due` <= `now` (wall time), by due."""
        ...

    def objects_waiting(self, processor: str) -> int:
        """Return how many objects have a `due`."""
        ...

    def count_residue(self, entries: Iterable[ResidueEntry]) -> None:
        """Count accepted events into cells; people are kept as keyed tags until their cell is published."""
        ...

    def residue(self, period: str | None = None) -> list[ResidueCell]:
        """Return cells as counted so far."""
        ...

    def carry_residue(self, period: str, label: str, into: str) -> None:
        """Move a cell's events and people into another period's cell of the same label."""
        ...

    def drop_residue(self, period: str, label: str) -> None:
        """Forget a published cell and who was counted in it."""
        ...


class Tx(ProgressTx, IdentityTx, BucketTx, OutboxTx, RegistryTx, RecipientTx, Protocol):
    """One transaction: reads are one snapshot, writes happen together or not at all."""

    @property
    def seq(self) -> Seq:
        """The vault's sequence number: fresh in a write transaction, the latest one in a read."""
        ...

    @property
    def now(self) -> Micros:
        """The vault's time when the transaction began."""
        ...


class Vault(Protocol):
    """The one store that must really forget."""

    @property
    def secrets(self) -> Secrets:
        """The named secrets of this installation."""
        ...

    @property
    def clock(self) -> Clock:
        """The vault's time."""
        ...

    def transaction(self, *, write: bool = True) -> AbstractContextManager[Tx]:
        """Begin; commit at the end of the block, roll back if it raises."""
        ...

    def content_digest(self, content: bytes) -> bytes:
        """Return the keyed 16-byte digest by which a second content under one id is recognised."""
        ...

    def checkpoint(self) -> bool:
        """Try to remove the bytes of destroyed keys from every file; say whether they are gone."""
        ...

    def turn_epoch(self, *, batch: int = 500) -> int:
        """Re-wrap every living key under a new epoch, destroy the old epoch's key; returns the new epoch.

        Resumable: after a crash the next call finishes. `Unavailable` while readers keep old bytes alive.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
