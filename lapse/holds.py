"""Legal holds: placed and released by signed commands, opened with a reason that is recorded."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from lapse.cli.output import moment
from lapse.commands import command, order, person, publish
from lapse.main import Installation
from lapse.reading import read
from lapse.subjects import about, hashed
from lapse.written import read_id
from schemas.errors import NotFound, Refused
from schemas.ids import RecordId
from schemas.models import FieldsRevealed, HoldPlaced, HoldReleased, RecordTagged
from schemas.plan import CompartmentPlan
from schemas.policy_words import COLLECTED_AT
from vault.sealing import decode_fields, header_of, open_record
from vault.values import BucketId, Hold

HOLD_BYTES = 16


def place(here: Installation, who: str, purposes: list[str], reason: str, timeout: float) -> dict[str, Any]:
    """Order a hold; the answer lists what was already gone."""
    for name in purposes:
        here.plans.latest.purpose(name)
    hold_id = secrets.token_bytes(HOLD_BYTES)
    ordered = command(
        HoldPlaced,
        here,
        hold_id=hold_id,
        alias_hashes=[hashed(here, who)],
        purposes=purposes,
        reason=about(who, reason),
    )
    detail = order(here, ordered, timeout)
    return {"hold_id": hold_id.hex(), **detail}


def release(here: Installation, hold: str, timeout: float) -> dict[str, Any]:
    """Order the end of a hold."""
    hold_id = _id(hold)
    _standing(here, hold_id)
    return {"hold_id": hold, **order(here, command(HoldReleased, here, hold_id=hold_id), timeout)}


def listed(here: Installation) -> list[dict[str, object]]:
    """Every hold that stands."""
    with here.vault.transaction(write=False) as tx:
        standing = [(hold, len(tx.hold_keys(hold.hold_id))) for hold in tx.holds() if hold.on]
    return [
        {
            "hold_id": hold.hold_id,
            "purposes": list(hold.purposes),
            "placed_at": moment(hold.placed_at),
            "reason": hold.reason,
            "escrowed": keys,
        }
        for hold, keys in standing
    ]


def open_held(here: Installation, hold: str, reason: str) -> list[dict[str, object]]:
    """Everything a standing hold opens, read off the log; each reveal is on `decisions` before it is shown.

    The keys a hold keeps name no record, so every record of their buckets is tried: only the person's own
    open.
    """
    hold_id = _id(hold)
    _standing(here, hold_id)
    with here.vault.transaction(write=False) as tx:
        held: dict[BucketId, list[bytes]] = defaultdict(list)
        for key in tx.hold_keys(hold_id):
            held[key.pair.bucket].append(key.k)
        now = tx.now
    topics = dict.fromkeys(f"records.{h.name}" for plan in here.plans for h in plan.horizons)
    found = [
        opened
        for _, record in read(here, list(topics))
        if isinstance(record, RecordTagged) and (opened := _opened(here, record, held)) is not None
    ]
    revealed = [
        FieldsRevealed(
            reveal_id=secrets.token_bytes(HOLD_BYTES),
            record_id=RecordId(cast(bytes, row["record_id"])),
            revision=cast(int, row["revision"]),
            purposes=[str(row["purpose"])],
            reason=reason,
            revealed_by=person(),
            at=now,
        )
        for row in found
    ]
    publish(here, "decisions", list(revealed), role="govern")
    return found


def _opened(
    here: Installation, record: RecordTagged, held: Mapping[BucketId, list[bytes]]
) -> dict[str, object] | None:
    plan = here.plans.version(record.policy)
    compartments = plan.compartments(record.source, sum(1 << link.purpose for link in record.links))
    for number, link in enumerate(record.links):
        name = plan.purposes[link.purpose].name
        for k in held.get(BucketId(name, link.period, link.terms), ()):
            fields = _fields(record, compartments, number, k)
            if fields:
                return {
                    "record_id": record.record_id,
                    "revision": record.revision,
                    "source": record.source,
                    "purpose": name,
                    "period": link.period,
                    "fields": fields,
                }
    return None


def _fields(
    record: RecordTagged, compartments: Sequence[CompartmentPlan], number: int, k: bytes
) -> dict[str, object]:
    header, plans = header_of(record), {plan.links: plan for plan in compartments}
    fields: dict[str, object] = {}
    for n, compartment in enumerate(record.compartments):
        clear = open_record(header, n, compartment, {number: k})
        if clear is not None:
            # A compartment whose every field was absent is not in the record: the links name the others.
            plan = plans[tuple(wrap.link for wrap in compartment.wraps)]
            values = zip(plan.fields, decode_fields(clear), strict=True)
            fields.update({name: _readable(name, value) for name, value in values if value is not None})
    return fields


def _readable(name: str, value: object) -> object:
    return moment(value) if name == COLLECTED_AT and isinstance(value, int) else value


def _standing(here: Installation, hold_id: bytes) -> Hold:
    with here.vault.transaction(write=False) as tx:
        found = next((hold for hold in tx.holds() if hold.hold_id == hold_id), None)
    if found is None:
        raise NotFound("not_found", "no such hold", hold_id.hex(), "lapse hold list")
    if not found.on:
        raise Refused("released", "this hold was released; what it kept is destroyed", hold_id.hex())
    return found


def _id(text: str) -> bytes:
    return read_id(text, "a hold's id", "HOLD_ID", "lapse hold list")
