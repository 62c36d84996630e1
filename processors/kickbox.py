"""Kickbox, e-mail validation: one address goes out, a verdict comes back, and nothing else is ever sent.

https://docs.kickbox.com/docs/single-verification-api. A verification is a computation, no object: it has no
id, cannot be read again and cannot be deleted. `success` says whether the call worked, `result` what was
found. The address stands in the request's URL, as the vendor has it; no URL is ever logged. The batch
interface, which keeps lists and is paid for twice when it is tried twice, is not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.backoff import retry_after
from processors.calls import Call, Erase
from processors.choices import Said, text, whole
from processors.http import LOOK_AGAIN, Http, Reply
from processors.manifest import Manifest
from processors.vendors import proved
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.models import RecordDelivered

ADDRESS = "email"
"""The vendor's name of the one field it takes."""
MANIFEST = Manifest(
    object="verification",
    fields={"email": ADDRESS},
    required=frozenset({"email"}),
    deletion="nothing_kept",
    in_flight=16,
    quota="25 requests under way per address of ours, 8000 in a minute of the clock; one credit each",
    evidence="status and body of the answer",
    source="https://docs.kickbox.com/docs/single-verification-api",
)
UNSURE = 5
"""An address about which Kickbox cannot tell is asked so often; an unknown result costs no credit."""
VERDICTS = frozenset({"deliverable", "undeliverable", "risky"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KickboxSettings:
    """One account; accounts in the EU live at https://api.eu.kickbox.com/v2."""

    base_url: str = "https://api.kickbox.com/v2"
    timeout: int = 6000
    """Milliseconds Kickbox may take to ask the address's mail server."""
    api_key: str = field(repr=False)
    allow_private: bool = False


class Kickbox:
    """One account (a `processors.recipient.Recipient`)."""

    def __init__(
        self,
        *,
        processor: str,
        settings: KickboxSettings,
        fields: Mapping[str, str],
        wall: Callable[[], Micros],
    ) -> None:
        self._processor, self._wall, self._timeout = processor, wall, settings.timeout
        self._fields = {ours for ours, theirs in fields.items() if theirs == ADDRESS}
        self._http = Http(
            settings.base_url,
            where=f"processors.{processor}.settings.base_url",
            allow_private=settings.allow_private,
        )
        self._headers = {"Authorization": f"Bearer {settings.api_key}"}

    @classmethod
    def settings(cls, said: Said, secrets: Mapping[str, str]) -> KickboxSettings:
        """Read what a policy and the credentials file say; `BadInput` names what is missing."""
        key = secrets.get("api_key", "")
        if not re.fullmatch("[!-~]+", key):
            what, do = "no api_key, or none that can be sent", "put Kickbox's key into the file"
            raise BadInput("bad_argument", what, "credentials", do)
        return KickboxSettings(
            base_url=text(said, "base_url", "https://api.kickbox.com/v2"),
            timeout=whole(said, "timeout", 6000, range(500, 15_001)),
            api_key=key,
            allow_private=bool(said.get("allow_private")),
        )

    def key(self, delivery: RecordDelivered) -> str:
        """One person's addresses are asked about one after the other."""
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Verify the address of a write; there is nothing to erase."""
        if isinstance(call, Erase):
            return Done(outcome="not_applicable", kept=False)
        address = next((v.strip() for n, v in call.set.items() if n in self._fields and v.strip()), None)
        if address is None:
            return Done(outcome="not_applicable", kept=False)
        path = f"/verify?email={quote(address, safe='')}&timeout={self._timeout}"
        reply = await self._http.ask("GET", path, headers=self._headers)
        return self._judge(reply) if isinstance(reply, Reply) else reply

    def _judge(self, reply: Reply) -> Answer:
        said = reply.object
        no = refused(reply, self._wall())
        if no is not None:
            return no
        if said is None or said.get("success") is not True:
            return Retry(code="vendor_answer")
        result = said.get("result")
        if result == "unknown":
            return Retry(code="vendor_unsure", tries=UNSURE, well=True)
        if not isinstance(result, str) or result not in VERDICTS:
            return Retry(code="vendor_answer")
        return Done(outcome="delivered", evidence=reply.evidence(), kept=False, found=result)

    async def follow(self, request: str) -> None:
        """Nothing is accepted for later."""

    async def refresh(self) -> None:
        """A key has no session."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | None:  # noqa: ARG002
        """No result can be read again."""
        return None

    async def check(self) -> None:
        """Ask for the account's balance: an account without credits checks nobody."""
        where = f"processors.{self._processor}"
        reply = await self._http.ask("GET", "/balance", headers=self._headers)
        answer = reply if not isinstance(reply, Reply) else refused(reply, self._wall())
        proved(answer or (reply.object if isinstance(reply, Reply) else None), where)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def refused(reply: Reply, now: Micros) -> Answer | None:
    """Return what an answer other than a result means, None for a result."""
    status, wish = reply.status, retry_after(reply.headers.get("retry-after"), now)
    if status == 429:
        return Retry(code="vendor_busy", after=wish, landed=False)
    if status in (401, 403):
        # A wrong key and an empty account look alike but for the words, and both need somebody to look.
        return Pause(code="vendor_login", after=LOOK_AGAIN)
    if 300 <= status < 400:
        return Pause(code="vendor_redirect", after=LOOK_AGAIN)
    if status == 408 or status >= 500:
        return Retry(code="vendor_down", after=wish)
    if status in (400, 415) and reply.object is not None:
        return Permanent(code="vendor_refused", evidence=reply.evidence())
    return None if reply.good else Retry(code="vendor_answer", tries=12)
