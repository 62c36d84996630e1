"""Fixtures for every test: the broker of the session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka for the whole session, started by the first test that asks for it."""
    # Imported here so that unit tests need neither Java nor the Kafka clients.
    from tests.support.broker import running_broker

    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
