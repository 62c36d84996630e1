"""The key endpoint of one installation: what the composition root has, put into the app."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from lapse.keyservice.app import create_app
from lapse.main import Installation
from processors.credentials import webhook_secret_file
from processors.messages import Secrets
from processors.webhook import load_secrets
from schemas.errors import LapseError
from streams.planbook import PlanBook

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


@asynccontextmanager
async def key_app(here: Installation) -> AsyncIterator[ASGIApp]:
    """Return the app over the installation's vault, plans and secrets of partners."""
    folder = here.layout.keys / "processors"

    def partners(name: str) -> Secrets | None:
        if not _NAME.fullmatch(name):
            return None  # a stranger's text stays out of file names
        try:
            return load_secrets(webhook_secret_file(folder, name))
        except LapseError:
            return None

    yield create_app(
        here.vault,
        PlanBook(here.vault).within,
        receipt_partitions=here.runtime.partitions,
        partners=partners,
    )
