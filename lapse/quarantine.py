"""What lies in quarantine: seen, opened with a reason, sent through again, or dropped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from lapse.cli.output import moment
from lapse.commands import person, publish
from lapse.main import Installation
from lapse.reading import read
from lapse.records import Found, decided
from lapse.sending import send
from lapse.waiting import until_quiet
from schemas import codec
from schemas.errors import BadInput, NotFound, Rejected
from schemas.ids import Micros, RecordId
from schemas.models import FieldsRevealed, Quarantined
from streams import quarantine
from vault.values import BucketId


def listed(here: Installation) -> list[dict[str, object]]:
    """Every quarantined input that is still on the log, oldest first."""
    rows = sorted(_all(here), key=lambda row: row.received_at)
    with here.vault.transaction(write=False) as tx:
        gone = quarantine.was_dropped(tx, [row.record_id for row in rows])
        buckets = tx.buckets({_bucket(row) for row in rows})
    again = decided(here, {row.record_id for row in rows}) if rows else {}
    return [
        {
            "record_id": row.record_id,
            "topic": row.topic,
            "code": row.code,
            "path": row.path,
            "received_at": moment(row.received_at),
            "until": moment(buckets[_bucket(row)].due) if _bucket(row) in buckets else None,
            "state": _state(row, gone, buckets, again),
        }
        for row in rows
    ]


def _state(
    row: Quarantined, gone: set[RecordId], buckets: dict[BucketId, Any], again: dict[RecordId, Found]
) -> str:
    if row.record_id in gone:
        return "dropped"
    if row.record_id in again and again[row.record_id].decisive.outcome != "quarantined":
        return "released"
    bucket = buckets.get(_bucket(row))
    return "held" if bucket is not None and bucket.state == "open" else "lapsed"


def _bucket(row: Quarantined) -> BucketId:
    return BucketId(quarantine.PURPOSE, row.period, row.terms)


def _all(here: Installation) -> Iterator[Quarantined]:
    for _, record in read(here, [quarantine.TOPIC]):
        if isinstance(record, Quarantined):
            yield record


def find(here: Installation, record_id: str) -> Quarantined:
    """The newest quarantined input under this id."""
    try:
        wanted = bytes.fromhex(record_id)
    except ValueError:
        raise BadInput(
            "bad_argument", "an id is 32 hexadecimal digits", "RECORD_ID", "lapse quarantine list"
        ) from None
    found = [row for row in _all(here) if row.record_id == wanted]
    if not found:
        raise NotFound("not_found", "nothing of this id is in quarantine", record_id, "lapse quarantine list")
    return found[-1]


def reveal(here: Installation, record_id: str, reason: str) -> dict[str, Any]:
    """Open one input; that it was opened is on `decisions` before anything is shown."""
    row = find(here, record_id)
    with here.vault.transaction(write=False) as tx:
        raw, now = quarantine.reopen(tx, row), tx.now
    note_reveal(here, row, reason, now)
    about = {"record_id": row.record_id, "topic": row.topic, "code": row.code, "path": row.path}
    return {**about, "record": _readable(raw), "bytes": raw}


def _readable(raw: bytes) -> dict[str, Any] | None:
    """What the bytes say, where they are a record after all (a bot's form, an old event)."""
    try:
        return dict(msgspec.to_builtins(codec.decode(raw), builtin_types=(bytes,)))
    except Rejected:
        return None


def note_reveal(here: Installation, row: Quarantined, reason: str, now: Micros) -> None:
    """Record the reveal."""
    revealed = FieldsRevealed(
        reveal_id=secrets.token_bytes(16),
        record_id=row.record_id,
        revision=1,
        purposes=[quarantine.PURPOSE],
        reason=reason,
        revealed_by=person(),
        at=now,
    )
    publish(here, "decisions", [revealed], role="govern")


def release(here: Installation, record_id: str, timeout: float) -> dict[str, Any]:
    """Send an input through its stage again, under its original time, and wait until it is judged."""
    row = find(here, record_id)
    here.reach_broker()
    send(here.librdkafka("collector"), [quarantine.release(here.vault, here.runtime.partitions, row)])
    until_quiet(here, timeout)
    return {"record_id": row.record_id, "state": "released"}


def drop(here: Installation, record_id: str, timeout: float) -> dict[str, Any]:
    """Let an input open no more."""
    row = find(here, record_id)
    quarantine.drop(here.vault, row)
    until_quiet(here, timeout)
    return {"record_id": row.record_id, "state": "dropped"}
