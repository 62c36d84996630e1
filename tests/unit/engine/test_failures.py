"""Patience, discretion, bisection and the bug budget: what becomes of a stage's exceptions."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Bug, Conflict, Rejected, Unavailable
from streams.patience import discreet, patient
from streams.poison import BUGS_PER_MINUTE, BugBudget, bisect, offenders
from streams.ports import Chunk, Done, Inbound, Outcome, Seek, one_by_one


def chunk_of(*values: bytes) -> Chunk:
    """Records of a partition, from offset 7 on."""
    records = [Inbound(7 + n, 0, None, value) for n, value in enumerate(values)]
    return Chunk(topic="t", topic_id=b"i" * 16, partition=3, records=records)


async def test_an_unavailable_vault_is_waited_for() -> None:
    """The chunk is done again until it succeeds, and the reason is told meanwhile and taken back after."""
    told: list[str | None] = []
    tries = 0

    async def stage(_chunk: Chunk) -> Outcome:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("unavailable", "the vault is locked", "vault")
        return Done()

    handle = patient(one_by_one(stage), giving_up=lambda: False, note=told.append)
    assert await handle([chunk_of(b"1")]) == [Done()]
    assert tries == 3
    assert told == ["the vault is locked (vault)"] * 2 + [None]


async def test_a_conflict_is_tried_again_at_once() -> None:
    """A lost compare-and-swap is no outage: no waiting, nothing told."""
    told: list[str | None] = []
    tries = 0

    async def stage(_chunk: Chunk) -> Outcome:
        nonlocal tries
        tries += 1
        if tries < 50:
            raise Conflict("unavailable", "changed meanwhile")
        return Done()

    async with asyncio.timeout(2):
        handle = patient(one_by_one(stage), giving_up=lambda: False, note=told.append)
        assert await handle([chunk_of(b"1")]) == [Done()]
    assert told == [None]


@pytest.mark.parametrize("error", [Unavailable("unavailable", "away"), Conflict("unavailable", "lost")])
async def test_giving_up_drops_the_chunk(error: Unavailable) -> None:
    """A worker that stops gives its chunk up within a moment, as a seek to its first offset."""

    async def stage(_chunk: Chunk) -> Outcome:
        raise error

    async with asyncio.timeout(1):
        handle = patient(one_by_one(stage), giving_up=lambda: True, note=lambda _: None)
        assert await handle([chunk_of(b"1"), chunk_of(b"2")]) == [Seek(7), Seek(7)]


async def test_other_errors_are_not_waited_for() -> None:
    """What is not `Unavailable` goes through patience untouched."""

    async def stage(_chunk: Chunk) -> Outcome:
        raise Rejected("bug", "no")

    with pytest.raises(Rejected):
        await patient(one_by_one(stage), giving_up=lambda: False, note=lambda _: None)([chunk_of(b"1")])


async def test_a_foreign_exception_loses_its_text() -> None:
    """Type, line and place are kept; text, cause and context, which can hold a payload, are not."""

    async def stage(chunk: Chunk) -> Outcome:
        raise KeyError(chunk.records[0].value)

    with pytest.raises(Bug) as caught:
        await discreet(one_by_one(stage))([chunk_of(b"secret")])
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.what.startswith("KeyError in test_failures.py:")
    assert caught.value.where == "t/3 7-7"


async def test_our_own_errors_keep_their_words() -> None:
    """A `LapseError` says nothing personal and passes as it is."""

    async def stage(_chunk: Chunk) -> Outcome:
        raise Unavailable("unavailable", "away")

    with pytest.raises(Unavailable):
        await discreet(one_by_one(stage))([chunk_of(b"1")])


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_bisection_finds_exactly_the_offenders(poisoned: list[bool]) -> None:
    """Whatever the pattern, exactly the records that break the stage are found, in offset order."""
    chunk = chunk_of(*[b"poison" if bad else b"fine" for bad in poisoned])

    def judge(records: object) -> None:
        for record in records:  # type: ignore[attr-defined]
            if record.value == b"poison":
                raise ValueError

    async def stage(part: Chunk) -> Outcome:
        judge(part.records)
        return Done()

    expected = tuple(record for record in chunk.records if record.value == b"poison")
    assert offenders(judge, chunk.records) == expected
    assert asyncio.run(bisect(stage, chunk)) == expected


async def test_bisection_does_not_blame_records_for_an_outage() -> None:
    """`Unavailable` ends the search instead of condemning what it hits."""

    async def stage(_chunk: Chunk) -> Outcome:
        raise Unavailable("unavailable", "away")

    def judge(_records: object) -> None:
        raise Unavailable("unavailable", "away")

    with pytest.raises(Unavailable):
        await bisect(stage, chunk_of(b"1", b"2"))
    with pytest.raises(Unavailable):
        offenders(judge, chunk_of(b"1").records)
    assert offenders(judge, []) == ()


def test_a_few_bugs_a_minute_are_affordable() -> None:
    """The budget refills with time; one more than the limit within a minute stops the worker."""
    now = 0.0
    budget = BugBudget(lambda: now)
    budget.spend(BUGS_PER_MINUTE)
    now = 61.0
    for _ in range(BUGS_PER_MINUTE):
        budget.spend()
    with pytest.raises(Bug):
        budget.spend()
