"""The connector itself: what a write and an erasure of one record come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from processors.answers import Answer, Done, Permanent, Refresh, Retry
from processors.calls import Call, Erase, Write
from processors.http import Stopped
from processors.salesforce.bulk import Bulk
from processors.salesforce.erasing import FLAGS, Erasing, names_at, personal
from processors.salesforce.manifest import AS_LEAD
from processors.salesforce.records import Body, Record, Records, mandatory
from processors.salesforce.session import DESCRIPTION_BYTES, Session, good
from processors.salesforce.settings import SalesforceSettings
from processors.vendors import landed, proved
from schemas.errors import Refused
from schemas.ids import Micros
from schemas.models import RecordDelivered


class Salesforce:
    """One org (a `processors.recipient.Recipient`); an object there is a Contact or a Lead, one per person.

    `fields` maps our names to a Contact's; for a Lead those that are called otherwise are put in its words.
    """

    def __init__(
        self,
        *,
        processor: str,
        settings: SalesforceSettings,
        fields: Mapping[str, str],
        wall: Callable[[], Micros],  # noqa: ARG002  # every recipient is made alike; nothing here has a time
    ) -> None:
        lead = settings.object == "Lead"
        self._fields = {ours: AS_LEAD.get(name, name) if lead else name for ours, name in fields.items()}
        self._where, self._settings = f"processors.{processor}", settings
        self._session = Session(settings, where=f"{self._where}.settings.base_url")
        self._records = Records(self._session, settings)
        self._bulk = Bulk(self._session)
        self._erasing = Erasing(self._records, self._bulk, settings, self._fields)

    @classmethod
    def settings(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> SalesforceSettings:
        """Return the settings of a policy and a credentials file; `BadInput` names what is missing."""
        return SalesforceSettings.read(said, secrets)

    def key(self, delivery: RecordDelivered) -> str:
        """One record per person: the pseudonym that this processor alone has is its external id."""
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Write or erase a record; `Refresh` where the token is over, and the call is then made again."""
        try:
            return await (self._erasing.erase(call) if isinstance(call, Erase) else self._write(call))
        except Stopped as stop:
            return stop.answer

    async def _write(self, call: Write) -> Answer:
        body = self._body(call)
        if not body:
            return Done(outcome="not_applicable")
        only_update = not any(ours in self._fields for ours in call.set)
        written = await self._records.upsert(call.key, {**body, **self._flags(call)}, only_update=only_update)
        if written is None:
            return Done(outcome="already_absent")
        name, reply = written
        if call.again and self._settings.individual:
            try:
                await self._welcome(call)
            except Stopped as stop:
                raise landed(stop) from None
        return Done(outcome="delivered", evidence=reply.evidence(), vendor_id=name or call.vendor_id)

    def _body(self, call: Write) -> Body:
        constants = mandatory(self._settings, self._settings.object)
        emptied: Body = {
            self._fields[ours]: constants.get(self._fields[ours])
            for ours in call.blank
            if ours in self._fields
        }
        return {
            **emptied,
            **{self._fields[ours]: value for ours, value in call.set.items() if ours in self._fields},
        }

    def _flags(self, call: Write) -> Body:
        """Opt out of what no purpose allows any more; opting in is only for what our own end had opted out.

        Somebody who opted out in Salesforce itself is never opted in by us.
        """
        granted = {name for name, _ in call.purposes}
        allowed = {
            "HasOptedOutOfEmail": self._settings.mail_purposes,
            "DoNotCall": self._settings.call_purposes,
        }
        flags: Body = dict.fromkeys(self._settings.opt_out_fields, False) if call.again else {}
        return {
            **flags,
            **{name: True for name, needs in allowed.items() if needs and not granted & set(needs)},
        }

    async def _welcome(self, call: Write) -> None:
        """Take back what our own end had told the Individual."""
        for record in await self._records.find(call.key, call.vendor_id):
            if record.individual is not None:
                flags: Body = dict.fromkeys(FLAGS, False)
                good(await self._records.update(Record(kind="Individual", id=record.individual), flags))

    # ---- afterwards ----------------------------------------------------------------------------------------
    async def follow(self, request: str) -> Answer:
        """Say how the jobs that empty the recycle bin stand."""
        try:
            return await self._session.again(lambda: self._bulk.follow(request))
        except Stopped as stop:
            answer = stop.answer
            # A look that is refused is taken again: the job says how it stands.
            return Retry(code=answer.code) if isinstance(answer, Permanent | Refresh) else answer

    async def refresh(self) -> None:
        """Log in again."""
        await self._session.renew()

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:
        """Return our names of the fields that stand at the person's records, all while the org is away.

        What cannot be looked at counts as kept.
        """
        try:
            return await self._session.again(lambda: self._standing(key, vendor_id))
        except Stopped as stop:
            return stop.answer if isinstance(stop.answer, Retry) else frozenset(self._fields)

    async def _standing(self, key: str, vendor_id: str | None) -> frozenset[str]:
        stand: set[str] = set()
        for record in await self._records.find(key, vendor_id):
            names = names_at(record.kind, tuple(self._fields.values()), self._settings)
            said = await self._records.read(record, names)
            there = personal(said, record.kind, self._settings)
            pairs = zip(self._fields.items(), self._named(record.kind), strict=True)
            stand |= {ours for (ours, _), name in pairs if name in there}
        return frozenset(stand)

    def _named(self, kind: str) -> list[str]:
        """Return the name of each field of ours at this kind of record, in order."""
        return ["".join(names_at(kind, (name,), self._settings)) for name in self._fields.values()]

    async def check(self) -> None:
        """Read the object's description: it proves the login and every field."""
        path = f"/sobjects/{self._settings.object}/describe"
        try:
            reply = await self._session.again(lambda: self._session.ask("GET", path, limit=DESCRIPTION_BYTES))
            said = good(reply).object
        except Stopped as stop:
            proved(stop.answer, self._where)
            return
        proved(said, self._where)
        assert said is not None
        self._fits(said)

    def _fits(self, said: Mapping[str, object]) -> None:
        """Refuse an org in which a field of the mapping is missing, or the external id is not one."""
        described = said.get("fields")
        listed = described if isinstance(described, list) else []
        known = {str(each.get("name")): each for each in listed if isinstance(each, dict)}
        key = known.get(self._settings.external_id_field, {})
        if not (key.get("externalId") and key.get("unique")):
            what = f"{self._settings.external_id_field} is no unique external id of {self._settings.object}"
            raise Refused("vendor_refused", what, self._where, "make the field, and let our user see it")
        wanted = {*self._fields.values(), *self._settings.opt_out_fields, *self._settings.blank_also}
        lacking = sorted(name for name in wanted if not known.get(name, {}).get("updateable"))
        if lacking:
            what = f"our user cannot write {', '.join(lacking)} of {self._settings.object}"
            raise Refused("vendor_refused", what, self._where, "let our user write them, or map others")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
