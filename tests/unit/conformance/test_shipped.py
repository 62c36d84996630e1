"""Every connector that ships comes through every situation, and the page says so."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from processors.conformance import IDS, Result, parties, play
from processors.conformance.table import PAGE, block, found
from processors.registry import KINDS

KINDS_CALLED = parties.present()


@cache
def result(kind: str, name: str) -> Result:
    """Return how a connector came through a situation: played once, for its own test and the table."""
    return asyncio.run(play(parties.shipped(kind), name))


def test_every_connector_that_calls_somebody_is_put_to_the_proof() -> None:
    """None is left out: a new vendor's module has to say how its stand-in says no."""
    assert ["webhook", *(kind.name for kind in KINDS if kind.vendor)] == KINDS_CALLED


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", KINDS_CALLED)
def test_a_connector_holds(kind: str, name: str) -> None:
    """Or the situation cannot come up with it, and the page says why."""
    came = result(kind, name)
    assert came.held != "failed", "\n".join((came.why, *came.trace))


def test_the_table_of_the_page_is_what_a_run_comes_to() -> None:
    """`python -m processors.conformance --table` writes it."""
    results = {kind: [result(kind, name) for name in IDS] for kind in KINDS_CALLED}
    assert found(PAGE.read_text(encoding="utf-8")) == block(results)
