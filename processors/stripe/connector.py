"""The connector itself: what a write and an erasure of one customer come to, step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from processors.answers import Answer, Done, Permanent, Retry
from processors.calls import Call, Erase, Write
from processors.http import Reply, Stopped
from processors.recipient import Heard, Post
from processors.stripe.api import Api, good
from processors.stripe.customers import Customers, final
from processors.stripe.events import said, verify
from processors.stripe.redaction import Redaction
from processors.stripe.settings import StripeSettings
from processors.stripe.wire import changes, evidence, standing
from processors.vendors import landed, proved
from schemas.errors import Refused
from schemas.ids import Micros
from schemas.models import RecordDelivered

PROBE = "/v1/customers?limit=1&created[gt]=7258118400"
"""Customers made after the year 2199: proves that the key may read customers, and shows none."""


class Stripe:
    """One account (a `processors.recipient.Recipient`); an object there is a customer, one per person.

    `fields` maps our names to Stripe's: `email`, `address.line1`, `metadata.order`. Stripe charges nobody
    here; what was charged elsewhere keeps its own copies, and every answer says whether some remain.
    """

    def __init__(
        self,
        *,
        processor: str,
        settings: StripeSettings,
        fields: Mapping[str, str],
        wall: Callable[[], Micros],
    ) -> None:
        self._processor, self._fields, self._wall = processor, dict(fields), wall
        self._hooks = tuple(settings.webhook_secret.split())
        self._api = Api(settings, where=f"processors.{processor}.settings.base_url")
        self._customers = Customers(self._api, processor=processor, wall=wall)
        self._redaction = Redaction(self._api, settings, processor=processor, wall=wall)

    @classmethod
    def settings(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> StripeSettings:
        """Return the settings of a policy and a credentials file; `BadInput` names what is missing."""
        return StripeSettings.read(said, secrets)

    def key(self, delivery: RecordDelivered) -> str:
        """One customer per person: the pseudonym that this processor alone has."""
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Write or erase a customer; every step can be made again."""
        try:
            return await (self._erase(call) if isinstance(call, Erase) else self._write(call))
        except Stopped as stop:
            return stop.answer

    # ---- writing -------------------------------------------------------------------------------------------
    async def _write(self, call: Write) -> Answer:
        changed = changes(self._fields, call.set, call.blank)
        if not changed:
            return Done(outcome="not_applicable")
        if call.vendor_id is not None:
            reply = await self._customers.update(call.key, call.vendor_id, changed, call.version)
            if reply is not None:
                return _written(reply, call.vendor_id)
        found = await self._customers.find(call.key)
        for customer in found:
            reply = await self._customers.update(call.key, customer, changed, call.version)
            if reply is not None:
                return _written(reply, customer)
        return await self._write_made(call, changed)

    async def _write_made(self, call: Write, changed: dict[str, str]) -> Answer:
        """Make the customer, or learn which one an answer that was lost had made, and write to it."""
        made = await self._customers.make(call.key, call.vendor_id)
        if made.fresh and not any(changed.values()):
            await self._unmake(call, made.id)  # there was nothing to clear
            return Done(outcome="already_absent")
        try:
            reply = await self._customers.update(call.key, made.id, changed, call.version)
        except Stopped as stop:
            if final(stop) and made.fresh:
                await self._unmake(call, made.id)  # an empty customer that nobody knows of must not stay
                raise
            raise landed(stop) from None
        if reply is None:  # deleted in this very moment
            return Done(outcome="already_absent")
        return _written(reply, made.id)

    async def _unmake(self, call: Call, customer: str) -> None:
        try:
            await self._customers.delete(call.key, customer)
        except Stopped as stop:
            raise landed(stop) from None

    # ---- erasing -------------------------------------------------------------------------------------------
    async def _erase(self, call: Erase) -> Answer:
        known = [call.vendor_id] if call.vendor_id is not None else []
        found = await self._customers.find(call.key)
        mine = list(dict.fromkeys([*known, *found]))
        replies = [await self._customers.delete(call.key, each) for each in mine]
        if not any(reply.good for reply in replies):
            lost, others = await self._erase_lost(call)
            replies += lost
            mine += [each for each in others if each not in mine]
        deleted = [reply for reply in replies if reply.good]
        if call.cause == "erasure" and mine and self._redaction.allowed:
            ordered = await self._redaction.order(mine)
            if ordered is not None:
                return ordered
        digest = _joined([evidence(each) for each in deleted or replies])
        for customer in mine:
            if await self._customers.keeps(customer):
                return Done(outcome="overwritten_only", evidence=digest)
        return Done(outcome="completed" if deleted else "already_absent", evidence=digest)

    async def _erase_lost(self, call: Erase) -> tuple[list[Reply], tuple[str, ...]]:
        """Delete a customer whose making was never answered: asking again to make it names it."""
        made = await self._customers.make(call.key, call.vendor_id)
        reply = await self._customers.delete(call.key, made.id)
        return ([], made.gone) if made.fresh else ([reply], (*made.gone, made.id))

    # ---- afterwards ----------------------------------------------------------------------------------------
    async def follow(self, request: str) -> Answer:
        """Push a redaction job on; `Done` with its end."""
        try:
            return await self._redaction.follow(request)
        except Stopped as stop:
            # A step that is refused is looked at again: the job says how it stands.
            return Retry(code=stop.answer.code) if isinstance(stop.answer, Permanent) else stop.answer

    async def refresh(self) -> None:
        """There is no session to renew."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:
        """Return our names of the fields that stand at the person's customers, all while Stripe is away.

        What cannot be looked at counts as kept.
        """
        try:
            mine = [vendor_id] if vendor_id is not None else await self._customers.find(key)
            stand = [await self._customers.read(each) for each in mine]
        except Stopped as stop:
            return stop.answer if isinstance(stop.answer, Retry) else frozenset(self._fields)
        return frozenset().union(*(standing(each, self._fields) for each in stand if each is not None))

    async def check(self) -> None:
        """List the customers of a time to come: proves the key, moves nothing."""
        try:
            proved(good(await self._api.get(PROBE)).object, f"processors.{self._processor}")
        except Stopped as stop:
            proved(stop.answer, f"processors.{self._processor}")

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    # ---- what comes back -----------------------------------------------------------------------------------
    def heard(self, post: Post, now: Micros) -> Heard:
        """Read a signed event; without a signing secret none is taken."""
        if not self._hooks:
            what = "no webhook_secret in its credentials"
            raise Refused("bad_signature", what, f"processors.{self._processor}")
        verify(self._hooks, post, now)
        return Heard(said=said(post.body, self._fields))

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:  # noqa: ARG002  # Stripe reads no answer
        """Stripe only wants to know that it arrived."""
        return b'{"received":true}'


def _written(reply: Reply, customer: str) -> Done:
    return Done(outcome="delivered", evidence=evidence(reply), vendor_id=customer)


def _joined(proofs: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(proofs)).digest() if len(proofs) > 1 else b"".join(proofs)
