"""What an ending owes to the log: entries on `lifecycle` and `control`, a message to each processor told."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from msgspec.structs import replace

from schemas.ids import CommandId, LapseId, Micros, RecordId, RequestId, Slot, SubjectNumber
from schemas.models import (
    BucketScope,
    Cause,
    Command,
    Depersonalized,
    ProcessorScope,
    ProcessorSuspended,
    Record,
    RecordRectified,
    RecordScope,
    RequestDecided,
    Right,
    Scope,
    SubjectScope,
)
from schemas.times import DAY
from vault.handles import delivery_id, lifecycle_tag, packed, partition_of, slot_of, subject_ref
from vault.keys import ID_BYTES, Draw, random_bytes
from vault.outbox import Owed
from vault.port import Secrets, Tx
from vault.tasks import ScopeName, Task, remind_at
from vault.transaction import Transaction
from vault.values import BucketId, BucketRow, Ended, Recipient

LIFECYCLE = "lifecycle"
CONTROL = "control"
SYSTEM = "lapse"
"""Who ordered what the system applies by itself."""

MOST_HASHES = 10_000
"""Identifiers in one message: a broker refuses records of more than a megabyte."""

REACHED = "lifecycle.reached"
"""Meta: sequence number of the last transaction that owed `lifecycle` something. A log that shows a later one
was written by a later vault than this, so this one was restored (Protocol 10).
"""

C = TypeVar("C", bound=Command)
_LABEL = b"lapse/v1/lapse-id"


class Sign(Protocol):
    """Signs what the system applied by itself."""

    def __call__(self, command: C, /) -> C:
        """Return the command under the service's key."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Herald:
    """What endings need of the world: who can be told, how records are encoded, how commands are signed.

    `recipients` names every processor of every policy ever in force; one that is missing is told all the
    same, on `processor.<name>` with `partitions` partitions and 30 days to answer: a lapse is never
    withheld.
    """

    secrets: Secrets = field(repr=False)
    encode: Callable[[Record], bytes]
    sign: Sign
    recipients: Mapping[str, Recipient] = field(default_factory=dict)
    partitions: int = 4
    draw: Draw = random_bytes

    def recipient(self, name: str) -> Recipient:
        """Return how to tell one processor."""
        known = self.recipients.get(name)
        if known is not None:
            return known
        within = Micros(30 * DAY)
        return Recipient(
            name=name, topic=f"processor.{name}", partitions=self.partitions, erase_within=within
        )


def announce_subject(
    tx: Transaction,
    herald: Herald,
    number: SubjectNumber,
    ended: Sequence[Ended],
    cause: Cause,
    at: Micros,
) -> None:
    """Owe a lifecycle entry per generation, and one message to each processor told of the person.

    Ids and names differ from recipient to recipient, so two of them cannot join what they are told.
    """
    act = herald.draw(ID_BYTES)
    key = herald.secrets.lifecycle
    for each in ended:
        rest = act + each.generation.to_bytes(4, "big") + packed(each.purpose)
        tag = lifecycle_tag(key, number, each.purpose, each.generation)
        scope = SubjectScope(subject_ref=tag, purposes=[each.purpose])
        _owe(tx, herald, LIFECYCLE, 0, None, _said(tx, _lapse_id(key, rest), cause, scope, at))
    slot = slot_of(herald.secrets.slot, number)
    for name in tx.told_of_subject(number):
        to, secret = herald.recipient(name), herald.secrets.processor(name)
        ref = subject_ref(secret, number)
        scope = SubjectScope(subject_ref=ref, purposes=[each.purpose for each in ended])
        said = _said(tx, _lapse_id(secret, act), cause, scope, at, answer_by=Micros(tx.now + to.erase_within))
        _owe(tx, herald, to.topic, partition_of(slot, to.partitions), ref, said)
        expect(tx, to, said, 1)


def announce_buckets(
    tx: Transaction, herald: Herald, rows: Sequence[BucketRow], causes: Mapping[BucketId, Cause], at: Micros
) -> None:
    """Owe the lifecycle entry of each bucket, and one message on every partition of each processor told."""
    told, owed, expected = tx.told_of_buckets([row.id for row in rows]), list[Owed](), list[_Expected]()
    like = _said(tx, LapseId(bytes(ID_BYTES)), "retention", ProcessorScope(), at)
    for row in rows:
        lapse_id, cause = LapseId(herald.draw(ID_BYTES)), causes[row.id]
        scope = BucketScope(purpose=row.id.purpose, period=row.id.period, terms=row.id.terms)
        said = replace(like, lapse_id=lapse_id, cause=cause, scope=scope, records=row.tally)
        owed.append((_kind(said), LIFECYCLE, 0, None, herald.encode(said)))
        for name in told[row.id]:
            to = herald.recipient(name)
            by = Micros(tx.now + to.erase_within)
            said = replace(said, answer_by=by)
            owed += _everywhere(herald, to, said)
            expected.append((to, said, to.partitions))
    tx.put_meta(REACHED, tx.seq.to_bytes(8, "big"))
    tx.put_outbox_rows(owed)
    _expect(tx, expected)


def tell_bucket_again(tx: Transaction, herald: Herald, lapse: Depersonalized) -> None:
    """Owe every processor a bucket's lapse as it stands on `lifecycle`: who was told is not known now."""
    for name in sorted(herald.recipients):
        to = herald.recipient(name)
        said = replace(lapse, root=None, answer_by=Micros(tx.now + to.erase_within))
        _owe_everywhere(tx, herald, to, said)
        expect(tx, to, said, to.partitions)


def tell_subject_again(
    tx: Transaction, herald: Herald, number: SubjectNumber, purpose: str, lapse: Depersonalized
) -> None:
    """Owe every processor the lapse of one person's purpose, under the name and id it has at each."""
    slot = slot_of(herald.secrets.slot, number)
    for name in sorted(herald.recipients):
        to, secret = herald.recipient(name), herald.secrets.processor(name)
        ref = subject_ref(secret, number)
        said = replace(
            lapse,
            lapse_id=_lapse_id(secret, lapse.lapse_id),
            scope=SubjectScope(subject_ref=ref, purposes=[purpose]),
            answer_by=Micros(tx.now + to.erase_within),
        )
        _owe(tx, herald, to.topic, partition_of(slot, to.partitions), ref, said)
        expect(tx, to, said, 1)


def announce_recall(tx: Transaction, herald: Herald, name: str, reason: str = "") -> LapseId:
    """Owe a processor the request to give back all it ever received; on `lifecycle` as well."""
    lapse_id, to = LapseId(herald.draw(ID_BYTES)), herald.recipient(name)
    by = Micros(tx.now + to.erase_within)
    said = _said(tx, lapse_id, "recall", ProcessorScope(), tx.now, answer_by=by)
    _owe(tx, herald, LIFECYCLE, 0, name.encode(), said)
    _owe_everywhere(tx, herald, to, said)
    expect(tx, to, said, to.partitions, reason=reason)
    return lapse_id


def announce_decision(
    tx: Transaction,
    herald: Herald,
    *,
    right: Right,
    hashes: Sequence[bytes],
    ended: Sequence[tuple[str, int]],
    until: Micros,
    reason: str,
    request_id: RequestId | None = None,
) -> None:
    """Owe `control` what the system applied: enough to do it again after a restore (Protocol 10).

    Whoever types enough identifiers into forms makes a person of more than one message holds.
    """
    request = RequestId(herald.draw(ID_BYTES)) if request_id is None else request_id
    for start in range(0, max(1, len(hashes)), MOST_HASHES):
        _owe_command(
            tx,
            herald,
            RequestDecided,
            request_id=request,
            right=right,
            alias_hashes=list(hashes[start : start + MOST_HASHES]),
            purposes=[purpose for purpose, _ in ended],
            generations=[generation for _, generation in ended],
            until=until,
            reason=reason,
        )


def announce_suspension(tx: Tx, herald: Herald, name: str, reason: str) -> None:
    """Owe `control` a suspension that the system applied: it holds after a restore, and can be shown."""
    _owe_command(tx, herald, ProcessorSuspended, processor=name, reason=reason)


def announce_rectification(tx: Tx, herald: Herald, record_id: RecordId, revision: int) -> None:
    """Owe `control` that a record has a newer revision.

    It names the record alone: a request or an address beside it would lead from a person to their records for
    as long as `control` is kept.
    """
    _owe_command(tx, herald, RecordRectified, record_id=record_id, revision=revision)


def announce_correction(
    tx: Tx,
    herald: Herald,
    name: str,
    number: SubjectNumber,
    record: tuple[RecordId, int, Slot],
    purposes: Sequence[str],
) -> None:
    """Owe a processor that gets nothing of a record's new revision the end of the copy it may have.

    `record` is id, new revision and slot; the same again has the same lapse id.
    """
    record_id, revision, slot = record
    to, secret = herald.recipient(name), herald.secrets.processor(name)
    scope = RecordScope(delivery_id=delivery_id(secret, record_id), purposes=list(purposes))
    lapse_id = _lapse_id(secret, record_id + revision.to_bytes(4, "big"))
    by = Micros(tx.now + to.erase_within)
    said = _said(tx, lapse_id, "rectification", scope, tx.now, records=1, answer_by=by)
    partition = partition_of(slot, to.partitions)
    _owe(tx, herald, to.topic, partition, subject_ref(secret, number), said)
    expect(tx, to, said, 1)


def _owe_command(
    tx: Tx,
    herald: Herald,
    kind: type[RequestDecided | ProcessorSuspended | RecordRectified],
    **said: object,
) -> None:
    """Owe `control` an order of the system's own; it counts as judged, so reading it does nothing again."""
    command_id = CommandId(herald.draw(ID_BYTES))
    ordered = kind(command_id=command_id, ordered_by=SYSTEM, at=tx.now, key_id="", signature=b"", **said)  # type: ignore[arg-type]  # the caller's fields
    tx.judge_command(command_id, None, b"{}")
    _owe(tx, herald, CONTROL, 0, None, herald.sign(ordered))


def expect(tx: Tx, to: Recipient, said: Depersonalized, partitions: int, *, reason: str = "") -> None:
    """Enter that a processor has to answer a lapse by a certain time; one entered before stays as it is."""
    _expect(tx, [(to, said, partitions)], reason=reason)


_Expected = tuple[Recipient, Depersonalized, int]
"""Who has to answer which lapse, told on how many partitions."""


def _expect(tx: Tx, lapses: Sequence[_Expected], *, reason: str = "") -> None:
    there = {
        (task.processor, task.about) for task in tx.tasks_about((to.name, s.lapse_id) for to, s, _ in lapses)
    }
    tx.put_tasks(
        [
            _task(tx, to, said, said.answer_by, partitions, reason)
            for to, said, partitions in lapses
            if said.answer_by is not None and (to.name, said.lapse_id) not in there
        ]
    )


def _task(
    tx: Tx, to: Recipient, said: Depersonalized, answer_by: Micros, partitions: int, reason: str
) -> Task:
    recall, scope = said.cause == "recall", said.scope
    named = scope if isinstance(scope, BucketScope) else None
    several = scope.purposes if isinstance(scope, SubjectScope | RecordScope) else ()
    return Task(
        processor=to.name,
        about=said.lapse_id,
        due=answer_by,
        look=remind_at(tx.now, answer_by),
        since=tx.now,
        cause=said.cause,
        scope=_SCOPES[type(scope)],
        purposes=(named.purpose,) if named else tuple(several),
        period=named.period if named else None,
        terms=named.terms if named else None,
        expected=partitions if to.each else 1,
        reason=reason,
        held=tuple(tx.held(to.name)) if recall else (),
        objects=tx.count_objects(to.name) if recall else 0,
    )


_SCOPES: Mapping[type[Scope], ScopeName] = {
    BucketScope: "bucket",
    SubjectScope: "person",
    RecordScope: "record",
    ProcessorScope: "everything",
}


def _said(
    tx: Tx,
    lapse_id: LapseId,
    cause: Cause,
    scope: Scope,
    at: Micros,
    *,
    records: int = 0,
    answer_by: Micros | None = None,
) -> Depersonalized:
    return Depersonalized(
        lapse_id=lapse_id,
        cause=cause,
        scope=scope,
        reaches=tx.seq,
        control_offset=tx.control_offset,
        effective_at=at,
        records=records,
        answer_by=answer_by,
    )


def _owe(tx: Tx, herald: Herald, topic: str, partition: int, key: bytes | None, record: Record) -> None:
    value = herald.encode(record)
    if topic == LIFECYCLE:
        tx.put_meta(REACHED, tx.seq.to_bytes(8, "big"))
    tx.put_outbox(kind=_kind(record), topic=topic, partition=partition, key=key, value=value)


def _lapse_id(key: bytes, rest: bytes) -> LapseId:
    return LapseId(hmac.digest(key, _LABEL + rest, "sha256")[:ID_BYTES])


def _owe_everywhere(tx: Transaction, herald: Herald, to: Recipient, record: Record) -> None:
    """Owe a processor one message on every partition of its topic."""
    tx.put_outbox_rows(_everywhere(herald, to, record))


def _everywhere(herald: Herald, to: Recipient, record: Record) -> list[Owed]:
    value = herald.encode(record)
    return [(_kind(record), to.topic, partition, None, value) for partition in range(to.partitions)]


def _kind(record: Record) -> str:
    return type(record).__name__
