"""Lanes bring servers of their own; each is skipped with its reason where the machine cannot run them."""

from __future__ import annotations

import os

import pytest

from lapse.broker import jars
from schemas.errors import Unavailable


@pytest.fixture(autouse=True)
def _own_servers() -> None:
    """With `LAPSE_BOOTSTRAP` the machine is said to have no Java, which every lane needs."""
    if os.environ.get("LAPSE_BOOTSTRAP"):
        pytest.skip("LAPSE_BOOTSTRAP names a Kafka; lanes start their own")
    try:
        jars.find_java(os.environ)
    except Unavailable as missing:
        pytest.skip(str(missing))
