"""JivoChat as a stand-in: visitors who chat, cards that keep what our answers say, agents who edit them.

It calls us, as the real one does: `PUT /_hook` says where to (the address with its secret), `POST /_act` lets
something happen. What an answer's `contact_info` says is kept on the card as if the visitor had typed it. No
interface changes or deletes a card; only `_act` with `client_updated` does, which is an agent in the app.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from processors.fakes.faults import Faults
from processors.fakes.serving import Running, serve

SECONDS = 3.0
"""An answer that takes longer is not waited for."""


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /_act`: a chat of a visitor, or an agent's edit of the card (`visitor`)."""

    event_name: str
    user_token: str
    visitor: dict[str, str | None] = {}


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PUT /_hook`."""

    url: str


class Jivochat:
    """One account; `cards` by the visitor's token."""

    def __init__(self, hook: str = "") -> None:
        self.hook = hook
        self.faults = Faults()
        self.cards: dict[str, dict[str, str]] = {}
        self.counts = {"sent": 0, "shown": 0, "unanswered": 0}

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application()
        app.router.add_put("/_hook", self._listen)
        app.router.add_post("/_act", self._act)
        app.router.add_put("/_fault", self.faults.handle)
        app.router.add_get("/_held", self._show)
        app.router.add_get("/_counts", self._show_counts)
        return app

    def held(self) -> list[dict[str, Any]]:
        """Return every card with what stands on it."""
        return [{"id": token, "fields": dict(card)} for token, card in sorted(self.cards.items())]

    async def act(self, event: str, token: str, visitor: Mapping[str, str | None] | None = None) -> int:
        """Let something happen and tell whoever listens; return the status that came back, 0 for none."""
        card = self.cards.setdefault(token, {})
        if event == "client_updated":
            for name, value in (visitor or {}).items():
                card.pop(name, None)
                if value:
                    card[name] = value
        shown = {"name": card.get("name"), "email": card.get("email"), "phone": card.get("phone")}
        told = {"event_name": event, "user_token": token, "client_id": len(self.cards), "visitor": shown}
        return await self._tell(told, card)

    async def _tell(self, told: Mapping[str, Any], card: dict[str, str]) -> int:
        self.counts["sent"] += 1
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(self.hook, json=told, ssl=False) as answer,
            ):
                self._keep(card, await answer.json(content_type=None) if answer.status == 200 else None)
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.counts["unanswered"] += 1
            return 0

    def _keep(self, card: dict[str, str], said: object) -> None:
        if not isinstance(said, dict) or said.get("result") != "ok":
            return
        contact, custom = said.get("contact_info", {}), said.get("custom_data", [])
        card.update({name: contact[name] for name in ("name", "email", "phone") if name in contact})
        card.update({f"custom.{one['title']}": one["content"] for one in custom})
        self.counts["shown"] += bool(contact or custom)

    async def _listen(self, request: web.Request) -> web.Response:
        try:
            self.hook = msgspec.json.decode(await request.read(), type=Hook).url
        except msgspec.MsgspecError:
            return web.json_response({"title": "url, please"}, status=400)
        return web.json_response({"url": self.hook})

    async def _act(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=Act)
        except msgspec.MsgspecError:
            return web.json_response({"title": "event_name, user_token and visitor, please"}, status=400)
        status = await self.act(asked.event_name, asked.user_token, asked.visitor)
        return web.json_response({"status": status, "card": self.cards[asked.user_token]})

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response({"objects": self.held()})

    async def _show_counts(self, _: web.Request) -> web.Response:
        return web.json_response({**self.counts, "faults": self.faults.struck})


def credentials() -> dict[str, str]:
    """Return a secret for the webhook's address."""
    return {"hook_secret": secrets.token_urlsafe(24)}


async def start(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    credentials: Mapping[str, str] | None = None,  # noqa: ARG001  # the secret comes with the address
) -> Running:
    """Serve an account that calls nobody until it is told where to."""
    account = Jivochat()
    return await serve(account.app(), host=host, port=port, state=account)
