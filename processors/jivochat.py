"""JivoChat, a chat on the site: it is told nothing, it asks when a chat begins, and nobody can delete there.

https://www.jivochat.com/docs/webhooks/. The widget is given a person's pseudonym (`setUserToken`); JivoChat
echoes it in every webhook, and our answer to `chat_accepted` or `chat_updated` may carry contact data, which
it keeps as if the visitor had typed it. There is no interface to change or remove a client: an end is a task
for somebody with access to the app, and the `client_updated` event of an emptied card is what closes it.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from processors.answers import Answer, Done
from processors.calls import Call, Erase
from processors.choices import Said, text
from processors.manifest import Manifest
from processors.recipient import Edited, Heard, Post
from schemas.errors import BadInput, Refused
from schemas.ids import Micros
from schemas.models import RecordDelivered

CONTACT = ("name", "email", "phone")
"""What a card has places for."""
CUSTOM = "custom."
"""A field mapped to `custom.<Title>` is shown to agents under that title."""
MANIFEST = Manifest(
    object="client card",
    fields={name: name for name in CONTACT},
    deletion="by_hand",
    pulled=True,
    hears=True,
    quota="none is known: it asks once as a chat begins and at each update of it",
    evidence="the answer that showed the fields; the event that shows the emptied card",
    source="https://www.jivochat.com/docs/webhooks/",
)
ASKS = frozenset({"chat_accepted", "chat_updated"})
MOST_CUSTOM = 10
"""Custom fields of one answer."""
_TOKEN = re.compile("[0-9a-f]{32}")
_UNNAMED = re.compile(r"(client|visitor|guest)?\s*(no\.?|#|№)?\s*\d*", re.IGNORECASE)
"""What JivoChat calls somebody whose name it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JivochatSettings:
    """How JivoChat's webhooks are told from anybody's."""

    base_url: str = ""
    """Nothing is called; `fake:` runs the stand-in beside the system."""
    allow_from: str = ""
    """Addresses or networks, with commas between, that webhooks may come from; empty: any."""
    placeholder: str = "-"
    """What whoever empties a card types where it may not stay blank."""
    hook_secret: str = field(repr=False)
    """What stands under `secret` in the query of the webhook's address."""
    allow_private: bool = False


class Jivochat:
    """One account (a `Recipient` and `Hears`); an object there is a person's pseudonym."""

    def __init__(
        self,
        *,
        processor: str,  # noqa: ARG002  # every vendor's class is made alike
        settings: JivochatSettings,
        fields: Mapping[str, str],
        wall: Callable[[], Micros],  # noqa: ARG002
    ) -> None:
        self._settings, self._fields = settings, dict(fields)
        self._networks = _networks(settings.allow_from)

    @classmethod
    def settings(cls, said: Said, secrets: Mapping[str, str]) -> JivochatSettings:
        """Read what a policy and the credentials file say; `BadInput` names what is missing."""
        secret, allowed = secrets.get("hook_secret", ""), text(said, "allow_from", "")
        if not secret:
            do = "put a long random text into the file and into the webhook's address"
            raise BadInput("bad_argument", "no hook_secret", "credentials", do)
        _networks(allowed)
        return JivochatSettings(
            base_url=text(said, "base_url", ""),
            allow_from=allowed,
            placeholder=text(said, "placeholder", "-"),
            hook_secret=secret,
            allow_private=bool(said.get("allow_private")),
        )

    def key(self, delivery: RecordDelivered) -> str:
        """One card per person: the pseudonym that the widget is given."""
        return delivery.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Nothing can be called: what was shown has to be taken back by somebody with access to the app."""
        if isinstance(call, Erase):
            return Done(outcome="manual_required", request=call.key)
        return Done(outcome="manual_required" if call.blank else "not_applicable")

    async def follow(self, request: str) -> None:
        """The emptied card reports itself."""

    async def refresh(self) -> None:
        """There is no session."""

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | None:  # noqa: ARG002
        """No card can be read."""
        return None

    async def check(self) -> None:
        """Nothing can be asked of JivoChat; that the secret is there was seen when it was read."""

    async def close(self) -> None:
        """Nothing is open."""

    # ---- what comes ----------------------------------------------------------------------------------------
    def heard(self, post: Post, now: Micros) -> Heard:
        """Read one webhook: `Refused` where it is not JivoChat's, `BadInput` where it is no event."""
        self._admit(post)
        event = _event(post.body)
        token = event.get("user_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return Heard()  # a visitor we have given no pseudonym
        name = event.get("event_name")
        if name in ASKS:
            return Heard(wants=token)
        if name == "client_updated":
            emptied = self._emptied(event.get("visitor"))
            return Heard(said=(Edited(vendor_id=token, at=now, emptied=emptied),))
        return Heard()

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:  # noqa: ARG002
        """Return what JivoChat may keep: contact data and custom fields, or `{"result": "ok"}` alone."""
        contact: dict[str, str] = {}
        custom: list[dict[str, str]] = []
        for ours, value in fields.items():
            theirs = self._fields.get(ours, "")
            if theirs in CONTACT:
                contact[theirs] = value
            elif theirs.startswith(CUSTOM) and len(custom) < MOST_CUSTOM:
                custom.append({"title": theirs.removeprefix(CUSTOM), "content": value})
        said: dict[str, Any] = {"result": "ok"}
        said |= {"contact_info": contact} if contact else {}
        said |= {"custom_data": custom} if custom else {}
        return json.dumps(said).encode()

    def _admit(self, post: Post) -> None:
        given = post.query.get("secret", "")
        if not hmac.compare_digest(given.encode(), self._settings.hook_secret.encode()):
            raise Refused("vendor_login", "the secret in the webhook's address is not ours")
        if self._networks and not _within(post.peer, self._networks):
            raise Refused("vendor_login", "this is not where the webhooks come from")

    def _emptied(self, visitor: object) -> bool:
        """Return whether nothing of ours is left; a card that does not show each field may still have it."""
        if not isinstance(visitor, dict) or not all(name in visitor for name in CONTACT):
            return False
        return all(self._blank(name, visitor[name]) for name in CONTACT)

    def _blank(self, name: str, value: object) -> bool:
        if value is None:
            return True
        if not isinstance(value, str):
            return False
        said = value.strip()
        unnamed = name == "name" and _UNNAMED.fullmatch(said) is not None
        return said in ("", self._settings.placeholder) or unnamed


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(listed: str) -> tuple[_Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in listed.split(",") if each.strip())
    except ValueError:
        what, do = "not addresses or networks with commas between", "write 192.0.2.0/24, 2001:db8::1"
        raise BadInput("bad_argument", what, "settings.allow_from", do) from None


def _within(peer: str, networks: tuple[_Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _event(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadInput("bad_argument", "not a JSON object", "body") from None
