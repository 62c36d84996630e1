"""The connector for business partners: signed CloudEvents, OpenDSR-shaped erasure requests, receipts.

Answers (Standard Webhooks, CloudEvents webhooks): only 2xx is success, 202 is accepted and not yet done;
redirects are never followed; 410 disables; 429 and 503 are obeyed by `Retry-After`. An erasure counts as
completed only with the partner's signature on its answer or callback.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from processors.addresses import check_url
from processors.answers import Answer, Done, Pause, Retry
from processors.backoff import retry_after
from processors.calls import Call, Erase
from processors.http import LOOK_AGAIN, close_session, guarded_session, read_up_to, unanswered
from processors.messages import (
    Message,
    Secrets,
    erasure_message,
    is_object,
    read_status,
    request_id,
    write_message,
)
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.models import RecordDelivered

ANSWER_BYTES = 65_536
"""More of an answer is never read."""
TRIES = 12
"""A call that a partner refuses so often in a row counts as refused for good: over a day with the backoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Where a partner is and how it is spoken to."""

    url: str
    secret_file: Path
    erasure_url: str | None = None
    """Where erasure requests go; `<url>/requests` if not stated."""
    callback_url: str | None = None
    """Our `/v1/callbacks/<processor>`; without it a partner can only answer at once."""
    allow_private: bool = False
    """Let http and private addresses pass: for the demo and test set-ups alone."""
    connect_timeout: float = 5.0


class Webhook:
    """One partner (a `processors.recipient.Recipient`); an object there is a person's pseudonym."""

    def __init__(
        self,
        *,
        processor: str,
        settings: WebhookSettings,
        wall: Callable[[], Micros],
    ) -> None:
        self._processor, self._settings, self._wall = processor, settings, wall
        self._ref: Callable[[str], bytes] = str.encode
        where = f"processors.{processor}.webhook"
        self._url = check_url(settings.url, allow_private=settings.allow_private, where=f"{where}.url")
        self._erasure_url = check_url(
            settings.erasure_url or f"{settings.url.rstrip('/')}/requests",
            allow_private=settings.allow_private,
            where=f"{where}.erasure_url",
        )
        self._secrets = load_secrets(settings.secret_file)
        self._session: aiohttp.ClientSession | None = None

    def refer(self, ref: Callable[[str], bytes]) -> None:
        """Take the vault's names of objects: callbacks name them so, not by what the partner knows."""
        self._ref = ref

    def key(self, delivery: RecordDelivered) -> str:
        """One object per person: the pseudonym that this partner alone has."""
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """POST one event or erasure request."""
        now = self._wall()
        if isinstance(call, Erase):
            message, url = (
                erasure_message(self._processor, call, now, self._callback(call)),
                self._erasure_url,
            )
        else:
            message, url = write_message(self._processor, call, now), self._url
        try:
            return await self._post(url, message, call, now)
        except (aiohttp.ClientError, OSError) as error:
            return unanswered(error)

    async def refresh(self) -> None:
        """Read the secret's file again."""
        self._secrets = load_secrets(self._settings.secret_file)

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | None:  # noqa: ARG002
        """A partner's store cannot be read; its signature is what proves."""
        return None

    async def follow(self, request: str) -> None:
        """A partner reports by its callback."""

    async def check(self) -> None:
        """Read the secret's file: a partner has no address that moves nothing."""
        load_secrets(self._settings.secret_file)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await close_session(self._session)
            self._session = None

    def _callback(self, call: Erase) -> str | None:
        base = self._settings.callback_url
        return f"{base}/{self._ref(call.key).hex()}" if base else None

    async def _post(self, url: str, message: Message, call: Call, now: Micros) -> Answer:
        headers = {"Content-Type": message.media_type, **self._secrets.sign(message, now)}
        async with self._opened().post(
            url, data=message.body, headers=headers, allow_redirects=False
        ) as response:
            body = await read_up_to(response.content, ANSWER_BYTES)
            return self._judge(call, response, body)

    def _judge(self, call: Call, response: aiohttp.ClientResponse, body: bytes) -> Answer:
        status, wish = response.status, retry_after(response.headers.get("Retry-After"), self._wall())
        evidence = hashlib.sha256(str(status).encode() + b"\n" + body).digest()
        if 200 <= status < 300:
            if response.content_type == "text/html":
                return Retry(code="vendor_answer")  # a proxy's or a login's page, not the partner's word
            return self._accepted(call, response, body, evidence)
        if status == 404 and isinstance(call, Erase) and self._signed(response, body):
            return Done(outcome="already_absent", evidence=evidence)
        if 300 <= status < 400:
            return Pause(code="vendor_redirect", after=LOOK_AGAIN)
        if status == 410:
            return Pause(code="vendor_closed")
        if status in (401, 403):
            return Pause(code="vendor_login", after=LOOK_AGAIN)
        if status == 429:
            return Retry(code="vendor_busy", after=wish, landed=False)
        if status in (408, 425) or status >= 500:
            return Retry(code="vendor_down", after=wish)
        return Retry(code="vendor_refused", after=wish, landed=False, tries=TRIES)

    def _accepted(self, call: Call, response: aiohttp.ClientResponse, body: bytes, evidence: bytes) -> Answer:
        if not isinstance(call, Erase):
            return Done(
                outcome="accepted_async" if response.status == 202 else "delivered", evidence=evidence
            )
        named, said = request_id(self._processor, call), read_status(body)
        if said is None and response.content_type == "application/json" and not is_object(body):
            return Retry(
                code="vendor_answer"
            )  # half of an answer says nothing, not even that it was accepted
        if said is not None and said.subject_request_id != named:
            return Retry(code="vendor_answer")
        done = said is not None and said.request_status == "completed" and response.status == 200
        if done and self._signed(response, body):
            return Done(outcome="completed", evidence=evidence)
        return Done(outcome="accepted_async", evidence=evidence, request=named)

    def _signed(self, response: aiohttp.ClientResponse, body: bytes) -> bool:
        return self._secrets.verified(body, response.headers)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(
                allow_private=self._settings.allow_private,
                connect_timeout=self._settings.connect_timeout,
                headers={},
            )
        return self._session


def load_secrets(path: Path) -> Secrets:
    """Read a partner's secrets; `BadInput` where the file is missing or not of their form."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput("bad_argument", "the webhook secret's file cannot be read", str(path)) from None
    return Secrets.parse(text, where=str(path))
