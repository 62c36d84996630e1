"""A third party's connector and its stand-in, as the kit's own tests use them: right as it is, wrong as told.

The vendor keeps people by a reference of ours. A write is two requests, a deletion one; a token runs out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from processors.answers import Answer, Done, Pause, Permanent, Refresh, Retry
from processors.backoff import retry_after
from processors.calls import Call, Erase, Write
from processors.conformance import Party, Refusal, Stand
from processors.conformance.party import Later
from processors.fakes.serving import serve
from processors.http import LOOK_AGAIN, Http, Reply
from processors.manifest import Manifest
from processors.recipient import Recipient
from schemas.models import RecordDelivered

FIELDS = {"email": "mail", "name": "display", "phone": "tel"}
MANIFEST = Manifest(
    object="person",
    fields=FIELDS,
    deletion="gone",
    blocks_readding=True,
    readable=True,
    quota="none",
    evidence="status and body",
    source="this file",
)
log = logging.getLogger(__name__)


class Fake:
    """The vendor: `people` by reference, addresses that were deleted, a token."""

    def __init__(self, *, later: bool) -> None:
        self.people: dict[str, dict[str, str]] = {}
        self.forgotten: set[str] = set()
        self.later = later
        self._doomed: set[str] = set()

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get("/people/{ref}", self._read)
        app.router.add_put("/people/{ref}", self._put)
        app.router.add_patch("/people/{ref}", self._put)
        app.router.add_delete("/people/{ref}", self._delete)
        app.router.add_get("/_held", self._held)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return everybody."""
        return [{"id": ref, "fields": fields} for ref, fields in self.people.items()]

    async def _token(self, _: web.Request) -> web.Response:
        return web.json_response({"token": "t"})

    async def _read(self, request: web.Request) -> web.Response:
        found = self.people.get(request.match_info["ref"])
        return web.json_response({"fields": found or {}}, status=200 if found is not None else 404)

    async def _put(self, request: web.Request) -> web.Response:
        said = await request.json()
        if said.get("mail") in self.forgotten:
            return web.json_response({"error": "forgotten"}, status=409)
        person = self.people.setdefault(request.match_info["ref"], {})
        for name, value in said.items():
            person.pop(name, None)
            if value:
                person[name] = value
        return web.json_response({"ok": True})

    async def _delete(self, request: web.Request) -> web.Response:
        if self.later:
            self._doomed.add(request.match_info["ref"])
            return web.json_response({"accepted": True}, status=202)
        gone = self.people.pop(request.match_info["ref"], None)
        if gone is None:
            return web.json_response({"error": "missing"}, status=404)
        self.forgotten |= {gone[name] for name in ("mail",) if name in gone}
        return web.json_response({"ok": True})

    def finish(self) -> None:
        """Do what was only accepted."""
        self.later = False
        for ref in self._doomed:
            self.people.pop(ref, None)

    async def _held(self, _: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})


class Rest:
    """The connector; `wrong` names the one thing it gets wrong, if any."""

    def __init__(self, url: str, *, wrong: str = "") -> None:
        self._http = Http(url, where="rest", allow_private=True)
        self._wrong, self._token = wrong, ""
        self._made = 0
        self._first: dict[str, Mapping[str, str]] = {}
        self._stolen: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._owed: list[Write] = []
        self._nobody = f"{id(self):x}" if wrong == "remembers only in memory" else ""

    def key(self, delivery: RecordDelivered) -> str:
        """One object per person."""
        if self._wrong == "opens by itself":
            for part in delivery.compartments:
                stolen = msgspec.json.decode(part.sealed, type=dict[str, str]).values()
                self._stolen |= {f"more{len(self._stolen) + n}": value for n, value in enumerate(stolen)}
        if self._wrong == "names it anew each time":
            self._made += 1
            return f"{delivery.subject_ref.hex()}-{self._made}"
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Write in two requests, erase in one."""
        if self._wrong == "writes in the background" and isinstance(call, Write):
            task = asyncio.create_task(self._write(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return Done(outcome="delivered")
        if self._wrong == "makes up for it at the next call":
            owed, self._owed = self._owed, []
            for each in owed:
                await self._write(each)
        if isinstance(call, Erase):
            return await self._erase(call)
        answer = await self._write(call)
        if not isinstance(answer, Done):
            self._owed.append(call)
        return answer

    async def _write(self, call: Write) -> Answer:
        places = {n: n for n in call.set} if self._wrong == "sends all" else {}
        places |= FIELDS
        said = {places[n]: v for n, v in call.set.items() if n in places}
        if self._wrong == "logs values":
            log.info("writing %s", said)
        if self._wrong == "the first write wins":
            said = dict(self._first.setdefault(call.key, said))
        blank = dict.fromkeys((FIELDS[n] for n in call.blank if n in FIELDS), "")
        if self._wrong == "forgets to blank":
            blank = {}
        if self._wrong == "blanks everything" and blank:
            said = dict.fromkeys(FIELDS.values(), "")
        body = {**blank, **said, **self._stolen}
        mail = {name: value for name, value in body.items() if name == "mail"}
        ref = self._ref(call)
        first = await self._ask("PUT", f"/people/{ref}", mail)
        if not isinstance(first, Reply):
            return first
        second = await self._ask("PATCH", f"/people/{ref}", {n: v for n, v in body.items() if n not in mail})
        if not isinstance(second, Reply) and self._wrong != "only the first request counts":
            return _landed(second, landed=self._wrong != "says that nothing was done")
        return Done(outcome="delivered", vendor_id=ref)

    def _ref(self, call: Call) -> str:
        if self._wrong == "makes another where it knows none" and call.vendor_id is None:
            self._made += 1
            return f"{call.key}-{self._made}"
        return call.vendor_id or f"{call.key}{self._nobody}"

    async def _erase(self, call: Erase) -> Answer:
        if self._wrong == "leaves what retention ends" and call.cause == "retention":
            return Done(outcome="completed")
        reply = await self._ask("DELETE", f"/people/{self._ref(call)}", None)
        if not isinstance(reply, Reply):
            return reply
        if reply.status == 404:
            return Done(outcome="already_absent")
        if reply.status == 202 and self._wrong != "takes accepted for done":
            return Done(outcome="accepted_async", request=self._ref(call))
        return Done(outcome="completed")

    async def _ask(self, method: str, path: str, said: Mapping[str, str] | None) -> Reply | Answer:
        if not self._token:
            login = await self._send("POST", "/token", {}, None)
            if not isinstance(login, Reply) or not login.good:
                return self._no(login)
            self._token = str((login.object or {}).get("token", ""))
            if not self._token:
                return Retry(code="vendor_answer")
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        reply = await self._send(method, path, headers, None if said is None else msgspec.json.encode(said))
        if not isinstance(reply, Reply) or not (reply.good or reply.status == 404):
            return self._no(reply)
        sound = reply.object is not None or self._wrong == "reads no answer"
        return reply if sound else Retry(code="vendor_answer")

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply | Retry | Pause:
        reply = await self._http.ask(method, path, headers=headers, body=body)
        for _ in range(40 if self._wrong == "tries again and again" else 0):
            if isinstance(reply, Reply) and reply.status != 429:
                break
            reply = await self._http.ask(method, path, headers=headers, body=body)
        return reply

    def _no(self, reply: Reply | Retry | Pause) -> Answer:
        if not isinstance(reply, Reply):
            return reply
        never = Permanent(code="vendor_refused")
        if reply.status == 401:
            self._token = ""
            return never if self._wrong == "gives up at 401" else Refresh(code="vendor_login")
        if reply.status == 429:
            wish = retry_after(reply.headers.get("retry-after"), None)
            after = None if self._wrong == "ignores Retry-After" else wish
            busy = Retry(code="vendor_busy", after=after, landed=False)
            return never if self._wrong == "gives up at 429" else busy
        if reply.status in (400, 409) and reply.object is not None:
            return Retry(code="vendor_busy") if self._wrong == "asks for ever" else never
        if reply.status >= 500:
            return Retry(code="vendor_down")
        return Pause(code="vendor_login", after=LOOK_AGAIN)

    async def follow(self, request: str) -> Answer | None:
        """Look whether it is gone."""
        reply = await self._ask("GET", f"/people/{request}", None)
        if isinstance(reply, Reply) and reply.status == 404:
            return Done(outcome="completed")
        return Retry(code="vendor_busy", well=True) if isinstance(reply, Reply) else reply

    async def refresh(self) -> None:
        """The next request logs in."""
        self._token = ""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:
        """Read the person."""
        if self._wrong in ("sees nothing", "takes accepted for done"):
            return frozenset()
        if self._wrong == "leaves what retention ends":
            return None
        reply = await self._ask("GET", f"/people/{vendor_id or key + self._nobody}", None)
        if isinstance(reply, Retry):
            return reply
        if not isinstance(reply, Reply):
            return frozenset({"?"})
        return frozenset((reply.object or {}).get("fields", {}))

    async def check(self) -> None:
        """Nothing to prove."""

    async def close(self) -> None:
        """Close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()


def _landed(answer: Answer, *, landed: bool = True) -> Answer:
    if isinstance(answer, Retry | Pause):
        return Retry(code=answer.code, after=answer.after, landed=landed)
    return answer


def party(wrong: str = "", *, later: bool = False) -> Party:
    """Return the party; `wrong` as `Rest` takes it, `later` for a vendor that deletes when it likes."""

    async def start(_wall: object) -> Stand:
        fake = Fake(later=later)
        return await serve(fake.app(), host="127.0.0.1", port=0, state=fake)

    def make(url: str, _wall: object) -> Recipient:
        return Rest(url, wrong=wrong)

    return Party(
        name="rest",
        manifest=MANIFEST,
        fields=FIELDS,
        start=start,
        make=make,
        quota=Refusal(status=429),
        later=Later(begin=_later, end=_done),
    )


def _later(stand: Stand) -> None:
    stand.state.later = True


async def _done(stand: Stand, _url: str) -> None:
    stand.state.finish()


def forgetful() -> Party:
    """Return the party of a connector that forgets to blank."""
    return party("forgets to blank")
