"""Mailchimp's Marketing API 3.0 as a stand-in: audiences, members, and what the real one refuses.

It keeps the quirks that matter for keeping a promise: an address that was deleted for good never comes back
through the API, archiving keeps everything, who opted out is not subscribed again, and an eleventh connection
is refused. Written from the vendor's documentation and its OpenAPI description, with none of our connector's
code.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from processors.fakes.faults import Faults
from processors.fakes.mailchimp_members import (
    Member,
    Problem,
    body_of,
    md5,
    merged_of,
    problem_document,
    status_of,
)
from processors.fakes.serving import Running, serve

CONNECTIONS = 10
"""Requests of one user at the same time; the eleventh is refused."""
_AUDIENCE = re.compile("[a-z0-9]{10}")


class Mailchimp:
    """One account; an audience is whatever has ten lower-case letters and digits."""

    def __init__(self, api_key: str) -> None:
        self._key = api_key
        self.faults = Faults()
        self.audiences: dict[str, dict[str, Member]] = {}
        self.forgotten: dict[str, set[str]] = {}
        self.now, self.most = 0, 0
        self.counts = {"put": 0, "patched": 0, "deleted": 0, "archived": 0, "refused": 0, "crowded": 0}

    def app(self) -> web.Application:
        """Return the web application; the API also answers under `/3.0`."""
        app = web.Application(client_max_size=1_000_000)
        for base in ("", "/3.0"):
            one = f"{base}/lists/{{audience}}/members/{{name}}"
            app.router.add_get(f"{base}/ping", self._api(self._ping))
            app.router.add_get(f"{base}/lists/{{audience}}", self._api(self._list))
            app.router.add_get(one, self._api(self._get))
            app.router.add_put(one, self._api(self._put))
            app.router.add_patch(one, self._api(self._patch))
            app.router.add_delete(one, self._api(self._archive))
            app.router.add_post(f"{one}/actions/delete-permanent", self._api(self._delete))
        app.router.add_put("/_fault", self.faults.handle)
        app.router.add_post("/_act", self._act)
        app.router.add_get("/_held", self._show)
        app.router.add_get("/_counts", self._show_counts)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return every member with what is known of it, archived ones among them."""
        return [
            {
                "id": f"{audience}/{name}",
                "fields": {"email_address": m.address, **{t: v for t, v in m.merged.items() if v}},
                "status": m.status,
            }
            for audience, members in sorted(self.audiences.items())
            for name, m in sorted(members.items())
        ]

    # ---- the API -------------------------------------------------------------------------------------------
    def _api(self, work: Any) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await self.faults.meet(request, lambda r: self._judged(r, work))
            finally:
                self.now -= 1

        return handler

    async def _judged(self, request: web.Request, work: Any) -> web.Response:
        try:
            self._let_in(request)
            answer: web.Response = await work(request)
        except Problem as problem:
            self.counts["refused"] += problem.status == 400
            return problem_document(problem)
        return answer

    def _let_in(self, request: web.Request) -> None:
        if self.now > CONNECTIONS:
            self.counts["crowded"] += 1
            raise Problem(429, "Too Many Requests", "You have exceeded the limit of 10 connections.")
        if not self._known(request.headers.get("Authorization", "")):
            raise Problem(401, "API Key Invalid", "Your API key may be invalid.")

    def _known(self, header: str) -> bool:
        scheme, _, rest = header.partition(" ")
        if scheme == "Bearer":
            return rest == self._key
        try:
            return scheme == "Basic" and base64.b64decode(rest).decode().partition(":")[2] == self._key
        except (binascii.Error, UnicodeDecodeError):
            return False

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({"health_status": "Everything's Chimpy!"})

    async def _list(self, request: web.Request) -> web.Response:
        self._members(request)
        return web.json_response({"id": request.match_info["audience"]})

    async def _get(self, request: web.Request) -> web.Response:
        return self._told(request, self._find(request))

    async def _put(self, request: web.Request) -> web.Response:
        body, members, name = await body_of(request), self._members(request), request.match_info["name"]
        address = body.get("email_address")
        if not isinstance(address, str) or "status_if_new" not in body:
            raise Problem(400, "Invalid Resource", "email_address and status_if_new are required.")
        member = members.get(name)
        if member is None:
            if md5(address) != name:
                raise Problem(400, "Invalid Resource", "The hash is not that of the address.")
            self._fit_for_new(request, address)
            member = Member(address=address, status=status_of(body["status_if_new"]))
        else:
            self._turn(member, body.get("status"))
            self._rename(request, member, address)
        member.merged.update(merged_of(body))
        members[md5(member.address)] = member
        self.counts["put"] += 1
        return self._told(request, member)

    async def _patch(self, request: web.Request) -> web.Response:
        body, member = await body_of(request), self._find(request)
        merged = merged_of(body)
        self._turn(member, body.get("status"))
        if isinstance(address := body.get("email_address"), str):
            self._rename(request, member, address)
        member.merged.update(merged)
        self.counts["patched"] += 1
        return self._told(request, member)

    async def _archive(self, request: web.Request) -> web.Response:
        member = self._find(request)
        if member.status in ("archived", "cleaned", "pending"):
            raise Problem(405, "Method Not Allowed", "This contact cannot be removed.")
        member.status = "archived"
        self.counts["archived"] += 1
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        if await request.read():
            raise Problem(415, "Unsupported Media Type", "This takes no body.")
        members, name = self._members(request), request.match_info["name"]
        if members.pop(name, None) is None:
            raise Problem(404, "Resource Not Found")
        self.forgotten.setdefault(request.match_info["audience"], set()).add(name)
        self.counts["deleted"] += 1
        return web.Response(status=204)

    # ---- what it refuses -----------------------------------------------------------------------------------
    def _members(self, request: web.Request) -> dict[str, Member]:
        audience = request.match_info["audience"]
        if not _AUDIENCE.fullmatch(audience):
            raise Problem(404, "Resource Not Found", "The requested resource could not be found.")
        return self.audiences.setdefault(audience, {})

    def _find(self, request: web.Request) -> Member:
        members, name = self._members(request), request.match_info["name"]
        member = members.get(name) or next((m for m in members.values() if m.contact == name), None)
        if member is None:
            raise Problem(404, "Resource Not Found", "The requested resource could not be found.")
        return member

    def _fit_for_new(self, request: web.Request, address: str) -> None:
        if md5(address) in self.forgotten.get(request.match_info["audience"], set()):
            raise Problem(400, "Forgotten Email Not Subscribed", "It was permanently deleted.")
        if "@" not in address.strip("@"):
            raise Problem(400, "Invalid Resource", "It looks fake or invalid.")

    def _turn(self, member: Member, status: object) -> None:
        if status is None:
            return
        asked = status_of(status)
        if member.own_doing and asked not in ("pending", member.status):
            raise Problem(400, "Member In Compliance State", "It cannot be subscribed.")
        member.status, member.own_doing = asked, member.own_doing and asked != "pending"

    def _rename(self, request: web.Request, member: Member, address: str) -> None:
        members, new = self._members(request), md5(address)
        if new == md5(member.address):
            member.address = address
            return
        if new in members:
            raise Problem(400, "Member Exists", "It is already a list member.")
        if member.own_doing:
            raise Problem(400, "Member In Compliance State", "It cannot be changed.")
        self._fit_for_new(request, address)
        del members[md5(member.address)]
        member.address = address
        members[new] = member

    # ---- what people do there ------------------------------------------------------------------------------
    def act(self, audience: str, what: str, address: str, new: str = "") -> dict[str, str]:
        """Play what a person does at the vendor, and return the form that the webhook sends about it.

        They unsubscribe, a mail bounces (`cleaned`), an address changes (`upemail`), or a profile is edited.
        """
        member = self.audiences[audience][md5(address)]
        form = {"type": what, "fired_at": "2026-11-28 12:00:00", "data[list_id]": audience}
        if what == "upemail":
            del self.audiences[audience][md5(address)]
            member.address = new
            self.audiences[audience][md5(new)] = member
            return form | {"data[new_email]": new, "data[old_email]": address, "data[new_id]": member.contact}
        if what in ("unsubscribe", "cleaned"):
            member.status, member.own_doing = {"unsubscribe": "unsubscribed"}.get(what, what), True
            form |= {"data[reason]": "manual" if what == "unsubscribe" else "hard"}
        merges = {f"data[merges][{tag}]": value for tag, value in member.merged.items()}
        return form | {"data[email]": address, "data[id]": member.contact} | merges

    async def _act(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        try:
            return web.json_response(self.act(**asked))
        except (KeyError, TypeError):
            return web.json_response({"title": "audience, what, address and new, please"}, status=400)

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})

    async def _show_counts(self, _: web.Request) -> web.Response:
        return web.json_response({**self.counts, "most": self.most, "faults": self.faults.struck})

    def _told(self, request: web.Request, member: Member) -> web.Response:
        return web.json_response(member.told(request.match_info["audience"]))


def credentials() -> dict[str, str]:
    """Return a key of the vendor's form and a secret for the webhook's address."""
    return {"api_key": f"{uuid.uuid4().hex}-us1", "hook_secret": uuid.uuid4().hex}


async def start(
    *, host: str = "127.0.0.1", port: int = 0, credentials: Mapping[str, str] | None = None
) -> Running:
    """Serve an account with this `api_key`."""
    account = Mailchimp((credentials or {}).get("api_key", "fake-us1"))
    return await serve(account.app(), host=host, port=port, state=account)
