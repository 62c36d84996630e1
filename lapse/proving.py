"""`lapse lifecycle verify`: reads the two logs the proof stands on and has it recomputed."""

from __future__ import annotations

import base64
from typing import Any

from lapse.audit.proof import Entry, Named, Proof, prove
from lapse.initialise import signing_key
from lapse.main import Installation
from lapse.reading import AUDITOR, read
from schemas import codec, signing
from schemas.errors import BadInput, Rejected
from schemas.models import DecisionBatch, Record
from schemas.signing import SERVICE
from streams.scan import scan

KEY_BYTES = 32
MOST_SHOWN = 20
"""How many faults are named; all are counted."""


def verify(here: Installation, key: str | None) -> dict[str, Any]:
    """Recompute every lapse's root and every checkpoint; `key` is the service's public key in base64.

    Without one it is taken from this installation, which proves that nothing changed, not who signed.
    """
    public = _public_key(here, key)
    named, whole = _decided(here)
    proof = prove(_lifecycle(here), named, {SERVICE: public}, whole=whole)
    return _report(proof, public)


def _report(proof: Proof, public: bytes) -> dict[str, Any]:
    return {
        "proven": not proof.wrong,
        "lapses": proof.lapses,
        "records": proof.records,
        "checkpoints": proof.checkpoints,
        "not_kept": proof.not_kept,
        "wrong": len(proof.wrong),
        "faults": [f"lifecycle {offset}: {what}" for offset, what in proof.wrong[:MOST_SHOWN]],
        "service_key": base64.b64encode(public).decode(),
    }


def _public_key(here: Installation, key: str | None) -> bytes:
    if key is None:
        return signing.public_key(signing_key(here.layout.service_key))
    try:
        raw = base64.b64decode(key, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise BadInput(
            "usage",
            "not an Ed25519 public key",
            "--key",
            "32 bytes in base64, as `lifecycle verify` prints it",
        )
    return raw


def _decided(here: Installation) -> tuple[Named, bool]:
    """What `decisions` names, and whether it still begins at its beginning."""
    named = Named({plan.version: [p.name for p in plan.purposes] for plan in here.plans})
    first: dict[int, int] = {}
    for where, record in read(here, ["decisions"]):
        first.setdefault(where.partition, where.offset)
        if isinstance(record, DecisionBatch):
            for entry in record.entries:
                named.add(entry)
    return named, not any(first.values())


def _lifecycle(here: Installation) -> list[Entry]:
    """Every entry from the first offset on; what does not decode counts in the tree all the same."""
    here.reach_broker()
    return [
        Entry(record.offset, record.value or b"", _decode(record.value))
        for batch in scan(here.librdkafka(AUDITOR), ["lifecycle"])
        for record in batch.records
    ]


def _decode(value: bytes | None) -> Record | None:
    try:
        return codec.decode(value) if value is not None else None
    except Rejected:
        return None
