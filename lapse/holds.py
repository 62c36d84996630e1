"""Legal holds: placed and released by signed commands, opened with a reason that is recorded."""

from __future__ import annotations

import secrets
from typing import Any

from lapse.cli.output import moment
from lapse.commands import command, order
from lapse.main import Installation
from lapse.subjects import hashed
from schemas.errors import BadInput, NotFound, Refused
from schemas.models import HoldPlaced, HoldReleased
from vault.values import Hold

HOLD_BYTES = 16


def place(here: Installation, who: str, purposes: list[str], reason: str, timeout: float) -> dict[str, Any]:
    """Order a hold; the answer lists what was already gone."""
    for name in purposes:
        here.plans.latest.purpose(name)
    hold_id = secrets.token_bytes(HOLD_BYTES)
    ordered = command(
        HoldPlaced, here, hold_id=hold_id, alias_hashes=[hashed(here, who)], purposes=purposes, reason=reason
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


def _standing(here: Installation, hold_id: bytes) -> Hold:
    with here.vault.transaction(write=False) as tx:
        found = next((hold for hold in tx.holds() if hold.hold_id == hold_id), None)
    if found is None:
        raise NotFound("not_found", "no such hold", hold_id.hex(), "lapse hold list")
    if not found.on:
        raise Refused("released", "this hold was released; what it kept is destroyed", hold_id.hex())
    return found


def _id(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != HOLD_BYTES:
        raise BadInput("bad_id", "a hold's id is 32 hexadecimal digits", "HOLD_ID", "lapse hold list")
    return raw
