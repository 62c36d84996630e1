"""How Mailchimp's Marketing API is spoken to: settings, requests of one account, and what an answer means."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import msgspec

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.backoff import retry_after
from processors.choices import Said, text, words
from processors.http import LOOK_AGAIN, Http, Reply
from schemas.errors import BadInput
from schemas.ids import Micros

TRIES = 12
"""A refusal that Mailchimp does not explain counts as final after so many in a row."""
TAKEN = "taken"
"""Inside this connector: the address of a member cannot become one that another member has."""

Replied = Reply | Retry | Pause | Permanent
"""A success or Mailchimp's own 404, or else what became of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailchimpSettings:
    """One account and its audiences."""

    audience: str
    """Id of the audience that is written to."""
    base_url: str
    also_erase_in: tuple[str, ...] = ()
    """Ids of audiences where a person may sit, too: never written to, but erased in."""
    status_if_new: str = "subscribed"
    """What a new member becomes: `subscribed`, or `pending`, which sends a mail to confirm."""
    at_end: str = "delete"
    """When retention ends with nothing left: `delete` for good, or `unsubscribe`, which keeps the address."""
    api_key: str = field(repr=False)
    hook_secret: str = field(default="", repr=False)
    """What stands under `secret` in the query of the webhook's address; empty: nothing is heard."""
    allow_private: bool = False

    @property
    def audiences(self) -> tuple[str, ...]:
        """Every audience, the one that is written to first."""
        return tuple(dict.fromkeys((self.audience, *self.also_erase_in)))


class Api:
    """One account."""

    def __init__(self, settings: MailchimpSettings, *, where: str, wall: Callable[[], Micros]) -> None:
        self._main, self._wall = settings.audience, wall
        self._http = Http(settings.base_url, where=where, allow_private=settings.allow_private)
        login = base64.b64encode(b"lapse:" + settings.api_key.encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Replied:
        """Make one request; `path` is encoded already."""
        data = None if body is None else msgspec.json.encode(body)
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        reply = await self._http.ask(method, path, headers=headers, body=data)
        return judged(reply, self._wall()) if isinstance(reply, Reply) else reply

    async def member(
        self,
        method: str,
        name: str,
        body: Mapping[str, Any] | None = None,
        *,
        audience: str | None = None,
        action: str = "",
    ) -> Replied:
        """Make one request about a member; a merge field that the audience requires is not insisted on."""
        path = f"/lists/{audience or self._main}/members/{quote(name, safe='')}{action}"
        return await self.ask(method, path if body is None else f"{path}?skip_merge_validation=true", body)

    async def unless_missing(self, reply: Replied, absent: Answer, audience: str | None = None) -> Answer:
        """Return `absent` for a member that is not there; an audience that is not stops everything."""
        if not missing(reply):
            return final(reply)
        listed = await self.ask("GET", f"/lists/{audience or self._main}?fields=id")
        if missing(listed):
            return Pause(code="vendor_refused", after=LOOK_AGAIN)
        return absent if isinstance(listed, Reply) else listed

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def member_id(address: str) -> str:
    """Return Mailchimp's name of a member: the MD5 of the trimmed, lower-case address."""
    return hashlib.md5(address.strip().lower().encode(), usedforsecurity=False).hexdigest()


def judged(reply: Reply, now: Micros) -> Replied:
    """Return what an answer means; a success and Mailchimp's own 404 stand for themselves."""
    status, said = reply.status, reply.object
    if status == 204 or (reply.good and said is not None) or (status == 404 and said is not None):
        return reply
    if status in (401, 403):
        # Behind the API stands a gateway that refuses with a page of its own when it is busy.
        busy = status == 403 and said is None
        return (
            Retry(code="vendor_busy", landed=False) if busy else Pause(code="vendor_login", after=LOOK_AGAIN)
        )
    if status == 429:
        return Retry(
            code="vendor_busy", after=retry_after(reply.headers.get("retry-after"), now), landed=False
        )
    if status == 408 or status >= 500:
        return Retry(code="vendor_down", after=retry_after(reply.headers.get("retry-after"), now))
    if 300 <= status < 400:
        return Pause(code="vendor_redirect", after=LOOK_AGAIN)
    if said is None:
        return Retry(code="vendor_answer")  # a page of somebody in between
    if status == 400:
        taken = said.get("title") == "Member Exists" or "already a list member" in str(said.get("detail"))
        return Permanent(code=TAKEN if taken else "vendor_refused", evidence=reply.evidence())
    return Retry(code="vendor_refused", landed=False, tries=TRIES)


def missing(reply: Replied) -> bool:
    """Return whether Mailchimp says that there is no such thing."""
    return isinstance(reply, Reply) and reply.status == 404


def gone(reply: Replied) -> Done:
    """Return that there was nothing to end."""
    return Done(outcome="already_absent", evidence=reply.evidence() if isinstance(reply, Reply) else b"")


def final(reply: Answer | Reply) -> Answer:
    """Return what is not a success as an answer of the call."""
    if isinstance(reply, Permanent):
        return replace(reply, code="vendor_refused")
    return Retry(code="vendor_refused", tries=TRIES) if isinstance(reply, Reply) else reply


# ---- settings ----------------------------------------------------------------------------------------------
_AUDIENCE = re.compile("[A-Za-z0-9]{1,32}")
_CENTRE = re.compile("[a-z]{2,3}[0-9]{1,3}")


def read_settings(said: Said, secrets: Mapping[str, str]) -> MailchimpSettings:
    """Read what a policy and the credentials file say; `BadInput` names what is missing."""
    key = secrets.get("api_key", "")
    if not key:
        raise BadInput("bad_argument", "no api_key", "credentials", "put Mailchimp's key into the file")
    centre = key.rpartition("-")[2]
    if "base_url" not in said and not _CENTRE.fullmatch(centre):
        what, do = "the key does not end in its data centre", "take the whole key, or state base_url"
        raise BadInput("bad_argument", what, "credentials.api_key", do)
    return MailchimpSettings(
        audience=text(said, "audience", None, _AUDIENCE),
        base_url=text(said, "base_url", f"https://{centre}.api.mailchimp.com/3.0"),
        also_erase_in=words(said, "also_erase_in", (), _AUDIENCE),
        status_if_new=text(said, "status_if_new", "subscribed", re.compile("pending")),
        at_end=text(said, "at_end", "delete", re.compile("unsubscribe")),
        api_key=key,
        hook_secret=secrets.get("hook_secret", ""),
        allow_private=bool(said.get("allow_private")),
    )
