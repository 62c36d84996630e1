"""Whom a verb is about that answers a request: never somebody the request merely names beside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lapse import requests, rights
from lapse.access import alone
from lapse.main import Installation
from schemas.errors import BadInput, LapseError, NotFound, Refused
from schemas.ids import Micros, RequestId
from schemas.models import Right
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from tests.unit.stages.world import POLICY, START
from vault.factory import memory_vault
from vault.handles import alias_hash
from vault.values import AliasRow, RequestState

ANN, BOB = "email:ann@example.com", "email:bob@example.com"
NEW = "email:new@example.com"
ID, DAY = "07" * 16, 86_400_000_000


@pytest.fixture
def here() -> Installation:
    """An installation, as far as requests go, in which Ann and Bob are known."""
    vault = memory_vault(start=START)
    plan = compile_plan(load(POLICY.read_text(), where="policy"))
    plans = Plans([plan])
    made = cast(Installation, SimpleNamespace(vault=vault, plans=plans))
    with vault.transaction() as tx:
        for who in (ANN, BOB):
            state = tx.new_subject()
            tx.put_subjects([state])
            tx.put_aliases([AliasRow(hash=named(made, who), subject=state.number, since=START)])
    return made


def named(here: Installation, who: str) -> bytes:
    """The hash of an address."""
    return alias_hash(here.vault.secrets.alias, "email", who.partition(":")[2])


def wait(here: Installation, right: Right, *people: str, state: str = "received", ago: int = 0) -> None:
    """Let a request wait."""
    with here.vault.transaction() as tx:
        tx.put_request(
            RequestState(
                request_id=RequestId(bytes.fromhex(ID)),
                right=right,
                state=state,
                received_at=Micros(START - ago),
                alias_hashes=tuple(named(here, who) for who in people),
            )
        )


def test_who_was_shown_to_ask_is_all_that_counts(here: Installation) -> None:
    """A request that also names somebody else is about who the officer names, and nobody else."""
    wait(here, "access", ANN, BOB)
    assert requests.asked(here, ANN, "access", ID).hashes == (named(here, ANN),)
    with pytest.raises(Refused, match="shared"):
        alone(here, requests.asked(here, None, "access", ID).hashes, None)
    alone(here, requests.asked(here, None, "access", ID).hashes, "both came to the desk")


@pytest.mark.parametrize(
    ("who", "right", "state", "request_id", "error", "code"),
    [
        (None, "access", "received", None, BadInput, "usage"),
        (BOB, "access", "received", ID, BadInput, "bad_argument"),
        (ANN, "restriction", "received", ID, BadInput, "bad_argument"),
        (ANN, "access", "answered", ID, Refused, "conflict"),
        (ANN, "access", "received", "08" * 16, NotFound, "not_found"),
        (ANN, "access", "received", "7", BadInput, "bad_id"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_ordered(
    here: Installation,
    who: str | None,
    right: Right,
    state: str,
    request_id: str | None,
    error: type[LapseError],
    code: str,
) -> None:
    """Nobody named, somebody else, another right, answered already, no such request, no id."""
    wait(here, "access", ANN, state=state)
    with pytest.raises(error) as refused:
        requests.asked(here, who, right, request_id)
    assert refused.value.code == code


def test_requests_are_listed_by_the_day_they_are_due(here: Installation) -> None:
    """What waits too long says so; what was answered is listed only when asked for."""
    wait(here, "access", ANN, ago=31 * DAY)
    (row,) = requests.listed(here, every=False)
    assert (row["right"], row["overdue"], row["due"]) == ("access", True, "2027-01-14T08:00:00.000Z")
    wait(here, "access", ANN, state="answered", ago=31 * DAY)
    assert requests.listed(here, every=False) == []
    assert [each["overdue"] for each in requests.listed(here, every=True)] == [False]
    assert "ann" not in str(requests.listed(here, every=True)), "and never whom it names"


def test_the_trail_reads_as_lines() -> None:
    """One line a step, for people."""
    found: dict[str, Any] = {
        "request_id": ID,
        "trail": [
            {"at": "2027-01-15T08:00:00.000Z", "what": "received", "right": "access", "code": None},
            {"at": "2027-01-16T08:00:00.000Z", "what": "opened", "by": "eva", "reason": "access: asked"},
        ],
    }
    assert requests.in_words(found)["trail"] == [
        "2027-01-15 08:00:00 received access",
        "2027-01-16 08:00:00 opened eva access: asked",
    ]


@pytest.mark.parametrize(
    ("who", "erased"), [(ANN, (ANN, NEW)), (NEW, (NEW,)), (None, (ANN, BOB, NEW))], ids=["ann", "new", "all"]
)
def test_an_erasure_reaches_nobody_the_request_merely_names_beside(
    here: Installation, who: str | None, erased: tuple[str, ...]
) -> None:
    """It cannot be undone. What leads to nobody, or to who is named, is closed with them."""
    wait(here, "erasure", ANN, BOB, NEW)
    found = rights.reached(here, who, ID)
    assert set(found.hashes) == {named(here, each) for each in erased}
    assert found.request_id == bytes.fromhex(ID)
