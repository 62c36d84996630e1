"""Finds and writes the records of a person: by the external id, over converted leads to their contacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from processors.answers import Permanent, Retry
from processors.http import Reply, Stopped
from processors.salesforce.manifest import AS_LEAD, LEAD_ONLY
from processors.salesforce.session import Session, good
from processors.salesforce.settings import SalesforceSettings
from processors.salesforce.wire import CONVERTED, codes, errors, gone, missing_fields, record_id, several

Body = dict[str, str | bool | None]
"""Fields of a record as they are sent: None empties."""
_OF_PREFIX = {"003": "Contact", "00Q": "Lead"}
"""The first characters of an id say what it names."""
_AS_CONTACT = {lead: contact for contact, lead in AS_LEAD.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record that stands for a person."""

    kind: str
    id: str
    converted: bool = False
    """A Lead that has become a contact: it cannot be written any more."""
    individual: str | None = None


class Records:
    """The contacts or leads of one processor in one org."""

    def __init__(self, session: Session, settings: SalesforceSettings) -> None:
        self._session, self._settings = session, settings

    # ---- writing -------------------------------------------------------------------------------------------
    async def upsert(self, key: str, body: Body, *, only_update: bool) -> tuple[str | None, Reply] | None:
        """Write by the external id; return the record's id if it was named, None where there is no record."""
        reply = await self._patch(self._by_key(self._settings.object, key), body, only_update=only_update)
        if (lacking := missing_fields(reply)) and lacking <= self._mandatory().keys():
            mended: Body = {**body, **{name: self._mandatory()[name] for name in sorted(lacking)}}
            reply = await self._patch(
                self._by_key(self._settings.object, key), mended, only_update=only_update
            )
        if CONVERTED in codes(reply):
            return await self._as_contact(key, body)
        if self._taken(reply):
            raise Stopped(Retry(code="vendor_busy"))  # an attempt before, or a creation beside, was quicker
        if only_update and gone(reply):
            return None
        if good(reply).status == 204:  # an update before v46 names nothing
            return None, reply
        said = reply.object or {}
        if said.get("success") is not True:
            raise Stopped(Retry(code="vendor_answer"))
        return record_id(said.get("id")), reply

    async def update(self, record: Record, body: Body) -> Reply:
        """Write to a record by its id; a refusal is the caller's to judge."""
        return _empty(await self._patch(self._by_id(record.kind, record.id), body))

    async def delete(self, record: Record) -> Reply:
        """Delete a record into the recycle bin; a refusal is the caller's to judge."""
        return _empty(await self._session.ask("DELETE", self._by_id(record.kind, record.id)))

    async def _as_contact(self, key: str, body: Body) -> tuple[str, Reply] | None:
        """A lead was converted: what was for it goes to its contact."""
        for record in await self._follow_lead(key):
            if record.kind == "Contact":
                reply = await self.update(record, as_contact(body))
                return record.id, good(reply)
        raise Stopped(Permanent(code="vendor_refused"))  # its contact is gone, and it takes nothing itself

    async def _patch(self, path: str, body: Body, *, only_update: bool = False) -> Reply:
        rule = {"Sforce-Duplicate-Rule-Header": "allowSave=true"} if self._settings.save_duplicates else {}
        query = "?updateOnly=true" if only_update else ""
        return await self._session.ask("PATCH", path + query, send=body, headers=rule)

    def _taken(self, reply: Reply) -> bool:
        named = self._settings.external_id_field
        return any(code == "DUPLICATE_VALUE" and named in message for code, message in errors(reply))

    def _mandatory(self) -> dict[str, str]:
        return mandatory(self._settings, self._settings.object)

    # ---- finding -------------------------------------------------------------------------------------------
    async def find(self, key: str, known: str | None, absent: list[bytes] | None = None) -> list[Record]:
        """Return every record of a person, the contact of a converted lead before the lead itself.

        `known` is the id a write was answered with: it counts even where the external id was taken off it.
        `absent` takes the evidence of every answer that there is none.
        """
        if self._settings.object == "Lead":
            found = await self._follow_lead(key, absent)
        else:
            found = await self._at(self._by_key("Contact", key), "Contact", absent)
        kind = _OF_PREFIX.get((known or "")[:3])
        if known is not None and kind is not None and all(each.id[:15] != known[:15] for each in found):
            found += await self._at(self._by_id(kind, known), kind, absent)
        return found

    async def _follow_lead(self, key: str, absent: list[bytes] | None = None) -> list[Record]:
        leads = await self._at(self._by_key("Lead", key), "Lead", absent)
        contacts: list[Record] = []
        for lead in leads:
            if lead.converted:
                said = await self.read(lead, ["ConvertedContactId"])
                name = record_id((said or {}).get("ConvertedContactId"))
                contacts += await self._at(self._by_id("Contact", name), "Contact") if name else []
        return [*contacts, *leads]

    async def _at(self, path: str, kind: str, absent: list[bytes] | None = None) -> list[Record]:
        asked = ["Id"]
        if kind == "Lead":
            asked.append("IsConverted")
        if self._settings.individual:
            asked.append("IndividualId")
        reply = await self._session.ask("GET", f"{path}?{urlencode({'fields': ','.join(asked)})}")
        if gone(reply):
            if absent is not None:
                absent.append(reply.evidence())
            return []
        if reply.status == 300:
            names = several(reply)
            if not names:
                raise Stopped(Retry(code="vendor_answer"))
            return [each for name in names for each in await self._at(self._by_id(kind, name), kind)]
        said = good(reply).object or {}
        name = record_id(said.get("Id"))
        if name is None:
            raise Stopped(Retry(code="vendor_answer"))
        converted, individual = said.get("IsConverted") is True, record_id(said.get("IndividualId"))
        return [Record(kind=kind, id=name, converted=converted, individual=individual)]

    async def read(self, record: Record, names: Iterable[str]) -> dict[str, Any] | None:
        """Return these fields of a record, None where it does not stand."""
        query = urlencode({"fields": ",".join(sorted({"Id", *names}))})
        reply = await self._session.ask("GET", f"{self._by_id(record.kind, record.id)}?{query}")
        if gone(reply):
            return None
        said = good(reply).object
        if said is None:
            raise Stopped(Retry(code="vendor_answer"))
        return said

    def _by_key(self, kind: str, key: str) -> str:
        return f"/sobjects/{kind}/{self._settings.external_id_field}/{quote(key, safe='')}"

    def _by_id(self, kind: str, name: str) -> str:
        return f"/sobjects/{kind}/{name}"


def mandatory(settings: SalesforceSettings, kind: str) -> dict[str, str]:
    """Return the fields that cannot be empty, and what stands there where nothing of a person may."""
    constants = {"LastName": settings.last_name}
    return {**constants, "Company": settings.company} if kind == "Lead" else constants


def as_contact(body: Mapping[str, str | bool | None]) -> Body:
    """Return what was for a Lead as its Contact takes it."""
    return {_AS_CONTACT.get(name, name): value for name, value in body.items() if name not in LEAD_ONLY}


def _empty(reply: Reply) -> Reply:
    """Success at a single record is 204 and nothing else."""
    if reply.good and reply.status != 204:
        raise Stopped(Retry(code="vendor_answer"))
    return reply
