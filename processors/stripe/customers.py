"""Finds, makes, updates and deletes the customer of a person, so that there are never two.

Stripe has no upsert. Three things together keep a lost answer from making a second customer:

- a customer is made bare, with our pseudonym in its metadata and nothing else, under an idempotency key that
  no later version changes: asked again within the 24 hours that Stripe remembers, it names the first one;
- the search by metadata, which may lag up to an hour, is asked before: it finds what is older;
- a customer that was deleted since is followed by the next one, made under a key that names its predecessor.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from processors.answers import Permanent, Retry
from processors.http import Reply, Stopped
from processors.stripe.api import Api, good
from processors.stripe.wire import (
    MARK,
    customer_id,
    error_code,
    idempotency_key,
    missing,
    parameter,
    path_of,
    replayed,
    whole,
)
from schemas.ids import Micros
from schemas.times import SECOND

SEARCH_LAG = Micros(3600 * SECOND)
"""How long the search may not know of a new customer (docs.stripe.com/search#data-freshness: an outage)."""
GENERATIONS = 50
"""So many customers made and deleted for one person within Stripe's memory are followed in one call."""
_BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A customer that stands; `fresh` if this very call made it. `gone` are those before it."""

    id: str
    fresh: bool
    gone: tuple[str, ...] = ()


class Customers:
    """The customers of one processor's account."""

    def __init__(self, api: Api, *, processor: str, wall: Callable[[], Micros]) -> None:
        self._api, self._processor, self._wall = api, processor, wall
        self._broken: dict[str, Micros] = {}

    async def read(self, customer: str) -> dict[str, Any] | None:
        """Return a customer as it stands now, None where it is deleted or was never there."""
        reply = await self._api.get(path_of(customer))
        if missing(reply):
            return None
        found = good(reply).object or {}
        if found.get("deleted") is True:
            return None
        if customer_id(reply) is None:
            raise Stopped(Retry(code="vendor_answer"))
        return found

    async def find(self, key: str) -> list[str]:
        """Return the customers that bear our pseudonym and stand, the oldest first."""
        query = quote(f"metadata['{MARK}']:'{key}'", safe="")
        found = (good(await self._api.get(f"/v1/customers/search?limit=20&query={query}")).object or {}).get(
            "data"
        )
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise Stopped(Retry(code="vendor_answer"))
        ours = [each for each in found if (each.get("metadata") or {}).get(MARK) == key]
        ours.sort(key=lambda each: each.get("created") or 0)
        names = [str(each.get("id")) for each in ours]
        return [
            name for name in names if await self.read(name) is not None
        ]  # the index lags behind deletions

    async def make(self, key: str, after: str | None) -> Made:
        """Return the customer made for a person, making it if it was not; `after` is one known to be gone."""
        gone: list[str] = []
        link = after or ""
        for _ in range(GENERATIONS):
            name = idempotency_key(self._processor, key, "create", link)
            reply = await self._api.post("/v1/customers", [(f"metadata[{MARK}]", key)], key=name)
            if reply.status >= 500 and replayed(reply):
                link = self._past_broken(name, link)
                continue
            made = customer_id(good(reply))
            if made is None:
                raise Stopped(Retry(code="vendor_answer"))
            if not replayed(reply):
                return Made(id=made, fresh=True, gone=tuple(gone))
            if await self.read(made) is not None:
                return Made(id=made, fresh=False, gone=tuple(gone))
            gone.append(made)
            link = made
        raise Stopped(Retry(code="vendor_busy", well=True))  # until Stripe has forgotten the first of them

    def _past_broken(self, name: str, link: str) -> str:
        """Stripe failed at a creation and says so again for a day: only the search will tell if it made one.

        Once the search has had time to know and found none (it was asked first), another key may be used.
        """
        now = self._wall()
        since = self._broken.setdefault(name, now)
        if len(self._broken) > 10_000:
            self._broken.pop(next(iter(self._broken)))
        left = since + SEARCH_LAG - now
        if left > 0:
            raise Stopped(Retry(code="vendor_down", after=Micros(left), well=True))
        return f"{link}/{_BROKEN}"

    async def update(self, key: str, customer: str, changed: dict[str, str], version: int) -> Reply | None:
        """Set and clear parameters of a customer; None where it does not stand."""
        heads = {name.split(".")[0] for name in changed if "." in name} - {"metadata"}
        if heads:
            now = await self.read(customer)
            if now is None:
                return None
            changed = whole(changed, now)
        pairs = [(parameter(name), value) for name, value in sorted(changed.items())]
        said = [part for pair in pairs for part in pair]
        name = idempotency_key(self._processor, key, "update", customer, str(version), *said)
        reply = await self._api.post(path_of(customer), pairs, key=name)
        if replayed(reply):
            # What Stripe remembers is not what stands there now: ask it to do it, under a key of its own.
            again = idempotency_key(name, secrets.token_hex(16))
            reply = await self._api.post(path_of(customer), pairs, key=again)
        if missing(reply):
            return None
        if customer_id(good(reply)) != customer:
            raise Stopped(Retry(code="vendor_answer"))
        return reply

    async def delete(self, key: str, customer: str) -> Reply:
        """Delete a customer; a 404 where there is none (any more)."""
        name = idempotency_key(self._processor, key, "delete", customer)
        reply = await self._api.delete(path_of(customer), key=name)
        if missing(reply):
            return reply
        said = good(reply).object or {}
        if said.get("deleted") is not True or said.get("id") != customer:
            raise Stopped(Retry(code="vendor_answer"))
        return reply

    async def keeps(self, customer: str) -> bool:
        """Return whether payments remain that carry their own copies; true where that cannot be read."""
        for kind in ("charges", "invoices", "payment_intents"):
            reply = await self._api.get(f"/v1/{kind}?limit=1&customer={quote(customer, safe='')}")
            if reply.status in (400, 403, 404) and error_code(reply) is not None:
                return True
            found = (good(reply).object or {}).get("data")
            if not isinstance(found, list):
                raise Stopped(Retry(code="vendor_answer"))
            if found:
                return True
        return False


def final(stop: Stopped) -> bool:
    """Return whether Stripe refuses for good."""
    return isinstance(stop.answer, Permanent)
