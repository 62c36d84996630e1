"""A minute of a small company's traffic, over real HTTP: forms, mail clients, browsers, a bot, garbage.

Everything random comes from the seed, except the order in which concurrent answers arrive.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from lapse.demo.people import PAGES, Person, canary, people

CROWD = 60
GRANTS = ("marketing_email", "mail_insight")
COOKIE_GRANTS = ("analytics", "targeting")
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
)
PROXY_AGENT = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@dataclass
class Told:
    """What the collector was sent and what it answered."""

    sent: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, str] = field(default_factory=dict)
    """Event id -> kind, of everything answered 202 with an id."""
    refused: Counter[int] = field(default_factory=Counter)
    pixels: int = 0
    surprises: list[str] = field(default_factory=list)
    """Answers that were not what that request must get."""

    @property
    def total(self) -> int:
        """Requests sent."""
        return self.sent.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The people with a part of their own."""

    followed: Person
    withdraws: Person
    erased: Person
    declines: Person

    @property
    def everyone(self) -> tuple[Person, ...]:
        """All four."""
        return (self.followed, self.withdraws, self.erased, self.declines)


def cast(seed: int) -> Cast:
    """The four canaries of a seed."""
    return Cast(
        followed=canary("consents", seed),
        withdraws=canary("withdraws", seed),
        erased=canary("erased", seed),
        declines=canary("declines", seed),
    )


class Traffic:
    """Sends for a while; `mint(person) -> token` makes the token of a mail to somebody."""

    def __init__(
        self,
        base: str,
        site_key: str,
        server_token: str,
        seed: int,
        mint: Callable[[Person], Awaitable[str | None]],
    ) -> None:
        self._base, self._key, self._server_token, self._mint = base, site_key, server_token, mint
        self._dice = random.Random(seed)
        self.crowd = people(CROWD, seed)
        self.cast = cast(seed)
        self.told = Told()
        self.stage = "the doors open"

    async def run(self, seconds: float, erase: Callable[[Person], Awaitable[None]]) -> None:
        """Play the whole scenario; returns when the last answer is in."""
        headers = {"X-Lapse-Site-Key": self._key}
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            self._session = session
            ends = time.monotonic() + seconds
            await asyncio.gather(
                self._story(erase),
                self._every(0.12, ends, self._form_of_somebody),
                self._every(0.10, ends, self._browsing),
                self._every(0.25, ends, self._mail_opened),
                self._every(1.7, ends, self._bot),
                self._every(1.1, ends, self._garbage),
            )

    async def _story(self, erase: Callable[[Person], Awaitable[None]]) -> None:
        for person in self.cast.everyone:
            await self.form(person)
        await self._browse(self.cast.followed)
        await asyncio.sleep(4.0)
        await self._open(self.cast.followed)
        self.stage = f"{self.cast.withdraws.called} unsubscribes"
        await self._withdraw(self.cast.withdraws)
        await asyncio.sleep(3.0)
        self.stage = f"{self.cast.erased.called} asks to be forgotten"
        await erase(self.cast.erased)
        self.stage = "the crowd goes on"

    async def _every(self, pause: float, ends: float, act: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < ends:
            await act()
            await asyncio.sleep(pause * self._dice.uniform(0.5, 1.5))

    # ---- forms ---------------------------------------------------------------------------------------------
    async def form(self, person: Person, *, form: str = "request-demo", **extra: Any) -> str | None:
        """Send a person's form; returns the event id if it was taken."""
        fields = {
            "email": person.email,
            "name": person.name,
            "country": person.country,
            "message": f"Please call {person.name} of {person.company}.",
        }
        if form == "request-demo":
            fields |= {"phone": person.phone, "company": person.company}
        body = {
            "fields": fields | extra.pop("fields", {}),
            "consents": _consents(person),
            "notice": "demo-1",
            **extra,
        }
        status, answer = await self._post(f"/f/{form}", body, "form")
        return self._took("form", status, answer)

    async def late_form(self, person: Person, *, seconds_ago: float) -> str | None:
        """An old form arrives only now, through the site's server, which may say when it was collected."""
        at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_ago)
        headers = {"Authorization": f"Bearer {self._server_token}"}
        body = {
            "fields": {"email": person.email, "name": person.name},
            "collected_at": at.isoformat(),
            "consents": _consents(person),
        }
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            self.told.sent["form"] += 1
            async with session.post(f"{self._base}/f/request-demo", json=body) as answer:
                return self._took("form", answer.status, await answer.json(content_type=None))

    async def _form_of_somebody(self) -> None:
        await self.form(
            self._dice.choice(self.crowd), form=self._dice.choice(["request-demo", "get-in-touch"])
        )

    async def _bot(self) -> None:
        await self.form(self._dice.choice(self.crowd), fields={"website": "http://spam.example"})

    # ---- browsers ------------------------------------------------------------------------------------------
    async def _browsing(self) -> None:
        await self._browse(self._dice.choice(self.crowd))

    async def _browse(self, person: Person) -> None:
        consents = [{"purpose": p, "granted": person.habit != "declines"} for p in COOKIE_GRANTS]
        events = [
            {
                "cookie_id": person.cookie_id,
                "name": "page_view",
                "url": f"https://www.demo.example{self._dice.choice(PAGES)}",
                "consents": [] if person.habit == "silent" else consents,
            }
            for _ in range(self._dice.randint(1, 3))
        ]
        headers = {"User-Agent": self._dice.choice(AGENTS)}
        if person.habit == "silent":
            headers["Sec-GPC"] = "1"
        status, answer = await self._post(
            "/e?ids=1", {"events": events}, "cookie", headers, count=len(events)
        )
        if status == 202:
            self.told.accepted.update(dict.fromkeys(answer["event_ids"], "cookie"))
        else:
            self._surprised("cookie", status)

    # ---- mail ----------------------------------------------------------------------------------------------
    async def _mail_opened(self) -> None:
        await self._open(self._dice.choice(self.crowd))

    async def _open(self, person: Person) -> None:
        token = await self._mint(person)
        if token is None:
            return
        agent = self._dice.choice([*AGENTS, PROXY_AGENT])
        async with self._session.get(f"{self._base}/o/{token}.gif", headers={"User-Agent": agent}) as answer:
            gif = await answer.read()
        self.told.sent["open"] += 1
        self.told.pixels += 1
        if answer.status != 200 or not gif.startswith(b"GIF89a"):
            self._surprised("open", answer.status)

    async def _withdraw(self, person: Person) -> None:
        body = {
            "identifiers": [{"kind": "email", "value": person.email}],
            "via": "unsubscribe",
            "consents": [{"purpose": "marketing_email", "granted": False}],
        }
        status, _ = await self._post("/c", body, "signal")
        if status != 202:
            self._surprised("signal", status)

    # ---- what must be refused ------------------------------------------------------------------------------
    async def _garbage(self) -> None:
        path, body, expected = self._dice.choice(
            [
                ("/f/request-demo", b'{"fields": {"email": ', 400),
                ("/f/no-such-form", b'{"fields": {}}', 404),
                ("/f/request-demo", b'{"fields": {"shoe_size": "44"}}', 422),
                (
                    "/f/request-demo",
                    b'{"fields": {}, "consents": [{"purpose": "resale", "granted": true}]}',
                    422,
                ),
                ("/o/forged-token-of-nobody.gif", None, 200),
            ]
        )
        method = "GET" if body is None else "POST"
        self.told.sent["garbage"] += 1
        headers = {"Content-Type": "application/json"} if body else {}
        async with self._session.request(method, self._base + path, data=body, headers=headers) as answer:
            await answer.read()
        self.told.refused[answer.status] += 1
        if answer.status != expected:
            self._surprised(path, answer.status)

    # ---- at the door ---------------------------------------------------------------------------------------
    async def _post(
        self,
        path: str,
        body: dict[str, Any],
        kind: str,
        headers: dict[str, str] | None = None,
        *,
        count: int = 1,
    ) -> tuple[int, Any]:
        self.told.sent[kind] += count
        async with self._session.post(self._base + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status < 300 else None

    def _took(self, kind: str, status: int, answer: Any) -> str | None:
        if status != 202:
            self._surprised(kind, status)
            return None
        self.told.accepted[answer["event_id"]] = kind
        return str(answer["event_id"])

    def _surprised(self, kind: str, status: int) -> None:
        self.told.surprises.append(f"{kind} answered {status}")


def _consents(person: Person) -> list[dict[str, Any]]:
    if person.habit == "silent":
        return []
    return [{"purpose": purpose, "granted": person.habit != "declines"} for purpose in GRANTS]
