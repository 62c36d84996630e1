"""Thousands of requests, mostly wrong, at the three servers: no fault, no leak, nothing that grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.unit.attack.flood import Answers, Target, flood
from tests.unit.attack.grammar import CANARY

SLICE, WARM = 4000, 1000
GROWTH_KIB = 16 * 1024
"""How much memory may grow after the warm-up; what the allocator keeps differs by a few MiB."""
MUTE = 0.3
"""Share of requests that may get no answer: of those that are damaged, many are cut short."""
LEFT_OPEN = 3
"""Files that may be open at the end and were not after the warm-up: a connection on its way out."""


def examine(at: Target, answers: Answers) -> None:
    """Nothing undocumented, malformed or leaking came back, and every kind of answer was met."""
    assert answers.wrong == [], answers.wrong[:3]
    assert {200, 202, 204, 400, 401, 403, 404, 405, 413, 415, 422} <= set(answers.statuses), answers.statuses
    assert at.process.poll() is None
    assert answers.statuses[0] < answers.sent * MUTE, answers.statuses
    log = at.log.read_text()
    assert CANARY not in log
    assert "Traceback" not in log and '"error"' not in log, log[-2000:]


@pytest.mark.timeout(600)
def test_no_request_of_the_grammar_makes_a_fault_a_leak_or_a_growth(attacked: Target) -> None:
    """4,000 times: documented statuses alone, no value repeated, memory and files as after the warm-up."""
    asyncio.run(flood(attacked, 0, WARM))
    memory, files = attacked.resident, attacked.files
    answers = asyncio.run(flood(attacked, 1, SLICE - WARM))
    assert answers.sent == SLICE - WARM
    examine(attacked, answers)
    assert attacked.resident - memory < GROWTH_KIB
    assert attacked.files <= files + LEFT_OPEN


@pytest.mark.soak
def test_a_hundred_thousand_requests(
    attacked: Target, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The same for 100,000, in ten seeds; the figures go to --junitxml."""
    asyncio.run(flood(attacked, 2, 5 * WARM))
    memory, files = attacked.resident, attacked.files
    for seed in range(10, 20):
        answers = asyncio.run(flood(attacked, seed, 10_000))
        examine(attacked, answers)
        record_testsuite_property(
            f"seed {seed}", f"{dict(answers.statuses)} {attacked.resident} KiB {attacked.files} files"
        )
    assert attacked.resident - memory < 2 * GROWTH_KIB
    assert attacked.files <= files + LEFT_OPEN
