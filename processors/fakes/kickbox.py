"""Kickbox's single verification as a stand-in: results by what the address looks like, credits, limits.

As the vendor's sandbox does, a key that starts with `test_` costs nothing and lets the address decide:
`undeliverable@`, `risky@`, `unknown@`, `accept-all@`, `disposable@`, `timeout@`, `insufficient-balance@`.
With any other key the same words decide, and every result but `unknown` takes a credit. Nothing of an address
is kept; `held` shows that.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from processors.fakes.faults import Faults
from processors.fakes.serving import Running, serve

IN_FLIGHT = 25
"""Requests of one address at the same time."""
CREDITS = 100_000
_RESULTS = {
    "undeliverable": ("undeliverable", "rejected_email"),
    "rejected-email": ("undeliverable", "rejected_email"),
    "invalid-domain": ("undeliverable", "invalid_domain"),
    "risky": ("risky", "low_quality"),
    "accept-all": ("risky", "low_deliverability"),
    "disposable": ("risky", "low_quality"),
    "unknown": ("unknown", "timeout"),
    "timeout": ("unknown", "timeout"),
    "no-connect": ("unknown", "no_connect"),
}


class Kickbox:
    """One account; `credits` is what it has left."""

    def __init__(self, api_key: str, credits: int = CREDITS) -> None:  # the vendor's word
        self._key, self.credits = api_key, credits
        self.faults = Faults()
        self.now = 0
        self.counts: dict[str, int] = {"verified": 0, "unknown": 0, "crowded": 0, "refused": 0}

    def app(self) -> web.Application:
        """Return the web application; the API also answers under `/v2`."""
        app = web.Application()
        for base in ("", "/v2"):
            app.router.add_get(f"{base}/verify", self._api(self._verify))
            app.router.add_get(f"{base}/balance", self._api(self._balance))
        app.router.add_put("/_fault", self.faults.handle)
        app.router.add_get("/_held", self._show)
        app.router.add_get("/_counts", self._show_counts)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return nothing: a verification leaves no object."""
        return []

    def _api(self, work: Any) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            self.now += 1
            try:
                return await self.faults.meet(request, lambda r: self._let_in(r, work))
            finally:
                self.now -= 1

        return handler

    async def _let_in(self, request: web.Request, work: Any) -> web.Response:
        if self.now > IN_FLIGHT:
            self.counts["crowded"] += 1
            return _failed(429, "Too many requests")
        given = request.headers.get("Authorization", "")
        known = {f"Bearer {self._key}", f"token {self._key}"}
        if given not in known and request.query.get("apikey") != self._key:
            return _failed(403, "Invalid API key")
        answer: web.Response = await work(request)
        return answer

    async def _verify(self, request: web.Request) -> web.Response:
        address = request.query.get("email", "").strip().lower()
        user, at, domain = address.rpartition("@")
        if not address:
            self.counts["refused"] += 1
            return _failed(400, "Missing email")
        if user == "insufficient-balance" or (self.credits <= 0 and not self._key.startswith("test_")):
            return _failed(403, "Insufficient balance")
        result, reason = _RESULTS.get(user.partition("+")[0], ("deliverable", "accepted_email"))
        if not (at and user and "." in domain):
            result, reason = "undeliverable", "invalid_email"
        if result == "unknown":
            self.counts["unknown"] += 1
        else:
            self.counts["verified"] += 1
            self.credits -= not self._key.startswith("test_")
        return web.json_response(
            {
                "result": result,
                "reason": reason,
                "role": user in ("info", "admin", "support"),
                "free": domain in ("gmail.com", "gmx.net"),
                "disposable": user.startswith("disposable"),
                "accept_all": user.startswith("accept-all"),
                "did_you_mean": None,
                "sendex": {"deliverable": 0.9, "risky": 0.4}.get(result, 0),
                "email": address,
                "user": user,
                "domain": domain,
                "success": True,
                "message": None,
            },
            headers={"X-Kickbox-Balance": str(self.credits), "X-Kickbox-Response-Time": "23"},
        )

    async def _balance(self, _: web.Request) -> web.Response:
        return web.json_response({"balance": self.credits, "success": True, "message": None})

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})

    async def _show_counts(self, _: web.Request) -> web.Response:
        return web.json_response({**self.counts, "credits": self.credits, "faults": self.faults.struck})


def _failed(status: int, message: str) -> web.Response:
    return web.json_response({"success": False, "message": message}, status=status)


def credentials() -> dict[str, str]:
    """Return a sandbox key: nothing is ever paid for."""
    return {"api_key": f"test_{secrets.token_hex(32)}"}


async def start(
    *, host: str = "127.0.0.1", port: int = 0, credentials: Mapping[str, str] | None = None
) -> Running:
    """Serve an account with this `api_key`."""
    account = Kickbox((credentials or {}).get("api_key", "test_fake"))
    return await serve(account.app(), host=host, port=port, state=account)
