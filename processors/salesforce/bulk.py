"""Empties the recycle bin of erased records: Bulk API 2.0 jobs of the operation `hardDelete`.

A job is made, given the ids as CSV, closed, and done minutes later. Whether a record that already lies in the
bin is taken is not documented; where it is not, its overwritten copy goes by itself after 15 days. Source:
Bulk API 2.0 Developer Guide, "Ingest Jobs".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from processors.answers import Answer, Done, Permanent, Retry
from processors.http import Stopped
from processors.salesforce.records import Record
from processors.salesforce.session import Session, good
from processors.salesforce.wire import gone, record_id, refusal
from schemas.models import ReceiptOutcome

JOBS = "/jobs/ingest"
Copies = Literal["clean", "dirty", "absent"]
"""What is known of the copies in the bin: overwritten before, not so, or whether there are any at all."""
_WHERE_FAILED: dict[str, ReceiptOutcome] = {
    "clean": "completed",  # deleted, and what is left in the bin holds constants only
    "dirty": "manual_required",
    "absent": "already_absent",
}
_REQUEST = re.compile(r"(clean|dirty|absent)((?:\+[A-Za-z0-9]{15,18}){1,4})", re.ASCII)
_UNDER_WAY = frozenset({"Open", "UploadComplete", "InProgress"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Jobs that were started; `request` names them all, and what is known of the copies."""

    request: str
    evidence: bytes


class Bulk:
    """The jobs of one org."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def sweep(self, records: Sequence[Record], copies: Copies) -> Swept | None:
        """Start a job per kind of record; None where there is nothing, or this user may start none."""
        jobs, proof = [], b""
        for kind in sorted({record.kind for record in records}):
            started = await self._start(kind, [record.id for record in records if record.kind == kind])
            if started is None:
                return None
            job, proof = started
            jobs.append(job)
        if not jobs:
            return None
        return Swept(request="+".join([copies, *jobs]), evidence=proof)

    async def _start(self, kind: str, ids: list[str]) -> tuple[str, bytes] | None:
        asked = {"object": kind, "operation": "hardDelete", "contentType": "CSV", "lineEnding": "LF"}
        made = await self._session.ask("POST", JOBS, send=asked)
        if not made.good:
            if made.status == 403 or isinstance(refusal(made), Permanent):
                return None  # without the permission "Bulk API Hard Delete"
            raise Stopped(refusal(made))
        job = record_id((made.object or {}).get("id"))
        if job is None:
            raise Stopped(Retry(code="vendor_answer"))
        text = "\n".join(["Id", *ids, ""]).encode()
        good(await self._session.ask("PUT", f"{JOBS}/{job}/batches", csv=text))
        closed = good(await self._session.ask("PATCH", f"{JOBS}/{job}", send={"state": "UploadComplete"}))
        return job, closed.evidence()

    async def follow(self, request: str) -> Answer:
        """Say how the jobs of a request stand: `Done` once none is under way."""
        named = _REQUEST.fullmatch(request)
        if named is None:
            return Done(outcome="manual_required")
        failed, proof = False, b""
        for job in named[2].strip("+").split("+"):
            reply = await self._session.ask("GET", f"{JOBS}/{job}")
            if gone(reply):
                failed = True
                continue
            said = good(reply).object or {}
            if said.get("state") in _UNDER_WAY:
                return Retry(code="vendor_busy", well=True)
            if said.get("state") not in ("JobComplete", "Aborted", "Failed"):
                return Retry(code="vendor_answer")
            proof = reply.evidence()
            done = said.get("state") == "JobComplete"
            failed |= not done or said.get("numberRecordsFailed") != 0
        return Done(outcome=_WHERE_FAILED[named[1]] if failed else "completed", evidence=proof)
