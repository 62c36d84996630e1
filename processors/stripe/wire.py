"""What Stripe's requests and answers mean: parameters, idempotency keys, retry classes, what stands where.

Pure. Sources: docs.stripe.com/api/errors, /api/idempotent_requests, /error-low-level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from processors.answers import Pause, Permanent, Retry
from processors.backoff import retry_after
from processors.http import LOOK_AGAIN, Reply

MARK = "lapse"
"""The metadata key under which a customer carries our pseudonym: not personal, and found again by it."""
OURS = "lapse-"
"""How our idempotency keys begin: the events our own requests cause are told apart by it."""
TRIES = 12
"""So many refusals in a row of what Stripe asks not to be repeated count as refused for good."""

Pairs = list[tuple[str, str]]
"""Parameters of a request, as they are form-encoded."""


def form(pairs: Pairs) -> bytes:
    """Return parameters as a form."""
    return urlencode(pairs).encode()


def path_of(customer: str) -> str:
    """Return the path of a customer; ids that were imported may hold anything."""
    return f"/v1/customers/{quote(customer, safe='')}"


def parameter(theirs: str) -> str:
    """Return `address.line1` as Stripe's forms write it: `address[line1]`."""
    head, *inner = theirs.split(".")
    return head + "".join(f"[{part}]" for part in inner)


def idempotency_key(*parts: str) -> str:
    """Return the key of one request: the same parts are the same request made again.

    Over a person's data it is no more than a hash salted by the pseudonym, which only Stripe has besides us.
    """
    digest = hashlib.sha256(b"lapse/v1/stripe")
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(4) + raw)
    return OURS + digest.hexdigest()


def replayed(reply: Reply) -> bool:
    """Return whether this is a stored answer: nothing was done for this request."""
    return reply.headers.get("idempotent-replayed") == "true"


def error_code(reply: Reply) -> str | None:
    """Return the code or type of Stripe's error, None where the body is not one of its errors."""
    error = (reply.object or {}).get("error")
    if not isinstance(error, dict):
        return None
    return str(error.get("code") or error.get("type") or "error")


def missing(reply: Reply) -> bool:
    """Return whether Stripe says that there is no such object (any more)."""
    return reply.status == 404 and error_code(reply) == "resource_missing"


def evidence(reply: Reply) -> bytes:
    """Return what a receipt shows of an answer."""
    return reply.evidence("request-id")


def refusal(reply: Reply) -> Retry | Pause | Permanent:
    """Return what an answer without success means; only Stripe's own error may refuse for good."""
    status, hint = reply.status, reply.headers.get("stripe-should-retry")
    wish = retry_after(reply.headers.get("retry-after"), None)
    if 300 <= status < 400:
        return Pause(code="vendor_redirect", after=LOOK_AGAIN)
    if status in (401, 403):
        return Pause(code="vendor_login", after=LOOK_AGAIN)
    if status == 429:
        return Retry(code="vendor_busy", after=wish, landed=False)
    if status == 409 or (hint == "true" and status < 500):
        return Retry(code="vendor_busy", after=wish)
    if status >= 500:
        return Retry(code="vendor_down", after=wish, tries=TRIES if hint == "false" else None)
    if status < 400 or error_code(reply) is None:
        return Retry(code="vendor_answer")
    return Permanent(code="vendor_refused", evidence=evidence(reply))


def customer_id(reply: Reply) -> str | None:
    """Return the id of the customer an answer shows, None where it shows none that stands."""
    found = reply.object or {}
    sound = found.get("object") == "customer" and isinstance(found.get("id"), str)
    return found["id"] if sound and not found.get("deleted") else None


def value_at(customer: Mapping[str, Any], theirs: str) -> str:
    """Return the text that stands under a name such as `address.line1`, empty where none does."""
    found: Any = customer
    for part in theirs.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


def standing(customer: Mapping[str, Any], fields: Mapping[str, str]) -> frozenset[str]:
    """Return our names of the fields that stand at a customer."""
    return frozenset(ours for ours, theirs in fields.items() if value_at(customer, theirs))


def changes(fields: Mapping[str, str], set_: Mapping[str, str], blank: Iterable[str]) -> dict[str, str]:
    """Return Stripe's names and values for a write; an empty value clears."""
    cleared = {fields[ours]: "" for ours in blank if ours in fields}
    return {**cleared, **{fields[ours]: value for ours, value in set_.items() if ours in fields}}


def whole(changed: Mapping[str, str], customer: Mapping[str, Any]) -> dict[str, str]:
    """Return the changes with the rest of each nested object that they touch.

    Stripe does not say whether a part of an address that is not sent stays; sent as it stands, it does.
    """
    heads = {name.split(".")[0] for name in changed if "." in name} - {"metadata"}
    rest = {
        f"{head}.{name}": value
        for head in sorted(heads)
        for name, value in (customer.get(head) or {}).items()
        if isinstance(value, str) and value
    }
    return {**rest, **changed}
