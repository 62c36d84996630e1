"""The connectors that ship, each with its stand-in; and a third party's own, by the name of its function."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors import fakes
from processors.conformance.party import Asks, Later, Party, Refusal, Stand, Wall
from processors.fakes.serving import Running
from processors.manifest import Manifest
from processors.messages import Secrets
from processors.partner_events import PartnerEar
from processors.recipient import Recipient
from processors.registry import KINDS, vendor
from processors.tokens import make_secret
from processors.webhook import Webhook, WebhookSettings
from schemas.errors import BadInput, NotFound
from vault.clock import wall as wall_clock

NAME = "conform"
PREFERRED = ("email", "name", "phone", "message")
"""Fields the suite sends where a recipient takes them; three are enough to tell all apart."""
MOST_FIELDS = 3
NAMES = ("webhook", *(kind.name for kind in KINDS if kind.vendor))
"""Every kind that is called, in the order of the documentation."""

PARTNER = Manifest(
    object="object",
    fields={"email": "email", "name": "name", "phone": "phone"},
    deletion="gone",
    quota="the partner's own",
    evidence="status and body of the signed answer",
    source="https://www.standardwebhooks.com, OpenDSR 2.0",
)
"""What a partner agrees to that speaks as `docs/processors.md` asks: every field that is granted."""


def _json(status: int, said: Any, **headers: str) -> Refusal:
    return Refusal(status=status, body=json.dumps(said).encode(), headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """What is one vendor's own: settings its stand-in wants, and how it says no."""

    said: Mapping[str, str | int | bool]
    quota: Refusal
    expired: Refusal
    refused: Refusal
    asks: Asks | None = None
    later: Later | None = None


def _problem(status: int, title: str) -> Refusal:
    return _json(status, {"title": title, "status": status, "detail": ""})


def _stripe(status: int, kind: str) -> Refusal:
    return _json(status, {"error": {"type": kind, "message": "no"}})


def _salesforce(status: int, code: str) -> Refusal:
    return _json(status, [{"errorCode": code, "message": "no", "fields": []}])


def _listen(stand: Stand, url: str) -> None:
    stand.state.hook = f"{url}?secret={_HOOK['hook_secret']}"


async def _visit(stand: Stand, key: str) -> int:
    return int(await stand.state.act("chat_accepted", key))


async def _empty(stand: Stand, key: str) -> int:
    return int(await stand.state.act("client_updated", key, dict.fromkeys(("name", "email", "phone"))))


def _freeze(jobs: Callable[[Any], Any]) -> Later:
    """Return how a stand-in with jobs is told to let them stand still, and to go on."""

    def begin(stand: Stand) -> None:
        jobs(stand.state).frozen = True

    async def end(stand: Stand, _url: str) -> None:
        jobs(stand.state).frozen = False

    return Later(begin=begin, end=end)


def _hold(stand: Stand) -> None:
    stand.state.hold()


async def _release(stand: Stand, url: str) -> None:
    await stand.state.release(url)


_HOOK = {"hook_secret": "only-between-a-run-and-its-stand-in"}
_WAYS: Mapping[str, _Ways] = {
    "stripe": _Ways(
        said={},
        quota=_stripe(429, "rate_limit"),
        expired=_stripe(401, "invalid_request_error"),
        refused=_stripe(400, "invalid_request_error"),
        later=_freeze(lambda account: account.jobs),
    ),
    "salesforce": _Ways(
        said={},
        quota=_salesforce(403, "REQUEST_LIMIT_EXCEEDED"),
        expired=_salesforce(401, "INVALID_SESSION_ID"),
        refused=_salesforce(400, "INVALID_FIELD"),
        later=_freeze(lambda org: org.bulk),
    ),
    "mailchimp": _Ways(
        said={"audience": "a1b2c3d4e5"},
        quota=_problem(429, "Too Many Requests"),
        expired=_problem(401, "API Key Invalid"),
        refused=_problem(400, "Invalid Resource"),
    ),
    "kickbox": _Ways(
        said={},
        quota=_json(403, {"message": "Insufficient balance", "success": False}),
        expired=_json(403, {"message": "Invalid API key", "success": False}),
        refused=_json(400, {"message": "Invalid parameters", "success": False}),
    ),
    "jivochat": _Ways(
        said={},
        quota=Refusal(status=429),
        expired=Refusal(status=401),
        refused=Refusal(status=400),
        asks=Asks(listen=_listen, visit=_visit, empty=_empty),
    ),
}


def shipped(name: str, **said: str | int | bool) -> Party:
    """Return the party of a kind that ships, a vendor's with these settings of a policy.

    `NotFound` where there is none, or it calls nobody.
    """
    if name == "webhook":
        return partner(make_secret())
    offered = vendor(name) if name in NAMES else None
    ways = _WAYS.get(name)
    if offered is None or ways is None:
        do = f"use one of {', '.join(present())}, or --module for your own"
        raise NotFound("not_found", f"no connector {name!r} is called here", "name", do)
    fields = chosen(offered.manifest)
    secrets = _HOOK if ways.asks else fakes.credentials(name)

    async def start(wall: Wall) -> Stand:
        running: Running = await importlib.import_module(f"processors.fakes.{name}").start(
            credentials=secrets
        )
        _set_clock(running.state, wall)
        return running

    def make(url: str, wall: Wall) -> Recipient:
        all_said = {**ways.said, **said, "base_url": url, "allow_private": True}
        settings = offered.make.settings(all_said, secrets)
        return offered.make(processor=NAME, settings=settings, fields=fields, wall=wall)

    return Party(
        name=name,
        manifest=offered.manifest,
        fields=fields,
        start=start,
        make=make,
        quota=ways.quota,
        expired=ways.expired,
        refused=ways.refused,
        asks=ways.asks,
        later=ways.later,
    )


def present() -> list[str]:
    """Return the kinds that can be put to the proof."""
    return [name for name in NAMES if name == "webhook" or (name in _WAYS and vendor(name) is not None)]


def chosen(manifest: Manifest) -> dict[str, str]:
    """Return the fields the suite sends: what is required, and what many have, each place of theirs once."""
    wanted = [*sorted(manifest.required), *(name for name in PREFERRED if name in manifest.fields)]
    wanted += sorted(manifest.fields)
    fields: dict[str, str] = {}
    for ours in dict.fromkeys(wanted):
        if manifest.fields[ours] not in fields.values() and len(fields) < MOST_FIELDS:
            fields[ours] = manifest.fields[ours]
    return fields


def _set_clock(state: Any, wall: Wall) -> None:
    """Let a stand-in that has a clock run on ours; a second with hundreds of calls in it is no storm then."""
    if hasattr(state, "clock"):
        state.clock = lambda: wall() / 1_000_000
    if hasattr(state, "per_second"):
        state.per_second = 1_000_000


@dataclass(frozen=True, slots=True)
class _Partner:
    running: Running
    folder: tempfile.TemporaryDirectory[str]

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.running.url

    @property
    def state(self) -> Any:
        """The partner."""
        return self.running.state

    async def stop(self) -> None:
        """Close it; the secret goes with it."""
        await self.running.stop()
        self.folder.cleanup()


def partner(secret: str) -> Party:
    """Return the party of the connector for business partners, its stand-in under this secret."""
    folders = list[str]()

    async def start(_wall: Wall) -> Stand:
        folder = tempfile.TemporaryDirectory()
        folders.append(folder.name)
        (Path(folder.name) / "secret").write_text(secret)
        fake = importlib.import_module("processors.fakes.partner")
        return _Partner(await fake.start(secret), folder)

    def make(url: str, _wall: Wall) -> Recipient:
        where = WebhookSettings(
            url=url + fakes.EVENTS, secret_file=Path(folders[-1]) / "secret", allow_private=True
        )
        # Signatures are judged by the real clock: the package that verifies them takes no other.
        return Webhook(processor=NAME, settings=where, wall=wall_clock)

    return Party(
        name="webhook",
        manifest=PARTNER,
        fields=PARTNER.fields,
        start=start,
        make=make,
        unmapped=False,
        later=Later(begin=_hold, end=_release),
        ear=lambda: PartnerEar(Secrets.parse(secret, where="the run's secret")),
    )


def from_module(where: str) -> Party:
    """Return the party that `pkg.mod:function` makes; `BadInput` where it makes none."""
    module, _, name = where.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        what, do = "no such function", "write pkg.mod:function, as Python would import it"
        raise BadInput("bad_argument", what, where, do) from None
    party = make()
    if not isinstance(party, Party):
        raise BadInput("bad_argument", "this makes no processors.conformance.Party", where)
    return party
