"""Reading what is public or counted: buckets, the lifecycle log, residue."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from lapse.cli.output import moment
from lapse.main import Installation
from lapse.reading import read
from schemas.models import (
    BucketScope,
    CheckpointSigned,
    DecisionBatch,
    Depersonalized,
    ProcessorScope,
    Record,
    RecordScope,
    ResidueCounted,
    Scope,
    SubjectScope,
)
from vault.values import BucketState

ACCEPTED = ("routed", "kept_in_vault", "expired")
"""Outcomes of events that were accepted, and so counted into residue."""
TRIES, MANY = 10, 100_000
"""Looks at vault and topic until they are of one moment, and messages owed that are looked through."""
SIGNAL = "signal"
"""Source of what people say outside of forms: it becomes state and is never counted."""


def buckets(here: Installation, purpose: str | None, state: str | None) -> list[dict[str, object]]:
    """Every bucket by due date."""
    with here.vault.transaction(write=False) as tx:
        rows = tx.all_buckets(purpose=purpose, state=cast(BucketState | None, state))
    return [
        {
            "purpose": row.id.purpose,
            "period": row.id.period,
            "terms": row.id.terms,
            "due": moment(row.due),
            "tally": row.tally,
            "state": row.state,
        }
        for row in rows
    ]


def lifecycle(here: Installation, count: int) -> list[dict[str, object]]:
    """The newest entries of `lifecycle`, oldest first."""
    newest: deque[dict[str, object]] = deque(maxlen=count)
    for place, record in read(here, ["lifecycle"]):
        newest.append({"offset": place.offset, **_entry(record)})
    return list(newest)


def _entry(record: Record) -> dict[str, object]:
    if isinstance(record, Depersonalized):
        return {
            "at": moment(record.effective_at),
            "what": "depersonalized",
            "cause": record.cause,
            "scope": describe(record.scope),
            "records": record.records,
            "lapse_id": record.lapse_id,
        }
    if isinstance(record, CheckpointSigned):
        at = moment(record.at)
        return {
            "at": at,
            "what": "checkpoint",
            "cause": None,
            "scope": f"root {record.root.hex()[:16]}",
            "records": record.size,
        }
    return {"at": None, "what": type(record).__name__, "cause": None, "scope": None, "records": None}


def describe(scope: Scope) -> str:
    """A lapse's scope in a few words."""
    match scope:
        case BucketScope():
            return f"{scope.purpose} period {scope.period} terms {scope.terms}"
        case SubjectScope():
            return f"one person: {', '.join(scope.purposes)}"
        case RecordScope():
            return f"one record: {', '.join(scope.purposes)}"
        case ProcessorScope():
            return "everything one processor received"


def residue(here: Installation, *, recount: bool = False) -> tuple[dict[str, Any], list[dict[str, object]]]:
    """What was published, what is carried, what was accepted; and the published cells.

    Accepted is the vault's own count, or, where that is asked for or was never kept, that of `decisions`.
    """
    before = None
    for _ in range(TRIES):
        cells = _published(here)
        carried, accepted, owed = _counted(here)
        # What closes a period meanwhile is on its way from the vault to the topic: look again.
        if not owed and (accepted or 0) - carried == before:
            break
        before = (accepted or 0) - carried
    published = sum(int(str(cell["events"])) for cell in cells)
    if recount or accepted is None:
        accepted = _accepted(here)
    return {"published": published, "carried": carried, "accepted": accepted}, cells


def _published(here: Installation) -> list[dict[str, object]]:
    return [
        {"period": record.period, "label": cell.label, "events": cell.events, "people": cell.people}
        for _, record in read(here, ["residue"])
        if isinstance(record, ResidueCounted)
        for cell in record.cells
    ]


def _counted(here: Installation) -> tuple[int, int | None, bool]:
    """Events carried and accepted, and whether published cells are still owed to the topic."""
    with here.vault.transaction(write=False) as tx:
        owed = any(row.kind == "ResidueCounted" for row in tx.outbox(MANY))
        return sum(cell.events for cell in tx.residue()), tx.accepted(), owed


def _accepted(here: Installation) -> int:
    """How many events `decisions` shows as accepted, each once: forms, opens and cookies, no signals."""
    found: set[bytes] = set()
    for _, record in read(here, ["decisions"]):
        if isinstance(record, DecisionBatch):
            found.update(e.record_id for e in record.entries if e.source != SIGNAL and e.outcome in ACCEPTED)
    return len(found)
