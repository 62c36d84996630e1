"""Fixtures for every test: the broker of the session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.broker import Broker


# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("lapse", deadline=None)
settings.load_profile("lapse")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka for the whole session, started by the first test that asks for it."""
    # Imported here so that unit tests need neither Java nor the Kafka clients.
    from tests.support.broker import running_broker

    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
