"""Stripe's side of the customers interface, with the quirks that matter.

Stored answers, tombstones, a search that lags, redaction jobs, rate limits.

Written from Stripe's documentation, with none of the connector's code. Amounts never come here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from processors.fakes.faults import Faults
from processors.fakes.serving import Running, serve
from processors.fakes.stripe_forms import customer, problem, put
from processors.fakes.stripe_jobs import Jobs

_PAYMENTS = ("charges", "invoices", "payment_intents")


def credentials() -> dict[str, str]:
    """Return a key and a signing secret of Stripe's form."""
    key, hook = f"sk_test_{secrets.token_hex(24)}", f"whsec_{secrets.token_hex(16)}"
    return {"api_key": key, "webhook_secret": hook}


@dataclass(slots=True)
class Stored:
    """The first answer under an idempotency key; None while it is being worked on."""

    digest: bytes
    answer: tuple[int, bytes] | None = None


class Account:
    """One account. Times are seconds of `clock`; nothing but requests and `clock` changes what it holds."""

    def __init__(self, *, api_key: str, webhook_secret: str, clock: Callable[[], float] = time.time) -> None:
        self._key, self._hook, self.clock = api_key, webhook_secret, clock
        self.faults = Faults()
        self.search_lag = 5.0
        self.per_second = 100
        self.break_creates = 0
        """So many creations do their work, answer 500 and store that."""
        self.customers: dict[str, dict[str, Any]] = {}
        self.tombstones: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, list[str]] = {}
        self.jobs = Jobs(self)
        self.events: list[dict[str, Any]] = []
        self.counts = {"calls": 0, "created": 0, "replayed": 0, "mismatched": 0, "limited": 0}
        self._stored: dict[str, Stored] = {}
        self._index: dict[str, dict[str, Any]] = {}
        self._pending: list[tuple[float, str, dict[str, Any] | None]] = []
        self._second, self._calls = 0, 0

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(client_max_size=1_000_000)
        router = app.router
        router.add_get("/v1/customers/search", self._guarded(self._search))
        router.add_get("/v1/customers", self._guarded(self._list))
        router.add_post("/v1/customers", self._guarded(self._create))
        router.add_get("/v1/customers/{id}", self._guarded(self._read))
        router.add_post("/v1/customers/{id}", self._guarded(self._update))
        router.add_delete("/v1/customers/{id}", self._guarded(self._delete))
        for kind in _PAYMENTS:
            router.add_get(f"/v1/{{kind:{kind}}}", self._guarded(self._payments))
        self.jobs.route(router, self._guarded)
        router.add_put("/_fault", self.faults.handle)
        router.add_get("/_held", self._show)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return every customer that stands, with its parameters under Stripe's names."""
        return [{"id": name, "fields": _flat(found)} for name, found in sorted(self.customers.items())]

    def pay(self, name: str) -> None:
        """Let a customer have paid: the charge keeps what it copied from the customer."""
        self.payments.setdefault(name, []).append("charges")

    def bury(self, name: str) -> None:
        """Delete a customer as somebody at Stripe's own pages does."""
        del self.customers[name]
        self.tombstones[name] = {"id": name, "object": "customer", "deleted": True}
        self._later(name, None)

    def forget_answers(self) -> None:
        """Forget what was stored under idempotency keys, as after a day."""
        self._stored.clear()

    def lose_customers(self) -> None:
        """Hold nothing, as if what failed had not been done."""
        self.customers.clear()
        self._index.clear()
        self._pending.clear()

    def signed(self, event: Mapping[str, Any], at: int) -> tuple[bytes, dict[str, str]]:
        """Return an event as its webhook carries it: body and headers."""
        body = json.dumps(event).encode()
        digest = hmac.new(self._hook.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return body, {"stripe-signature": f"t={at},v1={digest},v0=00"}

    # ---- at the door ---------------------------------------------------------------------------------------
    def _guarded(self, work: Any) -> Any:
        async def once(request: web.Request) -> web.StreamResponse:
            self.counts["calls"] += 1
            if not self._known(request):
                return problem(401, "invalid_request_error", "api_key_invalid")
            if self._limited():
                self.counts["limited"] += 1
                return problem(429, "invalid_request_error", "rate_limit")
            return await self._remembered(request, work)

        async def handler(request: web.Request) -> web.StreamResponse:
            answer = await self.faults.meet(request, once)
            answer.headers["Request-Id"] = f"req_{secrets.token_hex(7)}"
            return answer

        return handler

    def _known(self, request: web.Request) -> bool:
        kind, _, said = request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            try:
                said = base64.b64decode(said, validate=True).decode().removesuffix(":")
            except ValueError:
                return False
        return kind in ("Bearer", "Basic") and hmac.compare_digest(said.encode(), self._key.encode())

    def _limited(self) -> bool:
        second = int(self.clock())
        self._calls = self._calls + 1 if second == self._second else 1
        self._second = second
        return self._calls > self.per_second

    async def _remembered(self, request: web.Request, work: Any) -> web.Response:
        """Answer a POST that was seen before as it was answered then, a 500 included."""
        key = request.headers.get("Idempotency-Key")
        if request.method != "POST" or key is None:
            answer: web.Response = await work(request)
            return answer
        if len(key) > 255:
            return problem(400, "invalid_request_error", "idempotency_key_too_long")
        digest = hashlib.sha256(request.path.encode() + b"\n" + await request.read()).digest()
        known = self._stored.get(key)
        if known is not None and known.digest != digest:
            self.counts["mismatched"] += 1
            return problem(400, "idempotency_error", None)
        if known is not None and known.answer is None:
            return problem(409, "invalid_request_error", "idempotency_key_in_use")
        if known is not None and known.answer is not None:
            self.counts["replayed"] += 1
            status, body = known.answer
            headers = {"Idempotent-Replayed": "true"}
            return web.Response(status=status, body=body, content_type="application/json", headers=headers)
        self._stored[key] = Stored(digest)
        done: web.Response = await work(request)
        if done.status in (400, 409, 429):
            del self._stored[key]  # what failed validation was never executed
        else:
            self._stored[key].answer = (done.status, bytes(done.body or b""))  # type: ignore[arg-type]  # JSON only
        return done

    # ---- customers -----------------------------------------------------------------------------------------
    async def _create(self, request: web.Request) -> web.Response:
        name = f"cus_{secrets.token_hex(7)}"
        found = customer(name, int(self.clock()))
        if (wrong := put(found, await request.post())) is not None:
            return wrong
        self.customers[name] = found
        self.counts["created"] += 1
        self._later(name, found)
        if self.break_creates > 0:
            self.break_creates -= 1
            return problem(500, "api_error", None)
        return web.json_response(found)

    async def _update(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found = self.customers.get(name)
        if found is None:
            return _no(name)
        changed = json.loads(json.dumps(found))
        if (wrong := put(changed, await request.post())) is not None:
            return wrong
        self.customers[name] = changed
        self._later(name, changed)
        self._tell("customer.updated", changed, request)
        return web.json_response(changed)

    async def _read(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found = self.customers.get(name) or self.tombstones.get(name)
        return web.json_response(found) if found else _no(name)

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found = self.customers.pop(name, None)
        if found is None:
            return _no(name)
        self.tombstones[name] = {"id": name, "object": "customer", "deleted": True}
        self._later(name, None)
        self._tell("customer.deleted", found, request)
        return web.json_response(self.tombstones[name])

    async def _list(self, request: web.Request) -> web.Response:
        after = int(request.query.get("created[gt]", "0"))
        mail = request.query.get("email")
        found = [
            each
            for each in self.customers.values()
            if each["created"] > after and (mail is None or each["email"] == mail)
        ]
        return _page(found[: int(request.query.get("limit", "10"))], "/v1/customers")

    async def _search(self, request: web.Request) -> web.Response:
        now = self.clock()
        due = [entry for entry in self._pending if entry[0] <= now]
        self._pending = [entry for entry in self._pending if entry[0] > now]
        for _, name, seen in due:
            if seen is None:
                self._index.pop(name, None)
            else:
                self._index[name] = seen
        query = request.query.get("query", "")
        if not query.startswith("metadata['") or query.count("'") != 4 or "']:'" not in query:
            return problem(400, "invalid_request_error", "search_query_invalid")
        _, name, _, value, _ = query.split("'")
        found = [each for each in self._index.values() if each["metadata"].get(name) == value]
        return _page(found, "/v1/customers/search")

    async def _payments(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.query.get("customer", "")
        found = [
            {"object": kind[:-1], "customer": name} for each in self.payments.get(name, ()) if each == kind
        ]
        return _page(found, f"/v1/{kind}")

    def _later(self, name: str, seen: dict[str, Any] | None) -> None:
        self._pending.append((self.clock() + self.search_lag, name, seen))

    def _tell(self, kind: str, thing: dict[str, Any], request: web.Request) -> None:
        key = request.headers.get("Idempotency-Key")
        self.events.append(
            {
                "id": f"evt_{secrets.token_hex(8)}",
                "object": "event",
                "type": kind,
                "created": int(self.clock()),
                "data": {"object": thing},
                "request": {"id": None, "idempotency_key": key},
            }
        )

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})


def _no(name: str) -> web.Response:
    return problem(404, "invalid_request_error", "resource_missing", f"No such customer: '{name}'")


def _page(found: list[dict[str, Any]], url: str) -> web.Response:
    return web.json_response({"object": "list", "url": url, "has_more": False, "data": found})


def _flat(found: Mapping[str, Any]) -> dict[str, str]:
    flat = {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and name not in ("id", "object")
    }
    for head in ("address", "metadata"):
        inner = found[head] or {}
        flat |= {f"{head}.{name}": value for name, value in inner.items() if isinstance(value, str)}
    return flat


async def start(
    *, host: str = "127.0.0.1", port: int = 0, credentials: Mapping[str, str] | None = None
) -> Running:
    """Serve an account that these credentials open; without any it makes some (`state.credentials`)."""
    known = credentials if credentials is not None else _made()
    account = Account(api_key=known["api_key"], webhook_secret=known.get("webhook_secret", ""))
    return await serve(account.app(), host=host, port=port, state=account)


_made = credentials
