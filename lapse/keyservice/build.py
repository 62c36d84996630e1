"""The key endpoint of one installation: what the composition root has, put into the app."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from lapse.collector.producer import KafkaProducer
from lapse.collector.settings import KafkaSettings
from lapse.keyservice.app import create_app
from lapse.keyservice.desk import Locked
from lapse.keyservice.inbound import Ear
from lapse.keyservice.publishing import Signals
from lapse.main import Installation
from processors.build import Around, listener
from processors.credentials import webhook_secret_file
from processors.messages import Secrets
from processors.partner_events import PartnerEar
from processors.webhook import load_secrets
from schemas.errors import LapseError
from schemas.plan import ProcessorPlan
from streams.planbook import PlanBook

log = logging.getLogger(__name__)
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


@asynccontextmanager
async def key_app(here: Installation) -> AsyncIterator[ASGIApp]:
    """Return the app over the installation's vault, plans and secrets of partners."""
    folder = here.layout.keys / "processors"

    def partners(name: str) -> Secrets | None:
        return partner_secrets(folder, name)

    plans = Locked.around(PlanBook(here.vault).within)
    around = Around(
        vault=here.vault,
        plans=plans,
        secrets_dir=folder,
        kafka={},
        receipt_partitions=here.runtime.partitions,
        fake_urls=here.runtime.fakes,
        allow_private=here.runtime.allow_private_webhooks,
    )

    signals = Signals(lambda: KafkaProducer(KafkaSettings(connection=here.librdkafka("keys"))))
    try:
        yield create_app(
            here.vault,
            plans,
            receipt_partitions=here.runtime.partitions,
            partners=partners,
            ears=partial(listened, around),
            publish=signals,
        )
    finally:
        await signals.close()


def listened(around: Around, plan: ProcessorPlan) -> Ear | None:
    """Return how a recipient is listened to; None where it says nothing, or its credentials are not there."""
    if plan.connector == "webhook":
        secrets = partner_secrets(around.secrets_dir, plan.name)
        return None if secrets is None else Ear(hears=PartnerEar(secrets), asks_again=True)
    try:
        found = listener(plan, around)
    except LapseError as error:
        log.warning("recipient not listened to", extra={"processor": plan.name, "code": error.code})
        return None
    return None if found is None else Ear(hears=found[0], show=found[1].show)


def partner_secrets(folder: Path, name: str) -> Secrets | None:
    """Return the secrets shared with a partner, None where there are none that can be read."""
    if not _NAME.fullmatch(name):
        return None  # a stranger's text stays out of file names
    try:
        return load_secrets(webhook_secret_file(folder, name))
    except LapseError:
        return None
