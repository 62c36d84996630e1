"""Members of the Mailchimp that is played, and how it says no (RFC 9457 problem documents)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

STATUSES = frozenset({"subscribed", "unsubscribed", "cleaned", "pending", "transactional"})
"""What a request may ask for; `archived` only follows from archiving."""


@dataclass(slots=True, kw_only=True)
class Member:
    """One contact of an audience."""

    address: str
    status: str
    merged: dict[str, str] = field(default_factory=dict)
    contact: str = field(default_factory=lambda: uuid.uuid4().hex)
    own_doing: bool = False
    """The person opted out, or mail bounced: a compliance state."""

    def told(self, audience: str) -> dict[str, Any]:
        """Return it as the API does."""
        return {
            "id": md5(self.address),
            "contact_id": self.contact,
            "email_address": self.address,
            "status": self.status,
            "merge_fields": {"FNAME": "", "LNAME": "", **self.merged},
            "list_id": audience,
        }


class Problem(Exception):
    """A request that is refused."""

    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.detail = status, title, detail


def md5(address: str) -> str:
    """Return a member's id."""
    return hashlib.md5(address.strip().lower().encode(), usedforsecurity=False).hexdigest()


def status_of(value: object) -> str:
    """Return a status that may be asked for; `Problem` where it is none."""
    if not isinstance(value, str) or value not in STATUSES:
        raise Problem(400, "Invalid Resource", "status is none of the values taken.")
    return value


def merged_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the merge fields of a body; `Problem` where they are no texts."""
    merged = body.get("merge_fields", {})
    if not isinstance(merged, dict) or not all(isinstance(v, str) for v in merged.values()):
        raise Problem(400, "Invalid Resource", "merge_fields is no object of texts.")
    return merged


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request; `Problem` where it is none."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.") from None
    if not isinstance(body, dict):
        raise Problem(400, "Invalid Resource", "An object is wanted.")
    return body


def problem_document(problem: Problem) -> web.Response:
    """Return the refusal as Mailchimp writes it."""
    said = {
        "type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": str(uuid.uuid4()),
    }
    return web.json_response(said, status=problem.status, content_type="application/problem+json")
