"""One collector for the tests of a module that only send it requests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.collector.harness import Running, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The module's collector."""
    async with running(tmp_path_factory.mktemp("collector")) as it:
        yield it


@pytest.fixture
def edge(shared: Running) -> Running:
    """The module's collector, with nothing sent yet and no rate used up."""
    shared.producer.sent.clear()
    shared.collector.edge.form_rates.clear()
    shared.collector.edge.beacon_rates.clear()
    return shared
