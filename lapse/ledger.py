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
    Depersonalized,
    ProcessorScope,
    Record,
    RecordScope,
    ResidueCounted,
    Scope,
    SubjectScope,
)
from vault.values import BucketState


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


def residue(here: Installation) -> tuple[dict[str, Any], list[dict[str, object]]]:
    """What was published, what is carried, what was accepted; and the published cells."""
    cells: list[dict[str, object]] = []
    for _, record in read(here, ["residue"]):
        if isinstance(record, ResidueCounted):
            cells += [
                {"period": record.period, "label": c.label, "events": c.events, "people": c.people}
                for c in record.cells
            ]
    with here.vault.transaction(write=False) as tx:
        carried = sum(cell.events for cell in tx.residue())
    published = sum(int(str(cell["events"])) for cell in cells)
    return {"published": published, "carried": carried, "accepted": published + carried}, cells
