"""The kit proves something: each situation catches the connector that gets it wrong, and no right one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.conformance import IDS, Party, play
from processors.conformance.cases import CASES
from processors.manifest import Deletion
from tests.unit.conformance.rest import MANIFEST, party

WRONG = {
    "only_granted": ["sends all"],
    "redelivery": ["names it anew each time"],
    "out_of_order": ["the first write wins"],
    "lapse_before": ["opens by itself"],
    "lapse_between": ["leaves what retention ends"],
    "lapse_after": ["forgets to blank"],
    "periods": ["blanks everything"],
    "slow_withdrawal": ["writes in the background"],
    "slow_erasure": ["writes in the background"],
    "slow_recall": ["writes in the background"],
    "lost_answer": ["makes another where it knows none"],
    "storm": ["gives up at 429"],
    "storm_told": ["ignores Retry-After"],
    "quota": ["tries again and again"],
    "login_expired": ["gives up at 401"],
    "partial": ["only the first request counts", "says that nothing was done"],
    "malformed": ["reads no answer"],
    "claims_deletion": ["sees nothing"],
    "suspended": ["makes up for it at the next call"],
    "ends_later": ["takes accepted for done"],
    "forgotten": ["asks for ever"],
    "restart": ["remembers only in memory"],
    "receipts": ["takes accepted for done"],
    "silent": ["logs values"],
}
"""Per situation what a connector may get wrong that nothing else than it is there to catch."""
MUTANTS = [(name, wrong) for name, several in WRONG.items() for wrong in several]


def test_every_situation_is_played_and_has_a_mutant() -> None:
    """A situation that nothing fails proves nothing."""
    assert tuple(CASES) == IDS
    assert tuple(WRONG) == IDS


@pytest.mark.parametrize("name", IDS)
async def test_a_right_connector_holds(name: str) -> None:
    """So what fails a mutant is what it gets wrong."""
    result = await play(party(), name, most=4)
    assert result.held == "held", (result.why, *result.trace)


@pytest.mark.parametrize(("name", "wrong"), MUTANTS, ids=[f"{n}-{w}" for n, w in MUTANTS])
async def test_a_wrong_connector_is_caught(name: str, wrong: str) -> None:
    """By the situation that is there for it, with a trace of the run."""
    result = await play(_mutant(wrong), name)
    assert result.held == "failed"
    assert result.why
    assert result.trace


@pytest.mark.parametrize("deletion", ["overwritten", "by_hand", "nothing_kept"])
async def test_more_than_the_manifest_offers_is_caught(deletion: Deletion) -> None:
    """A receipt that says completed where the interface can do no such thing."""
    weaker = replace(party(), manifest=replace(MANIFEST, deletion=deletion))
    result = await play(weaker, "receipts")
    assert (result.held, "completed" in result.why) == ("failed", True)


def _mutant(wrong: str) -> Party:
    return party(wrong, later=wrong == "takes accepted for done")
