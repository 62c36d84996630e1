"""Mixed traffic through the collector, drawn from a seed: each request repeated until it is taken."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from lapse.audit.oracle import Happened
from tests.chaos.book import SITE, Book, Sent
from tests.e2e.live.system import MARK, Person, System, allows, somebody

AT_ONCE = 6
"""Requests in flight."""
CROWD = 40
"""People who come again and again; most events are theirs."""
PATIENCE = 120.0
"""Seconds until a request that is not taken counts as lost."""
LONG, SHORT = ("email", "name", "phone", "company", "message", "country"), ("email", "name", "country")
SAYABLE = ("marketing_email", "mail_insight")
GARBAGE: tuple[tuple[str, bytes, Mapping[str, str], int], ...] = (
    ("/f/request-demo", b"{", {}, 400),
    ("/f/request-demo", b'{"fields": {"nobody": "x"}}', {}, 422),
    ("/f/request-demo", b"\xff\xfe", {}, 400),
    ("/f/none", b"{}", {}, 404),
    ("/f/request-demo", b"{}", {"X-Lapse-Site-Key": "sk_wrong"}, 401),
    ("/f/request-demo", b"<x/>", {"Content-Type": "application/xml"}, 415),
    ("/f/request-demo", b'{"fields": {"message": "' + b"x" * 70_000 + b'"}}', {}, 413),
    ("/e", b'{"events": 7}', {}, 422),
)
"""Requests that are refused: path, body, headers, status."""


@dataclass
class Traffic:
    """A thread that sends until it is stopped; `rate` events a second at most."""

    system: System
    book: Book
    dice: random.Random
    rate: float = 25.0
    stopping: threading.Event = field(default_factory=threading.Event)
    lost: list[str] = field(default_factory=list)
    crowd: list[Person] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self.crowd = [somebody(self.dice.choice(["DE", "FR", "GB"])) for _ in range(CROWD)]
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let what is under way end; raises what went wrong in the thread."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(PATIENCE + 30)
        assert not self._thread.is_alive(), "the traffic does not end"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
            self._failure = error

    async def _send_all(self) -> None:
        run = self.system.run
        # Addresses and credentials outlive every restart, so they are read once.
        self._base, self._key = str(run["urls"]["collector"]), self.system.site_key(SITE)
        self._token = self.system.site_token(SITE)
        under_way: set[asyncio.Task[None]] = set()
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as self._session:
            while not self.stopping.is_set():
                await asyncio.sleep(self.dice.expovariate(self.rate))
                if len(under_way) < AT_ONCE:
                    task = asyncio.create_task(self._one())
                    under_way.add(task)
                done = {task for task in under_way if task.done()}
                for task in done:
                    task.result()
                under_way -= done
            await asyncio.gather(*under_way)

    async def _one(self) -> None:
        chosen = self.dice.choices(
            (self._form, self._cookies, self._signal, self._again, self._bot, self._garbage, self._open),
            (50, 14, 14, 10, 4, 5, 3),
        )
        await chosen[0]()

    # ---- kinds of traffic ----------------------------------------------------------------------------------
    def _person(self) -> Person:
        return self.dice.choice(self.crowd) if self.dice.random() < 0.7 else somebody()

    def _at(self) -> int:
        """Mostly now, sometimes a while ago: a page that stayed open, a server that was away."""
        late = self.dice.choice([0, 0, 0, 0, 30, 240, 1200])
        return self.book.now - late * 1_000_000

    def _said(self, purposes: tuple[str, ...], chance: float = 0.6) -> dict[str, bool]:
        return {p: self.dice.random() < 0.85 for p in purposes if self.dice.random() < chance}

    async def _form(self) -> None:
        person, at = self._person(), self._at()
        form = self.dice.choices(["request-demo", "get-in-touch", "newsletter"], [6, 2, 2])[0]
        names = LONG if form == "request-demo" else SHORT
        said = self._said(SAYABLE if form != "newsletter" else SAYABLE[:1])
        signals = ["gpc"] if self.dice.random() < 0.08 else []
        body = {
            "event_id": self.dice.randbytes(16).hex(),
            "fields": {name: getattr(person, name) for name in names},
            "consents": [each for p, granted in said.items() for each in allows(p, granted=granted)],
            "collected_at": iso(at),
            "signals": signals,
        }
        happened = self._happened(person.who, f"form/{form}", at, names, said, signals)
        await self._until_taken(f"/f/{form}", body, "form", happened)

    async def _cookies(self) -> None:
        events, what = [], []
        for _ in range(self.dice.randint(1, 5)):
            person, at, said = self._person(), self._at(), self._said(("analytics", "targeting"), 0.5)
            event = {
                "event_id": self.dice.randbytes(16).hex(),
                "collected_at": iso(at),
                "cookie_id": person.cookie,
                "name": "page_view",
                "url": f"https://www.steady.example/{MARK}",
                "consents": [each for p, granted in said.items() for each in allows(p, granted=granted)],
            }
            fields = ("cookie_id", "name", "url")
            events.append(event)
            what.append(self._happened(f"cookie:{person.cookie}", "cookie", at, fields, said, []))
        if await self._taken("/e?ids=1", {"events": events}):
            for event, happened in zip(events, what, strict=True):
                self.book.accept(Sent(event_id=str(event["event_id"]), kind="cookie", happened=happened))

    async def _signal(self) -> None:
        person, at = self.dice.choice(self.crowd), self._at()
        said = self._said(SAYABLE, 0.7) or {"marketing_email": False}
        body = {
            "event_id": self.dice.randbytes(16).hex(),
            "identifiers": [{"kind": "email", "value": person.email}],
            "consents": [each for p, granted in said.items() for each in allows(p, granted=granted)],
            "collected_at": iso(at),
        }
        await self._until_taken("/c", body, "signal", self._happened(person.who, "signal", at, (), said, []))

    async def _again(self) -> None:
        """A server sends something twice, sometimes with another content under the same id."""
        person, at = self._person(), self._at()
        body: dict[str, Any] = {
            "event_id": self.dice.randbytes(16).hex(),
            "fields": {name: getattr(person, name) for name in SHORT},
            "consents": [],
            "collected_at": iso(at),
        }
        happened = self._happened(person.who, "form/get-in-touch", at, SHORT, {}, [])
        if not await self._until_taken("/f/get-in-touch", body, "form", happened):
            return
        other = self.dice.random() < 0.3
        if other:
            self.book.contest(str(body["event_id"]))
            body = {**body, "fields": {**body["fields"], "name": somebody().name}}
        self.book.count("sent again, other content" if other else "sent again")
        await self._taken("/f/get-in-touch", body)

    async def _bot(self) -> None:
        person, at = somebody(), self._at()
        body = {
            "event_id": self.dice.randbytes(16).hex(),
            "fields": {**person.fields, "website": "http://spam.example"},
            "collected_at": iso(at),
        }
        happened = self._happened(person.who, "form/request-demo", at, LONG, {}, [])
        await self._until_taken("/f/request-demo", body, "form", happened, suspect=True)

    async def _garbage(self) -> None:
        path, body, headers, status = self.dice.choice(GARBAGE)
        headers = {"X-Lapse-Site-Key": self._key, "Content-Type": "application/json", **headers}
        try:
            async with self._session.post(self._base + path, data=body, headers=headers) as answer:
                said = answer.status
        except (aiohttp.ClientError, TimeoutError):
            return
        self.book.count("garbage")
        if said not in (status, 429, 503):
            self.book.violate(f"{path} answered garbage {said} in place of {status}")

    async def _open(self) -> None:
        """A mail client fetches the gif; nobody is told whether it was taken."""
        if not self.tokens:
            return
        headers = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Thunderbird/128.0"}
        url = f"{self._base}/o/{self.dice.choice(self.tokens)}.gif"
        try:
            async with self._session.get(url, headers=headers) as answer:
                self.book.count(f"opens {answer.status}")
        except (aiohttp.ClientError, TimeoutError):
            return

    # ---- sending -------------------------------------------------------------------------------------------
    def _happened(
        self,
        who: str,
        source: str,
        at: int,
        fields: tuple[str, ...],
        said: dict[str, bool],
        signals: list[str],
    ) -> Happened:
        return Happened(
            person=who,
            source=source,
            at=at,
            received=at,
            fields=frozenset(fields),
            grants=frozenset(p for p, granted in said.items() if granted),
            denies=frozenset(p for p, granted in said.items() if not granted),
            signals=frozenset(signals),
        )

    async def _until_taken(
        self, path: str, body: Mapping[str, Any], kind: str, happened: Happened, *, suspect: bool = False
    ) -> bool:
        if not await self._taken(path, body):
            return False
        event_id = str(body["event_id"])
        self.book.accept(Sent(event_id=event_id, kind=kind, happened=happened, suspect=suspect))
        return True

    async def _taken(self, path: str, body: Mapping[str, Any]) -> bool:
        """Repeat the request until it is answered 202; False where patience ended."""
        loop, headers = asyncio.get_running_loop(), {"Authorization": f"Bearer {self._token}"}
        deadline = loop.time() + PATIENCE
        while loop.time() < deadline:
            self.book.count("requests")
            try:
                async with self._session.post(self._base + path, json=body, headers=headers) as answer:
                    if answer.status == 202:
                        self.book.count(f"stored {(await answer.json())['stored']}")
                        return True
                    self.book.count(f"answered {answer.status}")
                    if answer.status not in (429, 503):
                        self.book.violate(f"{path} answered {answer.status}: {(await answer.text())[:200]}")
                        return False
            except (aiohttp.ClientError, TimeoutError):
                self.book.count("unanswered")
            await asyncio.sleep(0.3)
        self.lost.append(str(body.get("event_id", path)))
        return False


def iso(at: int) -> str:
    """Microseconds as RFC 3339."""
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=at)).isoformat()
