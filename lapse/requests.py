"""What people have asked for: which requests wait, until when they are due, and what became of each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lapse.cli.output import Lines, brief, moment, plain
from lapse.commands import command, order
from lapse.main import Installation
from lapse.reading import read
from lapse.subjects import about, hashed
from lapse.written import ID_BYTES, read_id
from schemas.errors import BadInput, NotFound, Refused
from schemas.ids import RequestId
from schemas.models import (
    FieldsRevealed,
    Record,
    RequestClosed,
    RequestDecided,
    RequestOutcome,
    RequestStepped,
    RestrictionLifted,
    Right,
)
from schemas.plan import PolicyPlan
from streams.requests import OPEN, answer_by
from vault.values import RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom a request is about, by hash, and under which id it is answered; `who` as an answer calls them."""

    request_id: RequestId
    hashes: tuple[bytes, ...] = field(repr=False)
    who: str = field(repr=False)
    purposes: tuple[str, ...] = ()


def asked(here: Installation, who: str | None, right: Right, request: str | None) -> Asked:
    """Return what a verb about a right is about: somebody named, or whoever a waiting request names.

    Who is named beside a request alone counts: anyone can put somebody else's address beside their own.
    `BadInput` where neither is named or both do not fit, `NotFound` and `Refused` for a request that does not
    wait.
    """
    if request is None:
        if who is None:
            do = "name KIND:VALUE, or a request that waits: --request ID"
            raise BadInput("usage", "nobody is named", "KIND:VALUE", do)
        hashes: tuple[bytes, ...] = (hashed(here, who),)
        return Asked(request_id=RequestId(secrets.token_bytes(ID_BYTES)), hashes=hashes, who=who)
    row = waiting(here, request)
    if row.right != right:
        what, do = f"the request asks for {row.right}", "see: lapse request show ID"
        raise BadInput("bad_argument", what, "--request", do)
    if who is None:
        return _asked(row, f"request:{request}", row.alias_hashes)
    hashes = (hashed(here, who),)
    if hashes[0] not in row.alias_hashes:
        do = "name somebody the request names, or leave the name out"
        raise BadInput("bad_argument", "the request is not about them", "KIND:VALUE", do)
    return _asked(row, who, hashes)


def _asked(row: RequestState, who: str, hashes: tuple[bytes, ...]) -> Asked:
    return Asked(request_id=row.request_id, hashes=hashes, who=who, purposes=row.purposes)


def decide(
    here: Installation,
    granted: Asked,
    right: Right,
    who: str | None,
    reason: str,
    timeout: float,
    purposes: Sequence[str] = (),
) -> dict[str, Any]:
    """Order that a request is granted, for these purposes or all; returns what govern says of it.

    It returns once the order is announced everywhere. The reason may not name `who`.
    """
    ordered = command(
        RequestDecided,
        here,
        request_id=granted.request_id,
        right=right,
        alias_hashes=list(granted.hashes),
        purposes=list(purposes),
        until=here.vault.clock.now(),
        reason=reason if who is None else about(who, reason),
    )
    return order(here, ordered, timeout)


def waiting(here: Installation, request: str) -> RequestState:
    """Return a request that has not been answered; `NotFound`, or `Refused` where it was."""
    row = _find(here, request)
    if row.state not in OPEN:
        raise Refused("conflict", f"this request was {row.state}", request, "see: lapse request show ID")
    return row


def _find(here: Installation, request: str) -> RequestState:
    with here.vault.transaction(write=False) as tx:
        row = tx.request(named(request))
    if row is None:
        raise NotFound("not_found", "no such request", "REQUEST", "see: lapse request list --all")
    return row


def named(text: str) -> RequestId:
    """Read a request's id; `BadInput` where it is none."""
    return RequestId(read_id(text, "a request's id", "REQUEST", "copy it from: lapse request list"))


def listed(here: Installation, *, every: bool) -> list[dict[str, Any]]:
    """What waits to be answered, the longest due first; with `every` also what was answered or refused."""
    with here.vault.transaction(write=False) as tx:
        rows, now = tx.requests(), tx.now
    plan = here.plans.today(now)
    found = [_row(row, plan, now) for row in rows if every or row.state in OPEN]
    return sorted(found, key=lambda row: (row["state"] not in OPEN, row["due"]))


def _row(row: RequestState, plan: PolicyPlan, now: int) -> dict[str, Any]:
    due = answer_by(row, plan)
    return {
        "request_id": row.request_id.hex(),
        "right": row.right,
        "state": row.state,
        "received_at": moment(row.received_at),
        "due": moment(due),
        "overdue": row.state in OPEN and now > due,
        "purposes": list(row.purposes),
    }


def shown(here: Installation, request: str) -> dict[str, Any]:
    """One request: what waits, and every step and order about it that stands on the log."""
    request_id = named(request)
    with here.vault.transaction(write=False) as tx:
        row, now = tx.request(request_id), tx.now
    plan = here.plans.today(now)
    trail = [
        {"topic": where.topic, "offset": where.offset, **_said(record)}
        for where, record in read(here, ["control", "decisions"], containing=[request_id])
        if getattr(record, "request_id", None) == request_id
    ]
    if row is None and not trail:
        raise NotFound("not_found", "no such request", "REQUEST", "see: lapse request list --all")
    about = {"request_id": request} if row is None else _row(row, plan, now) | {"kept": list(row.kept)}
    return {**about, "trail": sorted(trail, key=lambda step: str(step["at"]))}


def _said(record: Record) -> dict[str, Any]:
    """What one record of the trail says; nothing in it is personal."""
    match record:
        case RequestStepped():
            return {"at": moment(record.at), "what": record.step, "right": record.right, "code": record.code}
        case RequestDecided():
            by = {"by": record.ordered_by, "reason": record.reason, "purposes": record.purposes}
            return {"at": moment(record.at), "what": "ordered", "right": record.right, **by}
        case RequestClosed():
            by = {"by": record.ordered_by, "reason": record.reason}
            return {"at": moment(record.at), "what": record.outcome, "right": record.right, **by}
        case RestrictionLifted():
            by = {"by": record.ordered_by, "reason": record.reason, "purposes": record.purposes}
            return {"at": moment(record.at), "what": "ordered", "right": "restriction", **by}
        case FieldsRevealed():
            opened = {"by": record.revealed_by, "reason": record.reason, "records": record.records}
            return {"at": moment(record.at), "what": "opened", **opened}
    return {"at": None, "what": type(record).__name__}


def refuse(here: Installation, request: str, reason: str, timeout: float) -> dict[str, Any]:
    """Order that a request is not granted; the reason is what the person is told (GDPR Art. 12 (4))."""
    row = waiting(here, request)
    close(here, row.request_id, row.right, "refused", reason, timeout)
    return {"request_id": request, "state": "refused"}


def close(
    here: Installation,
    request_id: RequestId,
    right: Right,
    outcome: RequestOutcome,
    reason: str,
    timeout: float,
) -> None:
    """Say on `control` that a request was answered or refused, and wait until that is known."""
    ordered = command(RequestClosed, here, request_id=request_id, right=right, outcome=outcome, reason=reason)
    order(here, ordered, timeout)


def in_words(found: dict[str, Any]) -> dict[str, object]:
    """One request for people: a line per step."""
    trail = Lines(
        " ".join(
            plain(brief(step[name])) for name in ("at", "what", "right", "by", "reason") if step.get(name)
        )
        for step in found["trail"]
    )
    return {**found, "trail": trail}
