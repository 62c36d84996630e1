"""Mailchimp's webhooks: forms, authenticated by nothing but a secret in the address they are sent to.

https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/. The address is
`/in/<processor>?secret=<hook_secret>`; before it is saved Mailchimp asks it once by GET.
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Collection
from urllib.parse import parse_qs

from processors.mailchimp_api import member_id
from processors.recipient import Edited, Heard, Post, Said, Withdrawn
from schemas.errors import BadInput, Refused
from schemas.ids import Micros
from schemas.times import SECOND

MOST = 500
"""Fields of one form; merge fields and interests of an audience are far fewer."""


def read_hook(post: Post, now: Micros, secret: str, audiences: Collection[str]) -> Heard:
    """Return what a webhook says; `Refused` where the secret is wrong, `BadInput` where it is no form.

    `fired_at` has no zone and is UTC; one that lies ahead counts as now. What is said of other audiences, or
    of events that change nothing here, is nothing.
    """
    given = post.query.get("secret", "")
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        raise Refused("vendor_login", "the secret in the webhook's address is not ours")
    if not post.body:
        return Heard()
    form = _form(post.body)
    if form.get("data[list_id]") not in audiences:
        return Heard()
    at = Micros(min(now, _fired_at(form.get("fired_at", ""))))
    return Heard(said=_said(form, at))


def _said(form: dict[str, str], at: Micros) -> tuple[Said, ...]:
    match form.get("type"):
        case "unsubscribe" | "cleaned":
            return (Withdrawn(kind="email", value=_address(form, "data[email]"), at=at),)
        case "profile":
            return (Edited(vendor_id=member_id(_address(form, "data[email]")), at=at),)
        case "upemail":
            return (Edited(vendor_id=member_id(_address(form, "data[old_email]")), at=at),)
        case _:
            return ()


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST, errors="strict")
    except ValueError:
        raise BadInput("bad_argument", "not a form", "body") from None
    return {name: values[-1] for name, values in pairs.items()}


def _fired_at(text: str) -> Micros:
    try:
        at = dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.UTC)
    except ValueError:
        raise BadInput("bad_argument", "no time, or not as Mailchimp writes it", "fired_at") from None
    return Micros(int(at.timestamp()) * SECOND)


def _address(form: dict[str, str], name: str) -> str:
    address = form.get(name, "").strip()
    if not address:
        raise BadInput("bad_argument", "no address", name)
    return address
