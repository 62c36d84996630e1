"""The systems these tests run against; at most two are up at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.live.system import STEADY, System


@pytest.fixture(scope="session")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The session's system, on the host's clock: tests use people of their own, processors stay approved."""
    with System(tmp_path_factory.mktemp("steady") / "data", STEADY).from_nothing() as system:
        yield system


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of the module's own whose clock stands still until a test advances it."""
    with System(tmp_path_factory.mktemp("manual") / "data", STEADY, clock="manual").from_nothing() as system:
        yield system
