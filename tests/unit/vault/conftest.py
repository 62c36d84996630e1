"""Fixtures of the vault's tests: every store under one suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import databases
from tests.unit.vault.worlds import STORES, World, open_world
from vault import columns


@pytest.fixture(autouse=True)
def wiped() -> Iterator[None]:
    """Give back what a test borrowed of the PostgreSQL server."""
    yield
    if databases.cache_info().currsize:
        databases().wipe()


@pytest.fixture(params=sorted(STORES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A new vault over each store."""
    made = open_world(request.param, tmp_path)
    yield made
    made.vault.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[World]:
    """A new vault in a file."""
    made = open_world("sqlite", tmp_path)
    yield made
    made.vault.close()


@pytest.fixture(params=[True, False], ids=["native", "plain"], scope="module")
def sealed_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Columns in C, where these work, and then in plain Python."""
    if request.param and columns.native() is None:
        pytest.skip(f"sealing {columns.in_use()}")
    columns.use(native=request.param)
    yield
    columns.use(native=True)
