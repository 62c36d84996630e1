"""The key endpoint of one installation: what the composition root has, put into the app."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.types import ASGIApp

from lapse.collector.producer import KafkaProducer
from lapse.collector.settings import KafkaSettings
from lapse.keyservice.app import create_app
from lapse.keyservice.inbound import Ear
from lapse.keyservice.publishing import Signals
from lapse.main import Installation
from processors.credentials import webhook_secret_file
from processors.messages import Secrets
from processors.partner_events import PartnerEar
from processors.webhook import load_secrets
from schemas.errors import LapseError
from schemas.plan import ProcessorPlan
from streams.planbook import PlanBook

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


@asynccontextmanager
async def key_app(here: Installation) -> AsyncIterator[ASGIApp]:
    """Return the app over the installation's vault, plans and secrets of partners."""
    folder = here.layout.keys / "processors"

    def partners(name: str) -> Secrets | None:
        return partner_secrets(folder, name)

    def ears(plan: ProcessorPlan) -> Ear | None:
        secrets = partners(plan.name) if plan.connector == "webhook" else None
        return None if secrets is None else Ear(hears=PartnerEar(secrets), asks_again=True)

    signals = Signals(lambda: KafkaProducer(KafkaSettings(connection=here.librdkafka("keys"))))
    try:
        yield create_app(
            here.vault,
            PlanBook(here.vault).within,
            receipt_partitions=here.runtime.partitions,
            partners=partners,
            ears=ears,
            publish=signals,
        )
    finally:
        await signals.close()


def partner_secrets(folder: Path, name: str) -> Secrets | None:
    """Return the secrets shared with a partner, None where there are none that can be read."""
    if not _NAME.fullmatch(name):
        return None  # a stranger's text stays out of file names
    try:
        return load_secrets(webhook_secret_file(folder, name))
    except LapseError:
        return None
