"""How a processor's connector is put together from its plan, for composition root and connect role."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from processors.addresscheck import AddressChecks
from processors.clear import PlainSettings
from processors.connector import Connector, Limits, Surroundings
from processors.credentials import (
    kafka_login_file,
    settings_of,
    webhook_secret_file,
)
from processors.ledger import Ledger
from processors.opening import PlansIn, VaultOpener
from processors.pieces import Handler
from processors.plain import Plain
from processors.recipient import Hears, Recipient
from processors.registry import Vendor, opens_here, vendor
from processors.said import fields_of, played
from processors.values import Timing
from processors.webhook import Webhook, WebhookSettings
from schemas.errors import BadInput, Bug
from schemas.plan import ProcessorPlan
from vault.clock import wall
from vault.faults import Crash, never
from vault.port import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What connectors take from the installation.

    `kafka` are aiokafka's client settings of the connect role for our own cluster. `fake_urls` says where the
    stand-ins listen that play the recipients whose policy says `fake:`. `callback_url` is
    `https://<keys>/v1/callbacks`.
    """

    vault: Vault
    plans: PlansIn
    secrets_dir: Path
    kafka: dict[str, Any] = field(repr=False)
    receipt_partitions: int = 4
    fake_urls: dict[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    allow_private: bool = False
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)
    crash: Crash = never


def connector(plan: ProcessorPlan, around: Around) -> Handler:
    """Return the handler of a processor that is opened here; `BadInput` if it is not, or lacks settings.

    Call it inside the event loop that will run it.
    """
    if not opens_here(plan.connector):
        raise BadInput("bad_argument", "its own consumer opens, not we", f"processors.{plan.name}.connector")
    opener = VaultOpener(plan.name, around.plans)
    if plan.connector == "kafka":
        return Plain(
            processor=plan.name,
            vault=around.vault,
            opener=opener,
            settings=PlainSettings.of(
                plan,
                around.kafka,
                kafka_login_file(around.secrets_dir, plan.name),
                allow_private=around.allow_private,
            ),
            receipt_partitions=around.receipt_partitions,
            crash=around.crash,
        )
    party = recipient(plan, around)
    ledger = _ledger(plan, around, party, opener)
    if isinstance(party, Webhook):
        party.refer(ledger.ref)
    return Connector(
        name=plan.name,
        vault=around.vault,
        recipient=party,
        ledger=ledger,
        around=Surroundings(wall=wall, random=random.SystemRandom()),
        call_deadline=around.timing.call,
        limits=_limits(plan, around),
        crash=around.crash,
    )


def recipient(plan: ProcessorPlan, around: Around) -> Recipient:
    """Return what calls a processor that is called: a partner's webhook or a vendor's interface.

    `BadInput` says which setting or secret is missing. Call it inside the event loop that will run it.
    """
    offered = vendor(plan.connector)
    if offered is not None:
        return _vendor(plan, around, offered)
    if plan.connector == "webhook":
        return Webhook(processor=plan.name, settings=_webhook(plan, around), wall=wall)
    raise BadInput("bad_argument", "nobody is called here", f"processors.{plan.name}.connector")


def listener(plan: ProcessorPlan, around: Around) -> tuple[Hears, Ledger] | None:
    """Return what reads a vendor's calls to us, and the ledger its answers are entered in.

    None where the vendor makes none. `BadInput` says which setting or secret is missing.
    """
    offered = vendor(plan.connector)
    if offered is None or not offered.manifest.hears:
        return None
    party = recipient(plan, around)
    if not isinstance(party, Hears):
        raise Bug("bug", "its manifest says that it hears", plan.connector)
    return party, _ledger(plan, around, party, VaultOpener(plan.name, around.plans))


def _ledger(plan: ProcessorPlan, around: Around, party: Recipient, opener: VaultOpener) -> Ledger:
    offered = vendor(plan.connector)
    return Ledger(
        processor=plan.name,
        recipient=party,
        opener=opener,
        secret=around.vault.secrets.processor(plan.name),
        receipt_partitions=around.receipt_partitions,
        timing=around.timing,
        pulled=offered is not None and offered.manifest.pulled,
        checks=AddressChecks(processor=plan.name, plans=around.plans, alias=around.vault.secrets.alias),
    )


def _limits(plan: ProcessorPlan, around: Around) -> Limits:
    offered = vendor(plan.connector)
    if offered is None:
        return around.limits
    return replace(around.limits, in_flight=min(around.limits.in_flight, offered.manifest.in_flight))


def _vendor(plan: ProcessorPlan, around: Around, offered: Vendor) -> Recipient:
    where = {"stand_in": _stand_in(plan, around)} if played(plan) else {}
    settings = settings_of(around.secrets_dir, plan, offered, private=around.allow_private, **where)
    fields = fields_of(offered.manifest, plan.settings)
    return offered.make(processor=plan.name, settings=settings, fields=fields, wall=wall)


def _stand_in(plan: ProcessorPlan, around: Around) -> str:
    try:
        return around.fake_urls[plan.name]
    except KeyError:
        what, do = "its stand-in does not run", "it starts with the system: lapse up"
        raise BadInput("bad_argument", what, f"processors.{plan.name}", do) from None


def _webhook(plan: ProcessorPlan, around: Around) -> WebhookSettings:
    url = plan.webhook.url if plan.webhook else None
    erasure_url = plan.webhook.erasure_url if plan.webhook else None
    private = around.allow_private or bool(plan.webhook and plan.webhook.allow_private)
    if played(plan):
        url, erasure_url, private = _stand_in(plan, around), None, True
    if url is None:
        raise BadInput(
            "bad_policy",
            "no address to call",
            f"processors.{plan.name}.webhook.url",
            "name the partner's address",
        )
    base = around.callback_url
    return WebhookSettings(
        url=url,
        erasure_url=erasure_url,
        secret_file=webhook_secret_file(around.secrets_dir, plan.name),
        callback_url=f"{base}/{plan.name}" if base else None,
        allow_private=private,
    )
