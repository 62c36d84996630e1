"""One set of servers for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.unit.attack.flood import Target, target
from tests.unit.attack.servers import GENEROUS, Servers, all_three


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """The module's servers; whoever counts what was published clears `sent` first."""
    async with all_three(tmp_path_factory.mktemp("servers"), GENEROUS) as running:
        yield running


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The three servers in a process of their own, for those who flood them."""
    with target(tmp_path_factory.mktemp("attacked")) as running:
        yield running
