"""How a processor's connector is put together from its plan; for the composition root and the connect
role.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from processors.clear import PlainSettings
from processors.connector import ChunkLike, Connector, Limits, Surroundings
from processors.ledger import Ledger
from processors.opening import PlansIn, VaultOpener
from processors.plain import Plain
from processors.registry import kind
from processors.values import Timing
from processors.webhook import Webhook, WebhookSettings
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.plan import ProcessorPlan
from vault.faults import Crash, never
from vault.port import Vault


class Handler(Protocol):
    """What the connect agent of one processor drives; `Connector` and `Plain` are the two there are."""

    async def handle(self, chunk: ChunkLike) -> int | None:
        """Do one chunk; None when it may be acknowledged, else where another worker has gone on."""

    async def run(self) -> None:
        """Do what had to wait, until cancelled."""

    def waiting(self) -> int:
        """Return how much has still to be done at the recipient."""

    async def close(self) -> None:
        """Release connections."""


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


def webhook_secret_file(secrets_dir: Path, processor: str) -> Path:
    """Return where a partner's webhook secrets lie: one `whsec_...` per line, the file 0600."""
    return secrets_dir / f"{processor}.webhook"


def kafka_login_file(secrets_dir: Path, processor: str) -> Path:
    """Return where the log-in to another cluster lies, for `kafka: {bootstrap: ...}`: JSON, the file 0600."""
    return secrets_dir / f"{processor}.kafka"


def wall() -> Micros:
    """Return the real time: leases and retries run on it even where the vault's clock stands still."""
    return Micros(time.time_ns() // 1000)


def connector(plan: ProcessorPlan, around: Around) -> Handler:
    """Return the handler of a processor whose connector opens here; `BadInput` where it does not, or lacks
    settings.

    Call it inside the event loop that will run it.
    """
    if not kind(plan.connector).opens_here:
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
    recipient = Webhook(processor=plan.name, settings=_webhook(plan, around), wall=wall)
    ledger = Ledger(
        processor=plan.name,
        recipient=recipient,
        opener=opener,
        secret=around.vault.secrets.processor(plan.name),
        receipt_partitions=around.receipt_partitions,
        timing=around.timing,
    )
    recipient.refer(ledger.ref)
    return Connector(
        name=plan.name,
        vault=around.vault,
        recipient=recipient,
        ledger=ledger,
        around=Surroundings(wall=wall, random=random.SystemRandom()),
        call_deadline=around.timing.call,
        limits=around.limits,
        crash=around.crash,
    )


def _webhook(plan: ProcessorPlan, around: Around) -> WebhookSettings:
    url = plan.webhook.url if plan.webhook else None
    erasure_url = plan.webhook.erasure_url if plan.webhook else None
    private = around.allow_private or bool(plan.webhook and plan.webhook.allow_private)
    if (played := around.fake_urls.get(plan.name)) is not None:
        # A stand-in lives on loopback; that must not open this host to the other recipients.
        url, erasure_url, private = played, None, True
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
