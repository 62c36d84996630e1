"""Fixtures for every test: the broker of the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.broker import Broker


# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("lapse", deadline=None)
settings.load_profile("lapse")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long `make soak` runs, and on which seeds."""
    minutes = float(os.environ.get("LAPSE_SOAK_MINUTES", "10"))
    parser.addoption("--minutes", type=float, default=minutes, help="minutes of an ordeal (soak)")
    parser.addoption("--seeds", default="1,2", help="seeds of the ordeals (soak), comma-separated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed that was asked for."""
    if "seed" in metafunc.fixturenames:
        seeds = [int(seed) for seed in metafunc.config.getoption("--seeds").split(",")]
        metafunc.parametrize("seed", seeds)


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    """How long an ordeal lasts."""
    return float(request.config.getoption("--minutes"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka for the whole session, started by the first test that asks for it."""
    # Imported here so that unit tests need neither Java nor the Kafka clients.
    from tests.support.broker import running_broker

    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
