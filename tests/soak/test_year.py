"""A simulated year of a small company: what should be flat is flat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.year.judging import judge
from benchmarks.year.run import Year
from benchmarks.year.town import Plenty, Town
from tests.soak.stages_year import StagesYear, too_many


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_a_year_leaves_memory_files_and_rows_where_they_belong(tmp_path: Path) -> None:
    """365 days of lapses, withdrawals, erasures, holds, policies, epochs: nothing grows that should not."""
    year = Year(folder=tmp_path, days=365, town=Town(seed=4), say=print)
    assert judge(year.run()) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_fortnight_of_it_runs_through(tmp_path: Path) -> None:
    """The same, short: all is accepted and routed, keys lapse, rows are bounded, every role is watched."""
    town = Town(seed=5, plenty=Plenty(new_people=2, known_people=2, views=4))
    looks = Year(folder=tmp_path, days=14, town=town, say=lambda _line: None).run()
    assert [each.day for each in looks] == [0, 7, 14]
    assert judge(looks) == []
    last = looks[-1]
    assert last.rows["bucket"] > last.rows["open buckets"] > 0  # address_check lapses after seven days
    assert set(last.rss) >= {"collector", "tag", "route", "govern", "expire", "connect", "keys", "broker"}
    assert json.loads((tmp_path / "data" / "lapse.json").read_text())["clock"] == "manual"


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_year_of_the_stages_leaves_no_table_with_more_than_there_is_reason_for(
    tmp_path: Path,
) -> None:
    """365 days without a broker: rows follow people, living keys and the last days, and nothing else."""
    assert too_many(await StagesYear(tmp_path, seed=4).run(365)) == []
