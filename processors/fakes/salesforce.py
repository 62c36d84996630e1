"""Salesforce's side of contacts and leads, with the quirks that matter.

Tokens that end, external ids that are not unique, converted leads, row locks inside other errors, the daily
limit, the recycle bin, bulk jobs.

Written from Salesforce's documentation, with none of the connector's code.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from processors.fakes.faults import Faults
from processors.fakes.salesforce_bulk import Bulk
from processors.fakes.salesforce_rows import EXTERNAL, Rows, problem
from processors.fakes.serving import Running, serve

_ROOT = "/services/data/{version:v[0-9]+\\.0}"


class Org:
    """One org; `rows` is what it holds."""

    def __init__(self, *, client_id: str, client_secret: str) -> None:
        self._id, self._secret = client_id, client_secret
        self.faults = Faults()
        self.rows = Rows()
        self.bulk = Bulk(self.rows)
        self.calls_left: int | None = None
        """Calls until the daily limit, None without one."""
        self.token_life: int | None = None
        """So many calls a token is good for."""
        self.counts = {"logins": 0, "calls": 0, "refused": 0}
        self._tokens: dict[str, int | None] = {}

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(client_max_size=1_000_000)
        router = app.router
        router.add_post("/services/oauth2/token", self._met(self._token))
        row = f"{_ROOT}/sobjects/{{kind}}"
        router.add_get(f"{row}/describe", self._guarded(self._describe))
        router.add_get(f"{row}/{{id}}", self._guarded(self._read))
        router.add_patch(f"{row}/{{id}}", self._guarded(self._update))
        router.add_delete(f"{row}/{{id}}", self._guarded(self._delete))
        router.add_get(f"{row}/{{by}}/{{key}}", self._guarded(self._read))
        router.add_patch(f"{row}/{{by}}/{{key}}", self._guarded(self._upsert))
        self.bulk.route(router, _ROOT, self._guarded)
        router.add_put("/_fault", self.faults.handle)
        router.add_get("/_held", self._show)
        router.add_get("/_bin", self._show_bin)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return every record that stands, with what is not empty."""
        return [{"id": r["Id"], "object": kind, "fields": _filled(r)} for kind, r in self.rows.standing()]

    def expire(self) -> None:
        """End every token."""
        self._tokens.clear()

    # ---- at the door ---------------------------------------------------------------------------------------
    def _met(self, work: Any) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await self.faults.meet(request, work)

        return handler

    def _guarded(self, work: Any) -> Any:
        async def once(request: web.Request) -> web.StreamResponse:
            self.counts["calls"] += 1
            if not self._known(request.headers.get("Authorization", "")):
                return problem(401, "INVALID_SESSION_ID", "Session expired or invalid")
            if self.calls_left is not None:
                self.calls_left -= 1
                if self.calls_left < 0:
                    self.counts["refused"] += 1
                    return problem(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            answer: web.StreamResponse = await work(request)
            used = 1000 if self.calls_left is None else 1000 - self.calls_left
            answer.headers["Sforce-Limit-Info"] = f"api-usage={used}/1000"
            return answer

        return self._met(once)

    def _known(self, said: str) -> bool:
        token = said.removeprefix("Bearer ")
        if token not in self._tokens:
            return False
        left = self._tokens[token]
        if left is not None:
            if left <= 0:
                del self._tokens[token]
                return False
            self._tokens[token] = left - 1
        return True

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        right = hmac.compare_digest(str(form.get("client_id")).encode(), self._id.encode())
        right &= hmac.compare_digest(str(form.get("client_secret")).encode(), self._secret.encode())
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if not right:
            error = {"error": "invalid_client", "error_description": "invalid client credentials"}
            return web.json_response(error, status=401)
        token = f"00D{secrets.token_hex(20)}"
        self._tokens[token] = self.token_life
        self.counts["logins"] += 1
        url = f"http://{request.host}"
        return web.json_response({"access_token": token, "instance_url": url, "token_type": "Bearer"})

    # ---- single records ------------------------------------------------------------------------------------
    async def _upsert(self, request: web.Request) -> web.Response:
        kind, by, key = (request.match_info[n] for n in ("kind", "by", "key"))
        if kind not in self.rows.kinds or by != EXTERNAL[kind]:
            return problem(404, "NOT_FOUND", f"Provided external ID field does not exist: {by}")
        body = await _json(request)
        if body is None:
            return problem(400, "JSON_PARSE_ERROR", "not an object")
        if by in body or "Id" in body:
            return problem(400, "INVALID_FIELD", f"{by} should not be specified in the sobject data.")
        found = self.rows.by_key(kind, key)
        if len(found) > 1:
            urls = [f"/services/data/v62.0/sobjects/{kind}/{each}" for each in found]
            return web.json_response(urls, status=300)
        if not found and request.query.get("updateOnly") == "true":
            return problem(404, "NOT_FOUND", "The requested resource does not exist")
        forced = "allowSave=true" in request.headers.get("Sforce-Duplicate-Rule-Header", "")
        wrong = self.rows.put(kind, found[0] if found else None, {**body, by: key}, forced=forced)
        if isinstance(wrong, web.Response):
            return wrong
        if found and int(request.match_info["version"][1:-2]) < 46:
            return web.Response(status=204)
        said = {"id": wrong, "success": True, "errors": [], "created": not found}
        return web.json_response(said, status=200 if found else 201)

    async def _read(self, request: web.Request) -> web.Response:
        kind, by = request.match_info["kind"], request.match_info.get("by")
        if by is not None and by != EXTERNAL.get(kind):
            return problem(404, "NOT_FOUND", f"Provided external ID field does not exist: {by}")
        name = request.match_info["key" if by else "id"]
        found = self.rows.by_key(kind, name) if by else [name]
        if len(found) > 1:
            urls = [f"/services/data/v62.0/sobjects/{kind}/{each}" for each in found]
            return web.json_response(urls, status=300)
        row = self.rows.get(kind, found[0]) if found else None
        if row is None:
            return problem(404, "NOT_FOUND", "The requested resource does not exist")
        names = request.query["fields"].split(",") if "fields" in request.query else list(row)
        if any(each not in self.rows.kinds[kind] for each in names):
            return problem(400, "INVALID_FIELD", "No such column")
        return web.json_response({"attributes": {"type": kind}, **{each: row.get(each) for each in names}})

    async def _update(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["id"]
        body = await _json(request)
        if body is None:
            return problem(400, "JSON_PARSE_ERROR", "not an object")
        if self.rows.get(kind, name) is None:
            return problem(404, "ENTITY_IS_DELETED" if name in self.rows.bin else "NOT_FOUND", "gone")
        done = self.rows.put(kind, name, body, forced=True)
        return done if isinstance(done, web.Response) else web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["id"]
        if self.rows.get(kind, name) is None:
            return problem(404, "ENTITY_IS_DELETED" if name in self.rows.bin else "NOT_FOUND", "gone")
        if (locked := self.rows.locked(name)) is not None:
            return locked
        if name in self.rows.with_cases:
            return problem(400, "DELETE_FAILED", "Your attempt to delete it could not be completed: cases")
        self.rows.drop(kind, name)
        return web.Response(status=204)

    async def _describe(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind not in self.rows.kinds:
            return problem(404, "NOT_FOUND", "The requested resource does not exist")
        key = EXTERNAL.get(kind)
        fields = [
            {"name": each, "updateable": each != "Id", "externalId": each == key, "unique": each == key}
            for each in sorted(self.rows.kinds[kind])
        ]
        return web.json_response({"name": kind, "fields": fields})

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})

    async def _show_bin(self, _request: web.Request) -> web.Response:
        binned = [{"id": name, "fields": _filled(row)} for name, (_, row) in sorted(self.rows.bin.items())]
        return web.json_response({"objects": binned})


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "Id" and value not in (None, False)}


async def _json(request: web.Request) -> dict[str, Any] | None:
    try:
        body = json.loads(await request.read())
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


async def start(
    *, host: str = "127.0.0.1", port: int = 0, credentials: Mapping[str, str] | None = None
) -> Running:
    """Serve an org that these credentials open; without any it makes some of its own."""
    made = {"client_id": secrets.token_hex(16), "client_secret": secrets.token_hex(16)}
    known = credentials if credentials is not None else made
    org = Org(client_id=known["client_id"], client_secret=known["client_secret"])
    return await serve(org.app(), host=host, port=port, state=org)
