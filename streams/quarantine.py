"""Quarantine: input that is unreadable or suspect, sealed whole under a bucket of the reserved purpose.

Released, it runs through tag again under its original time; dropped, it opens no more. Everything in it dies
with its bucket, at most 14 days later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from schemas import codec
from schemas.errors import NotFound
from schemas.ids import Micros, Period, RecordId, Terms
from schemas.models import Quarantined
from streams.intake import RELEASED, release_header
from streams.out import Out
from streams.ports import Outbound
from vault.keys import Draw
from vault.port import Tx, Vault
from vault.sealing import open_quarantined, quarantine_aad, seal_quarantined
from vault.values import BucketId

TOPIC = PURPOSE = "quarantine"
LARGEST = 900_000
"""Longest input that is kept; of a longer one only the code stays, for sealed it would not fit a record."""
DROPPED = 2**31 - 1
"""Revision under which a dropped input counts as superseded, by a name of its own (`dropped_id`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What is said of an input that is set aside, besides its bytes; `topic` is where it came in."""

    topic: str
    record_id: RecordId
    schema_id: int | None
    received_at: Micros
    code: str
    path: str | None
    period: Period
    terms: Terms


def keepable(raw: bytes | None) -> bool:
    """Whether an input has bytes that can be kept."""
    return raw is not None and len(raw) <= LARGEST


def set_aside(out: Out, partition: int, aside: Aside, raw: bytes, bucket_key: bytes, draw: Draw) -> Outbound:
    """Seal an input whole; the message for the quarantine topic."""
    aad = quarantine_aad(aside.record_id, aside.topic, aside.received_at, aside.period, aside.terms)
    record = Quarantined(
        record_id=aside.record_id,
        topic=aside.topic,
        schema_id=aside.schema_id,
        received_at=aside.received_at,
        code=aside.code,
        path=aside.path,
        period=aside.period,
        terms=aside.terms,
        sealed=seal_quarantined(bucket_key, aside.record_id, raw, aad, draw),
    )
    return out.to_partition(TOPIC, partition, codec.encode(record))


def reopen(tx: Tx, record: Quarantined) -> bytes:
    """The input as it came; `NotFound` where its bucket is gone or it was dropped."""
    bucket = BucketId(PURPOSE, record.period, record.terms)
    key = tx.bucket_keys([bucket]).get(bucket)
    if key is not None and not was_dropped(tx, [record.record_id]):
        aad = quarantine_aad(record.record_id, record.topic, record.received_at, record.period, record.terms)
        raw = open_quarantined(key, record.record_id, record.sealed, aad)
        if raw is not None:
            return raw
    raise NotFound("not_found", "nothing of this id can be opened in quarantine", "quarantine")


def release(vault: Vault, partitions: int, record: Quarantined) -> Outbound:
    """The message that lets an input run through its stage again, as of its original time and trusted."""
    with vault.transaction(write=False) as tx:
        raw = reopen(tx, record)
    header = (RELEASED, release_header(vault, raw, record.received_at))
    partition = record.record_id[0] % partitions
    return Outbound(record.topic, partition, None, raw, [header])


def drop(vault: Vault, record: Quarantined) -> None:
    """Let an input open no more, sooner than its bucket would."""
    with vault.transaction() as tx:
        reopen(tx, record)
        tx.supersede({dropped_id(record.record_id): DROPPED})


def dropped_id(record: RecordId) -> bytes:
    """Return under what a drop is remembered.

    Under the record's own id it would also close what became of the input when it was released.
    """
    return sha256(b"lapse/v1/dropped" + record).digest()[:16]


def was_dropped(tx: Tx, records: Iterable[RecordId]) -> set[RecordId]:
    """Return which of these inputs were dropped; an older vault has some under their own id."""
    names = {name: record for record in records for name in (record, dropped_id(record))}
    return {names[name] for name, revision in tx.superseded(names).items() if revision >= DROPPED}
