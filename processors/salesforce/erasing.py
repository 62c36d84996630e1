"""Takes a person out of an org: overwrite, delete, opt out what stays, and say honestly what is left.

Overwriting comes first, so that the copy in the recycle bin, which stands there for 15 days, holds constants
only. Where deletion is refused (open cases, a rule) the overwritten record stays, and is said to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.answers import Answer, Done, Permanent, Retry
from processors.calls import Erase
from processors.http import Stopped
from processors.salesforce.bulk import Bulk, Copies, Swept
from processors.salesforce.manifest import AS_LEAD, LEAD_ONLY
from processors.salesforce.records import Body, Record, Records, as_contact, mandatory
from processors.salesforce.session import good
from processors.salesforce.settings import SalesforceSettings
from processors.salesforce.wire import gone, refusal

FLAGS = (
    "HasOptedOutProcessing",
    "HasOptedOutProfiling",
    "HasOptedOutSolicit",
    "HasOptedOutTracking",
    "HasOptedOutGeoTracking",
    "ShouldForget",
)
"""What an `Individual` is told; the last one is a recorded wish, nothing deletes by it."""


@dataclass(slots=True)
class Traces:
    """What became of a person's records so far."""

    deleted: list[Record] = field(default_factory=list)
    refused: list[Record] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    """Records that could not be overwritten: their deleted copies still show the person."""
    proofs: list[bytes] = field(default_factory=list)


class Erasing:
    """Erasures in one org; `fields` are the names of what we write there."""

    def __init__(
        self, records: Records, bulk: Bulk, settings: SalesforceSettings, fields: Mapping[str, str]
    ) -> None:
        self._records, self._bulk, self._settings = records, bulk, settings
        self._fields = tuple(sorted({*fields.values(), *settings.blank_also}))

    async def erase(self, call: Erase) -> Answer:
        """Take every record of a person out; each step can be made again."""
        traces, absent = Traces(), list[bytes]()
        found = await self._records.find(call.key, call.vendor_id, absent)
        for record in found:
            await self._erase(record, traces)
        proof = _joined(traces.proofs or absent)
        if traces.refused:
            stuck = any(record.id in traces.dirty for record in traces.refused)
            return Done(outcome="manual_required" if stuck else "overwritten_only", evidence=proof)
        if self._settings.hard_delete and (call.cause == "erasure" or traces.dirty):
            records, copies = self._binned(call, traces)
            swept = await self._bulk.sweep(records, copies)
            if isinstance(swept, Swept):
                return Done(outcome="accepted_async", evidence=swept.evidence, request=swept.request)
        if traces.dirty:
            return Done(outcome="manual_required", evidence=proof)
        return Done(outcome="completed" if traces.deleted else "already_absent", evidence=proof)

    def _binned(self, call: Erase, traces: Traces) -> tuple[list[Record], Copies]:
        """What may lie in the recycle bin: what was just deleted, else what was known and is not found."""
        if traces.deleted:
            return traces.deleted, "dirty" if traces.dirty else "clean"
        if call.vendor_id is None:
            return [], "absent"
        kind = "Lead" if call.vendor_id.startswith("00Q") else "Contact"
        return [Record(kind=kind, id=call.vendor_id)], "absent"

    async def _erase(self, record: Record, traces: Traces) -> None:
        if not await self._overwritten(record):
            traces.dirty.add(record.id)  # also where somebody deleted it in this moment
        if record.individual is not None:
            await self._tell(record.individual, {"FirstName": None, "LastName": self._settings.last_name})
        reply = await self._records.delete(record)
        if reply.good or gone(reply):
            traces.deleted.append(record)
        else:
            if not isinstance(answer := refusal(reply), Permanent):
                raise Stopped(answer)
            await self._stays(record, traces)
        if record.individual is not None:
            await self._tell(record.individual, dict.fromkeys(FLAGS, True))
        traces.proofs.append(reply.evidence())

    async def _overwritten(self, record: Record) -> bool:
        """Empty what we and others filled; false where a rule of the org, or conversion, forbids it."""
        if record.converted:
            return False
        body: Body = {**dict.fromkeys(self._names(record.kind)), **mandatory(self._settings, record.kind)}
        reply = await self._records.update(record, body)
        if reply.good:
            return True
        if gone(reply) or isinstance(refusal(reply), Permanent):
            return False
        raise Stopped(refusal(reply))

    async def _tell(self, individual: str, body: Body) -> None:
        """Write to the Individual behind a record, which outlives it."""
        reply = await self._records.update(Record(kind="Individual", id=individual), body)
        if not reply.good and not gone(reply):
            raise Stopped(refusal(reply))

    async def _stays(self, record: Record, traces: Traces) -> None:
        """Opt out a record that cannot be deleted, and see that nothing of the person stands in it.

        Not before: a write that comes before the erasure is asked again would find the record opted out, and
        could not tell that it was us. A flow of the org may have filled it again.
        """
        traces.refused.append(record)
        if record.id in traces.dirty:
            return
        good(await self._records.update(record, dict.fromkeys(self._settings.opt_out_fields, True)))
        if personal(await self._records.read(record, self._names(record.kind)), record.kind, self._settings):
            raise Stopped(Retry(code="vendor_kept"))

    def _names(self, kind: str) -> tuple[str, ...]:
        return names_at(kind, self._fields, self._settings)


def names_at(kind: str, names: tuple[str, ...], settings: SalesforceSettings) -> tuple[str, ...]:
    """Return the names of fields as this kind of record has them."""
    if kind == "Contact" and settings.object == "Lead":
        return tuple(as_contact(dict.fromkeys(names)))
    if kind == "Lead" and settings.object == "Contact":
        return tuple(AS_LEAD.get(name, name) for name in names)
    return tuple(name for name in names if kind == "Lead" or name not in LEAD_ONLY)


def personal(said: Mapping[str, object] | None, kind: str, settings: SalesforceSettings) -> frozenset[str]:
    """Return the fields of a record with something of a person in them: neither empty nor a constant."""
    constants = mandatory(settings, kind)
    return frozenset(
        name
        for name, value in (said or {}).items()
        if name not in ("Id", "attributes") and value not in (None, "", False, constants.get(name))
    )


def _joined(proofs: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(proofs)).digest() if len(proofs) > 1 else b"".join(proofs)
