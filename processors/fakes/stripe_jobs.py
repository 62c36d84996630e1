"""Redaction jobs of the stand-in for Stripe: they walk one state on with every look at them.

`blocked` says what stands in a customer's way; `preview` whether the account may make jobs at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from processors.fakes.stripe_forms import problem

_ON = {"created": "validating", "redacting": "succeeded", "canceling": "canceled"}
_FIXED = "invalid_state"
"""What `validation_behavior=fix` mends by itself."""


class Owner(Protocol):
    """The account whose customers are redacted."""

    customers: dict[str, dict[str, Any]]
    tombstones: dict[str, dict[str, Any]]
    payments: dict[str, list[str]]
    clock: Callable[[], float]


class Jobs:
    """The jobs of one account."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.preview = True
        self.frozen = False
        """Whether jobs stand still."""
        self.blocked: dict[str, str] = {}
        self.all: dict[str, dict[str, Any]] = {}

    def route(self, router: web.UrlDispatcher, guarded: Callable[[Any], Any]) -> None:
        """Add the addresses."""
        base = "/v1/privacy/redaction_jobs"
        router.add_post(base, guarded(self._create))
        router.add_get(f"{base}/{{id}}", guarded(self._read))
        router.add_get(f"{base}/{{id}}/validation_errors", guarded(self._errors))
        for act in ("run", "cancel", "validate"):
            router.add_post(f"{base}/{{id}}/{{act:{act}}}", guarded(self._act))

    async def _create(self, request: web.Request) -> web.Response:
        if (closed := self._closed(request)) is not None:
            return closed
        form = await request.post()
        customers = [str(value) for value in form.getall("objects[customers][]", [])]
        if not customers or len(customers) > 10:
            return problem(400, "invalid_request_error", "too_many_objects")
        if any(c not in self._owner.customers and c not in self._owner.tombstones for c in customers):
            return problem(400, "invalid_request_error", "resource_missing")
        job = {
            "id": f"prj_{secrets.token_hex(8)}",
            "object": "privacy.redaction_job",
            "created": int(self._owner.clock()),
            "livemode": False,
            "status": "created",
            "validation_behavior": str(form.get("validation_behavior", "error")),
            "objects": {"customers": customers},
        }
        self.all[str(job["id"])] = job
        return web.json_response(job)

    async def _read(self, request: web.Request) -> web.Response:
        if (closed := self._closed(request)) is not None:
            return closed
        job = self.all.get(request.match_info["id"])
        if job is None:
            return problem(404, "invalid_request_error", "resource_missing")
        if not self.frozen:
            self._walk(job)
        return web.json_response(job)

    async def _errors(self, request: web.Request) -> web.Response:
        if (closed := self._closed(request)) is not None:
            return closed
        job = self.all.get(request.match_info["id"])
        if job is None:
            return problem(404, "invalid_request_error", "resource_missing")
        found = [
            {"code": code, "object": "privacy.redaction_job_validation_error"} for code in self._hurdles(job)
        ]
        return web.json_response({"object": "list", "has_more": False, "data": found})

    async def _act(self, request: web.Request) -> web.Response:
        if (closed := self._closed(request)) is not None:
            return closed
        job, act = self.all.get(request.match_info["id"]), request.match_info["act"]
        if job is None:
            return problem(404, "invalid_request_error", "resource_missing")
        from_, to = {
            "run": (("ready",), "redacting"),
            "cancel": (("ready", "failed"), "canceling"),
            "validate": (("failed",), "validating"),
        }[act]
        if job["status"] not in from_:
            return problem(400, "invalid_request_error", "invalid_state")
        job["status"] = to
        return web.json_response(job)

    def _walk(self, job: dict[str, Any]) -> None:
        if job["status"] == "validating":
            job["status"] = "failed" if self._hurdles(job) else "ready"
            return
        job["status"] = _ON.get(job["status"], job["status"])
        if job["status"] == "succeeded":
            for name in job["objects"]["customers"]:
                self._owner.payments.pop(name, None)  # what they had copied is out of everybody's sight
                if self._owner.customers.pop(name, None) is not None:
                    self._owner.tombstones[name] = {"id": name, "object": "customer", "deleted": True}

    def _hurdles(self, job: dict[str, Any]) -> list[str]:
        codes = [self.blocked[name] for name in job["objects"]["customers"] if name in self.blocked]
        return [code for code in codes if code != _FIXED or job["validation_behavior"] != "fix"]

    def _closed(self, request: web.Request) -> web.Response | None:
        """Refuse who does not ask under a preview version, and accounts without access."""
        version = request.headers.get("Stripe-Version", "")
        if self.preview and version.endswith(".preview"):
            return None
        return problem(404, "invalid_request_error", "url_invalid", "Unrecognized request URL")
