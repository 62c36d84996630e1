"""A business partner's side of the webhook connector: verifies, holds objects, answers with receipts.

It is strict (a wrong signature is 401, a body that is not a CloudEvent 400) and correct: events are applied
once by their `webhook-id` and never out of `sequence`. It is written from the same specifications as the
connector, but from the receiving side, with none of its code.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import secrets
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from processors.fakes.faults import Faults
from processors.fakes.serving import Running, serve
from processors.tokens import make_secret

CONTROLLER = "lapse"
BODY_BYTES = 1_000_000


@dataclass(slots=True)
class Held:
    """One object at the partner: its fields, what it may be used for, and the latest event applied."""

    fields: dict[str, str] = field(default_factory=dict)
    purposes: list[dict[str, str]] = field(default_factory=list)
    sequence: str = ""


@dataclass(slots=True)
class Erasure:
    """One OpenDSR request as the partner keeps it: never the request itself, only what it must answer."""

    id: str
    identity: str
    status: str
    callbacks: list[str]
    received: str


class Partner:
    """The receiver. `asynchronous` answers erasures 201 and calls back after `delay` seconds."""

    def __init__(
        self,
        secret: str,
        *,
        asynchronous: bool = False,
        delay: float = 0.2,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._webhook, self._asynchronous, self._delay = Webhook(secret), asynchronous, delay
        self._trusted = trusted
        self.faults = Faults()
        self.held: dict[str, Held] = {}
        self.erased: dict[str, str] = {}
        self.requests: dict[str, Erasure] = {}
        self.counts = {"events": 0, "again": 0, "late": 0, "unsigned": 0, "malformed": 0, "erasures": 0}
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._released.set()

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/events", self._with_faults(self._event))
        app.router.add_post("/events/requests", self._with_faults(self._erase))
        app.router.add_get("/events/requests/{id}", self._status)
        app.router.add_put("/_fault", self.faults.handle)
        app.router.add_put("/_mode", self._mode)
        app.router.add_get("/_held", self._show)
        app.router.add_get("/_counts", self._show_counts)
        app.on_cleanup.append(self._stop)
        return app

    # ---- what the connector calls --------------------------------------------------------------------------
    def _with_faults(self, work: Any) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await self.faults.meet(request, work)

        return handler

    async def _event(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._verified(body, request.headers):
            return self._count("unsigned", 401)
        event = _cloudevent(body) if request.content_type == "application/cloudevents+json" else None
        if event is None or event["id"] != request.headers["webhook-id"]:
            return self._count("malformed", 400)
        if event["id"] in self._seen:
            return self._count("again", 200)
        self._seen.add(event["id"])
        data, key, sequence = event["data"], event["subject"], event["sequence"]
        if sequence <= max(self.erased.get(key, ""), self.held.get(key, Held()).sequence):
            return self._count("late", 200)
        held = self.held.setdefault(key, Held())
        for name in data["blank"]:
            held.fields.pop(name, None)
        held.fields.update(data["set"])
        held.purposes, held.sequence = data["purposes"], sequence
        return self._count("events", 204)

    async def _erase(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._verified(body, request.headers):
            return self._count("unsigned", 401)
        asked = _erasure(body)
        if asked is None:
            return self._count("malformed", 400)
        erasure, sequence = asked
        known = self.requests.setdefault(erasure.id, erasure)
        self.counts["erasures"] += 1
        if self._asynchronous:
            if known is erasure:
                self._later(erasure, sequence)
            return self._signed(self._receipt(known, body), 201)
        self._forget(erasure, sequence)
        return self._signed(self._receipt(erasure, body), 200)

    def _forget(self, erasure: Erasure, sequence: str) -> None:
        held = self.held.get(erasure.identity)
        if held is not None and held.sequence < sequence:
            del self.held[erasure.identity]
        self.erased[erasure.identity] = max(sequence, self.erased.get(erasure.identity, ""))
        erasure.status = "completed"

    def _later(self, erasure: Erasure, sequence: str) -> None:
        async def finish() -> None:
            await asyncio.sleep(self._delay)
            await self._released.wait()
            self._forget(erasure, sequence)
            for url in erasure.callbacks:
                await self._report(url, erasure)

        task = asyncio.create_task(finish())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hold(self) -> None:
        """Only accept erasures from now on, and do none."""
        self._asynchronous, self._delay = True, 0.0
        self._released.clear()

    async def release(self, url: str) -> None:
        """Do what was accepted, and report each of it at this address as well."""
        self._released.set()
        await asyncio.gather(*self._tasks)
        for erasure in self.requests.values():
            await self._report(url, erasure)

    async def _report(self, url: str, erasure: Erasure) -> None:
        body = json.dumps(self._receipt(erasure, b"")).encode()
        headers = {"Content-Type": "application/json", **self._sign(body)}
        async with aiohttp.ClientSession(trust_env=False) as session:
            for wait in (0.2, 1.0, 5.0):
                try:
                    async with session.post(
                        url, data=body, headers=headers, ssl=self._trusted or True
                    ) as answer:
                        if answer.status < 300:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(wait)

    # ---- what people and tests ask -------------------------------------------------------------------------
    async def _status(self, request: web.Request) -> web.Response:
        erasure = self.requests.get(request.match_info["id"])
        return web.Response(status=404) if erasure is None else self._signed(self._receipt(erasure, b""), 200)

    async def _mode(self, request: web.Request) -> web.Response:
        mode = json.loads(await request.read())
        self._asynchronous = bool(mode.get("asynchronous", self._asynchronous))
        return web.json_response({"asynchronous": self._asynchronous})

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response({"objects": self.objects()})

    def objects(self) -> list[dict[str, Any]]:
        """Return every object held: its fields, and what it may be used for."""
        return [
            {"id": key, "fields": held.fields, "purposes": held.purposes}
            for key, held in sorted(self.held.items())
        ]

    async def _show_counts(self, _request: web.Request) -> web.Response:
        return web.json_response({**self.counts, "faults": self.faults.struck})

    # ---- signatures and shapes -----------------------------------------------------------------------------
    def _verified(self, body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True

    def _sign(self, body: bytes) -> dict[str, str]:
        now, name = dt.datetime.now(dt.UTC), f"msg_{secrets.token_hex(12)}"
        signature = self._webhook.sign(name, now, body.decode())
        return {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        }

    def _signed(self, answer: dict[str, Any], status: int) -> web.Response:
        body = json.dumps(answer).encode()
        return web.Response(
            body=body, status=status, content_type="application/json", headers=self._sign(body)
        )

    def _receipt(self, erasure: Erasure, body: bytes) -> dict[str, Any]:
        receipt = {
            "controller_id": CONTROLLER,
            "received_time": erasure.received,
            "expected_completion_time": _now(),
            "subject_request_id": erasure.id,
            "request_status": erasure.status,
        }
        return receipt | ({"encoded_request": base64.b64encode(body).decode()} if body else {})

    def _count(self, what: str, status: int) -> web.Response:
        self.counts[what] += 1
        return web.Response(status=status)

    async def _stop(self, _app: web.Application) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # each closes its connections first


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cloudevent(body: bytes) -> dict[str, Any] | None:
    """Return a well-formed event of the one type this partner has agreed to."""
    try:
        event = json.loads(body)
        texts = all(isinstance(event[k], str) and event[k] for k in ("id", "source", "subject", "sequence"))
        data = event["data"]
        shape = isinstance(data["set"], dict) and isinstance(data["blank"], list)
        agreed = event["specversion"] == "1.0" and event["type"] == "lapse.v1.object.set"
    except (ValueError, KeyError, TypeError):
        return None
    return event if texts and shape and agreed and isinstance(data["purposes"], list) else None


def _erasure(body: bytes) -> tuple[Erasure, str] | None:
    try:
        asked = json.loads(body)
        [identity] = asked["subject_identities"]
        named = str(uuid.UUID(asked["subject_request_id"], version=4))
        sequence = asked["extensions"]["lapse"]["sequence"]
        sound = asked["subject_request_type"] == "erasure" and identity["identity_format"] == "raw"
        key, callbacks = identity["identity_value"], list(asked["status_callback_urls"])
    except (ValueError, KeyError, TypeError):
        return None
    if not sound or named != asked["subject_request_id"] or not isinstance(sequence, str):
        return None
    erasure = Erasure(id=named, identity=key, status="pending", callbacks=callbacks, received=_now())
    return erasure, sequence


def read_secret(path: Path) -> str:
    """Read the first secret of a file; where there is no file, make one with a new secret, for its owner."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make_secret() + "\n")
    return path.read_text(encoding="utf-8").split()[0]


async def start(
    secret: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    asynchronous: bool = False,
    ca_file: Path | None = None,
) -> Running:
    """Serve a partner that shares this secret; its URL for events is `<url>/events`."""
    trusted = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    partner = Partner(secret, asynchronous=asynchronous, trusted=trusted)
    return await serve(partner.app(), host=host, port=port, state=partner, held=partner.objects)
