"""Mailchimp, e-mail marketing: one member of one audience per person, named by the MD5 of the address.

Marketing API 3.0 (https://mailchimp.com/developer/marketing/api/list-members/). An upsert is a PUT; an
erasure is `delete-permanent`, after which the API never takes the address again; a withdrawal unsubscribes
and blanks, so that the address goes on being suppressed. Archiving keeps the data and is never used. A member
is also known by its `contact_id`, which outlives a change of address made there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.calls import Call, Erase, Write
from processors.http import Reply
from processors.mailchimp_api import (
    TAKEN,
    TRIES,
    Api,
    MailchimpSettings,
    final,
    gone,
    member_id,
    missing,
    read_settings,
)
from processors.mailchimp_hook import read_hook
from processors.manifest import Manifest
from processors.recipient import Heard, Post
from schemas.errors import Refused, Unavailable
from schemas.ids import Micros
from schemas.models import RecordDelivered

MANIFEST = Manifest(
    object="member of an audience",
    fields={"email": "email_address", "name": "FNAME", "company": "COMPANY", "phone": "PHONE"},
    required=frozenset({"email"}),
    deletion="gone",
    blocks_readding=True,
    readable=True,
    hears=True,
    in_flight=8,
    quota="10 connections at a time per user; two are left for people and `processor check`",
    evidence="status and body of each answer; a refusal's body names its `instance`",
    source="https://mailchimp.com/developer/marketing/api/list-members/",
)
ADDRESS = "email_address"
"""The vendor's name of the field that names a member."""
ERASES = frozenset({"erasure", "recall", "rectification"})
"""Causes that always delete; withdrawal and objection never do, retention by the setting `at_end`."""
KEPT = frozenset({"?"})
"""What could not be read after an erasure counts as still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Under which names a person's member may stand: the MD5 we know, others, and the contact's id."""

    hashes: tuple[str, ...]
    contact: str

    @classmethod
    def of(cls, call: Call) -> _Names:
        known, _, contact = (call.vendor_id or "").partition(" ")
        return cls(hashes=tuple(n for n in dict.fromkeys((known, *call.also)) if n), contact=contact)


class Mailchimp:
    """One account (a `Recipient`, `Names` and `Hears`); an object there is a person's pseudonym with us."""

    def __init__(
        self,
        *,
        processor: str,
        settings: MailchimpSettings,
        fields: Mapping[str, str],
        wall: Callable[[], Micros],
    ) -> None:
        self._settings, self._fields = settings, dict(fields)
        self._tags = {ours: theirs for ours, theirs in fields.items() if theirs != ADDRESS}
        self._api = Api(settings, where=f"processors.{processor}.settings.base_url", wall=wall)

    @classmethod
    def settings(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> MailchimpSettings:
        """Read what a policy and the credentials file say; `BadInput` names what is missing."""
        return read_settings(said, secrets)

    def key(self, delivery: RecordDelivered) -> str:
        """One object per person: an address may change, the pseudonym does not."""
        return delivery.subject_ref.hex()

    def named(self, values: Mapping[str, str]) -> str | None:
        """Return the MD5 of the trimmed, lower-case address."""
        address = self._address(values)
        return None if address is None else member_id(address)

    async def call(self, call: Call) -> Answer:
        """Put, move, unsubscribe or delete a member, in a few requests one after the other."""
        names = _Names.of(call)
        if isinstance(call, Erase):
            causes = call.causes | {call.cause}
            at_end = "retention" in causes and self._settings.at_end == "delete"
            return await self._end(names, delete=at_end or not ERASES.isdisjoint(causes))
        if (address := self._address(call.set)) is not None:
            return await self._put(call, address, names)
        if any(self._fields.get(name) == ADDRESS for name in call.blank):
            ended = await self._end(names, delete=True)  # no member without an address
            return replace(ended, outcome="delivered") if isinstance(ended, Done) else ended
        return await self._patch(call, names)

    # ---- writing -------------------------------------------------------------------------------------------
    async def _put(self, call: Write, address: str, names: _Names) -> Answer:
        target, taken = member_id(address), list[str]()
        body: dict[str, Any] = {ADDRESS: address.strip(), "merge_fields": self._values(call)}
        for other in (name for name in names.hashes if name != target):
            again = {"status": self._settings.status_if_new} if call.again else {}
            moved = await self._api.member("PATCH", other, body | again)
            if isinstance(moved, Permanent) and moved.code == TAKEN:
                taken.append(other)
            elif not missing(moved):
                left = tuple(n for n in names.hashes if n not in (other, target))
                return await self._settled(moved, replace(names, hashes=left))
        if call.vendor_id is None or call.again:
            status = await self._standing(target, again=call.again)
            if isinstance(status, Retry | Pause | Permanent):
                return status
            body |= {"status": status} if status else {}
        put = await self._api.member("PUT", target, {**body, "status_if_new": self._settings.status_if_new})
        if missing(put):
            return await self._api.unless_missing(put, Retry(code="vendor_answer"))
        return await self._settled(put, replace(names, hashes=tuple(taken)))

    async def _standing(self, target: str, *, again: bool) -> str | Retry | Pause | Permanent | None:
        """Return the status that a member must be given whom nobody here has written yet; None: its own.

        Whoever opted out there, by themselves or through somebody else, is not brought back by us.
        """
        found = await self._api.member("GET", target)
        if missing(found):
            return None
        if not isinstance(found, Reply):
            return found
        status = (found.object or {}).get("status")
        if status == "archived" or (status == "unsubscribed" and again):
            return self._settings.status_if_new
        if status in ("unsubscribed", "cleaned"):
            return Permanent(code="vendor_refused", evidence=found.evidence())
        return None

    async def _settled(self, written: Reply | Retry | Pause | Permanent, left: _Names) -> Answer:
        """Remove what the person has under other names; only then is the write done."""
        if not isinstance(written, Reply):
            return final(written)
        said = written.object or {}
        name, contact = said.get("id"), said.get("contact_id", "")
        if not isinstance(name, str) or not isinstance(contact, str):
            return Retry(code="vendor_answer")
        stray = left.contact if contact and contact != left.contact else ""
        if left.hashes or stray:
            ended = await self._end_in(self._settings.audience, replace(left, contact=stray), delete=True)
            if not isinstance(ended, Done):
                return _landed(ended)
        vendor_id = f"{name} {contact}" if contact else name
        return Done(outcome="delivered", evidence=written.evidence(), vendor_id=vendor_id)

    async def _patch(self, call: Write, names: _Names) -> Answer:
        for name in names.hashes:
            reply = await self._api.member("PATCH", name, {"merge_fields": self._values(call)})
            if isinstance(reply, Reply) and reply.good:
                return Done(outcome="delivered", evidence=reply.evidence())
            if not missing(reply):
                return final(reply)
        if call.set:
            return Permanent(code="vendor_refused")  # nobody is there, and no address to make somebody of
        return Done(outcome="already_absent")

    # ---- ending --------------------------------------------------------------------------------------------
    async def _end(self, names: _Names, *, delete: bool) -> Answer:
        """Delete or unsubscribe in every audience; a contact's id is known in the one that is written to."""
        evidence, outcomes = b"", set[str]()
        for audience in self._settings.audiences if names.hashes or names.contact else ():
            here = names if audience == self._settings.audience else replace(names, contact="")
            one = await self._end_in(audience, here, delete=delete)
            if not isinstance(one, Done):
                return one if outcomes <= {"already_absent"} else _halfway(one)
            evidence = hashlib.sha256(evidence + one.evidence).digest() if evidence else one.evidence
            outcomes.add(one.outcome)
        return _weakest(outcomes, evidence)

    async def _end_in(self, audience: str, names: _Names, *, delete: bool) -> Answer:
        evidence, outcomes = b"", set[str]()
        for name in names.hashes:
            one = await self._end_one(audience, name, delete=delete)
            if not isinstance(one, Done):
                return one if outcomes <= {"already_absent"} else _halfway(one)
            evidence = hashlib.sha256(evidence + one.evidence).digest() if evidence else one.evidence
            outcomes.add(one.outcome)
        if names.contact and not outcomes - {"already_absent"}:
            found = await self._api.member("GET", names.contact, audience=audience)
            if not isinstance(found, Reply) or not found.good:
                return await self._api.unless_missing(found, gone(found), audience)
            moved = (found.object or {}).get("id")  # the person has changed the address there
            if not isinstance(moved, str):
                return Retry(code="vendor_answer")
            return await self._end_one(audience, moved, delete=delete)
        return _weakest(outcomes, evidence)

    async def _end_one(self, audience: str, name: str, *, delete: bool) -> Answer:
        if delete:
            reply = await self._api.member(
                "POST", name, audience=audience, action="/actions/delete-permanent"
            )
            if isinstance(reply, Reply) and reply.good:
                return Done(outcome="completed", evidence=reply.evidence())
            return await self._api.unless_missing(reply, gone(reply), audience)
        blank: dict[str, Any] = {"merge_fields": dict.fromkeys(sorted(set(self._tags.values())), "")}
        reply = await self._api.member("PATCH", name, {"status": "unsubscribed"} | blank, audience=audience)
        if isinstance(reply, Permanent):  # in a compliance state it is opted out already
            reply = await self._api.member("PATCH", name, blank, audience=audience)
        if isinstance(reply, Reply) and reply.good:
            return Done(outcome="overwritten_only", evidence=reply.evidence())
        return await self._api.unless_missing(reply, gone(reply), audience)

    # ---- the rest of a recipient ---------------------------------------------------------------------------
    async def follow(self, request: str) -> None:
        """Nothing is accepted for later."""

    async def refresh(self) -> None:
        """A key has no session."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:  # noqa: ARG002
        """Read the member in every audience: the fields that are not empty; what cannot be read is there."""
        name, found = (vendor_id or "").partition(" ")[0], frozenset[str]()
        for audience in self._settings.audiences if name else ():
            reply = await self._api.member("GET", name, audience=audience)
            if missing(reply):
                continue
            if isinstance(reply, Retry):
                return reply
            if not isinstance(reply, Reply) or reply.object is None:
                return KEPT
            merged = reply.object.get("merge_fields")
            held = merged if isinstance(merged, dict) else {}
            found |= {ADDRESS, *(tag for tag, value in held.items() if value)}
        return found

    async def check(self) -> None:
        """Ask whether the key is taken and every audience is there."""
        for path in ("/ping", *(f"/lists/{a}?fields=id" for a in self._settings.audiences)):
            reply = await self._api.ask("GET", path)
            if missing(reply):
                raise Refused("vendor_refused", "there is no such audience", path.partition("?")[0])
            if isinstance(reply, Retry):
                raise Unavailable(reply.code, "Mailchimp does not answer")
            if not isinstance(reply, Reply):
                raise Refused(reply.code, "Mailchimp does not take this key")

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def heard(self, post: Post, now: Micros) -> Heard:
        """Read one webhook: `Refused` without the secret that stands in its address."""
        return read_hook(post, now, self._settings.hook_secret, self._settings.audiences)

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:  # noqa: ARG002
        """Mailchimp reads no answer."""
        return b"{}"

    def _address(self, values: Mapping[str, str]) -> str | None:
        return next((v for n, v in values.items() if v.strip() and self._fields.get(n) == ADDRESS), None)

    def _values(self, call: Write) -> dict[str, str]:
        """Return the merge fields to set and to blank; where two of ours share one, setting wins."""
        blank = {self._tags[name]: "" for name in call.blank if name in self._tags}
        return blank | {self._tags[name]: value for name, value in call.set.items() if name in self._tags}


def _weakest(outcomes: set[str], evidence: bytes) -> Done:
    if "overwritten_only" in outcomes:
        return Done(outcome="overwritten_only", evidence=evidence)
    return Done(outcome="completed" if "completed" in outcomes else "already_absent", evidence=evidence)


def _halfway(answer: Answer) -> Answer:
    """Return the failure of an end that has begun: it is one, for whoever writes next."""
    if isinstance(answer, Permanent):
        return Retry(code=answer.code, tries=TRIES)  # told as refused in the end, when it is known as begun
    return _landed(answer)


def _landed(answer: Answer) -> Answer:
    """Return a failure after something was written: nothing may be taken to be as it was."""
    if isinstance(answer, Pause | Permanent):
        return Retry(code=answer.code)
    return replace(answer, landed=True) if isinstance(answer, Retry) else answer
