"""What a small company is sent on one day: seeded, and dated by the simulated clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.ids import EventId, Micros
from schemas.models import (
    AnchorReached,
    ConsentStated,
    ConsentStatement,
    EmailOpened,
    Identifier,
    SignalReceived,
)

SITE = "www"
COUNTRIES = ("AT", "DE", "FR", "GB", "NL", "US")
FORM_CONSENTS = ("marketing_email", "mail_insight", "partner_offers", "marketing_phone")
PLAIN_CONSENTS = ("marketing_email", "mail_insight")
COOKIE_CONSENTS = ("site_trends", "advertising", "remember_choices")
MOST_TOKENS = 200


@dataclass(frozen=True, kw_only=True)
class Plenty:
    """How much happens on a day."""

    new_people: int = 3
    known_people: int = 2
    orders: int = 1
    letters: int = 1
    chats: int = 1
    views: int = 8
    opens: int = 2
    signals: int = 2


@dataclass(kw_only=True)
class Town:
    """The people who have ever come, and the dice."""

    seed: int
    plenty: Plenty = Plenty()
    people: int = 0
    tokens: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def somebody(self) -> int:
        """Somebody who was here before."""
        return self._dice.randrange(self.people)

    def latest(self) -> int:
        """One of the people who came last."""
        return self._dice.randrange(max(0, self.people - 20), self.people)

    def forms(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Today's forms: name and body, the time left to the sender."""
        plenty = self.plenty
        for number in range(plenty.new_people):
            self.people += 1
            form, asks = (("request-demo", FORM_CONSENTS), ("get-in-touch", PLAIN_CONSENTS))[number % 2]
            yield form, self._body(self.people - 1, asks)
        for _ in range(plenty.known_people):
            yield "newsletter", self._body(self.somebody(), PLAIN_CONSENTS, ("email", "name", "interest"))
        for _ in range(plenty.orders):
            yield "order", self._body(self.somebody(), (), _ORDER)
        for _ in range(plenty.letters):
            yield "correspondence", self._body(self.somebody(), (), ("email", "name", "message"))
        for _ in range(plenty.chats):
            yield "chat", self._body(self.somebody(), (), ("email", "name", "message"))

    def views(self) -> Iterator[dict[str, Any]]:
        """Today's page views."""
        for _ in range(self.plenty.views):
            who = self.somebody()
            yield {
                "cookie_id": f"ck-{who}",
                "name": "page_view",
                "url": f"https://www.example.com/{self._dice.randrange(40)}",
                "consents": self._consents(COOKIE_CONSENTS) if self._dice.random() < 0.7 else [],
            }

    def opens(self, at: Micros) -> Iterator[EmailOpened]:
        """Today's openings of mails sent before."""
        for token in self._dice.sample(self.tokens, min(len(self.tokens), self.plenty.opens)):
            yield EmailOpened(
                event_id=EventId(self._dice.randbytes(16)),
                collected_at=at,
                site=SITE,
                token=token,
                open_kind="direct",
                user_agent="Mozilla/5.0",
            )

    def signals(self, at: Micros) -> Iterator[SignalReceived]:
        """Somebody unsubscribes, somebody's request is done."""
        for number in range(self.plenty.signals):
            said = ConsentStatement(purpose="marketing_email", granted=False)
            stated = ConsentStated(consents=[said])
            reached = AnchorReached(anchor="request_fulfilled", reached_at=at)
            yield SignalReceived(
                event_id=EventId(self._dice.randbytes(16)),
                collected_at=at,
                site=SITE,
                identifiers=[Identifier(kind="email", value=address(self.somebody()))],
                via="operator",
                body=reached if number % 2 else stated,
            )

    def remember(self, token: str) -> None:
        """A mail was sent; the oldest mails are opened no more."""
        self.tokens = [*self.tokens, token][-MOST_TOKENS:]

    def _body(
        self,
        who: int,
        consents: tuple[str, ...],
        fields: tuple[str, ...] = ("email", "name", "country", "message"),
    ) -> dict[str, Any]:
        values = {
            "email": address(who),
            "name": f"Person {who}",
            "country": COUNTRIES[who % len(COUNTRIES)],
            "message": f"Message {self._dice.randrange(10**6)} of person {who}",
            "interest": "product",
            "order": f"A-{self._dice.randrange(10**6)}; 100 EUR",
            "street": f"Street {who}",
            "city": "Town",
        }
        body = {"fields": {name: values[name] for name in fields}, "notice": "2018-05-24"}
        return body | {"consents": self._consents(consents)} if consents else body

    def _consents(self, purposes: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"purpose": purpose, "granted": self._dice.random() < 0.6} for purpose in purposes]


_ORDER = ("email", "name", "country", "street", "city", "order")


def address(who: int) -> str:
    """The address of a person."""
    return f"person{who}@people.example"
