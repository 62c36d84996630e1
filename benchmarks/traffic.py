"""The events every benchmark feeds: a third each of forms, mail opens and cookies, about numbered people.

Sizes are those of real traffic: about 590 bytes of Avro body a form, 270 an open, 320 a cookie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from schemas import codec
from schemas.ids import EventId, Micros
from schemas.models import ConsentStatement, CookieObserved, EmailOpened, FormSubmitted, Identifier, Record
from vault import tokens
from vault.tokens import PixelKeys

Kind = Literal["form", "email-open", "cookie"]
KINDS: tuple[Kind, ...] = ("form", "email-open", "cookie")
POLICY = Path(__file__).with_name("policy.yaml")

_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"
_COUNTRIES = ("DE", "FR", "GB", "US", "IT")
_MESSAGE = (
    "We are looking for a way to keep track of what our customers agreed to, and to prove it. Could somebody "
    "show us how it works for a company of about two hundred people, with offices in three countries? We"
    " would "
    "need it before the summer, and would like to talk about prices, hosting and support. Mornings are best."
)


class Traffic:
    """Makes events collected at `now` about person number n, encoded as a publisher does."""

    def __init__(self, now: Micros, keys: PixelKeys) -> None:
        self.now = now
        self._keys = keys
        self._day = tokens.expiry_day(now, 30)
        self._make: Mapping[Kind, Callable[[int], Record]] = {
            "form": self._form,
            "email-open": self._opened,
            "cookie": self._cookie,
        }

    def event(self, kind: Kind, person: int, *, first: bool = False) -> bytes:
        """One event; a browser states its consents with its `first` cookie alone, a form every time."""
        record = self._make[kind](person)
        if first and isinstance(record, CookieObserved):
            consents = [ConsentStatement(purpose="analytics", granted=True)]
            record = replace(record, consents=consents, notice="bench-1")
        return codec.encode(record)

    def message_id(self, person: int) -> bytes:
        """The id of the one mail each person got."""
        return b"bench-ms" + person.to_bytes(8, "big")

    def _form(self, person: int) -> Record:
        email = f"person.{person}@company-{person % 997}.example"
        return FormSubmitted(
            event_id=EventId(os.urandom(16)),
            collected_at=self.now,
            site="www",
            form="get-in-touch",
            identifiers=[Identifier(kind="email", value=email)],
            fields={
                "email": email,
                "name": f"Alexandra Person {person}",
                "country": _COUNTRIES[person % len(_COUNTRIES)],
                "message": _MESSAGE,
            },
            consents=[ConsentStatement(purpose=p, granted=True) for p in ("marketing_email", "mail_insight")],
            notice="bench-1",
        )

    def _opened(self, person: int) -> Record:
        message = self.message_id(person)
        return EmailOpened(
            event_id=EventId(os.urandom(16)),
            collected_at=self.now,
            site="www",
            token=tokens.mint(self._keys, site="www", message_id=message, expires_day=self._day),
            open_kind="direct",
            ip=f"192.0.2.{person % 256}",
            user_agent=_AGENT,
        )

    def _cookie(self, person: int) -> Record:
        return CookieObserved(
            event_id=EventId(os.urandom(16)),
            collected_at=self.now,
            site="www",
            cookie_id=f"c-{person:016x}",
            name="page_view",
            url=f"https://www.demo.example/products/{person % 50}",
            referrer="https://www.demo.example/",
            ip=f"192.0.2.{person % 256}",
            user_agent=_AGENT,
            properties={"campaign": "spring"},
        )
