"""The year's judge finds each kind of growth, and its pictures are whole."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.year.chart import Panel, draw
from benchmarks.year.judging import judge, slope
from benchmarks.year.looks import Look
from benchmarks.year.run import change
from lapse.main import shipped_policy
from schemas.policy import load
from schemas.policy.changes import diff
from tests.soak.stages_year import StagesYear, sheet, too_many
from vault.tables import TABLES

ROWS = {table.name: 3 for table in TABLES} | {"open buckets": 3}
DAYS = range(0, 365, 7)


def look(day: int) -> Look:
    """A week in which nothing grows."""
    return Look(
        day=day,
        sent=20 * (day + 1),
        people=5 * (day + 1),
        rss={"tag": 110.0, "broker": 300.0 + day},
        open_files={"tag": 30},
        threads={"tag": 8},
        disk={"vault": 3.0, "broker intake": 0.0, "broker decisions": 0.01 * day},
        files={"broker": 400},
        rows=ROWS,
    )


FLAT = [look(day) for day in DAYS]


def grown(**changes: dict[str, float]) -> list[Look]:
    """The same weeks with figures that grow by so much a day."""
    return [_later(each, changes) for each in FLAT]


def _later(week: Look, changes: dict[str, dict[str, float]]) -> Look:
    def added(what: str) -> dict[str, float]:
        figures: dict[str, float] = getattr(week, what)
        return figures | {k: figures.get(k, 0) + v * week.day for k, v in changes[what].items()}

    new: dict[str, Any] = {what: added(what) for what in changes}
    return replace(week, **new)


def test_a_flat_year_is_flat() -> None:
    """Nothing is said of a year in which nothing grows; Kafka's own heap is no finding."""
    assert judge(FLAT) == []


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (grown(rss={"tag": 0.2}), "memory of tag grows by 73 MiB a year"),
        (grown(open_files={"tag": 0.1}), "open files of tag"),
        (grown(threads={"tag": 0.1}), "threads of tag"),
        (grown(rows={"outbox": 1}), "table outbox"),
        (grown(rows={"meta": 10}), "table meta"),
        (grown(rows={"subject": 30}), "table subject"),
        (grown(rows={"bucket": 40}), "table bucket"),
        (grown(disk={"broker intake": 0.01}), "of intake are still on the disk"),
        (grown(disk={"broker decisions": 1}), "KiB of log for each event"),
    ],
)
def test_what_grows_is_named(looks: list[Look], said: str) -> None:
    """Each kind of growth has its sentence, and only its own."""
    [found] = judge(looks)
    assert said in found


def test_a_slope_is_that_of_the_line_of_least_squares() -> None:
    """Two points, and three with noise around a line."""
    assert slope([(0, 0), (2, 4)]) == 2
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert slope([(1, 1)]) == 0


def test_each_policy_of_the_year_may_follow_the_one_before() -> None:
    """Shorter, then longer under new terms: publishing refuses none of them."""
    text, day = shipped_policy("company").read_text(), dt.date(2027, 1, 1)
    for version in (2, 3, 4, 5):
        before = load(text, where="before")
        text = change(text, version, day)
        day += dt.timedelta(days=120)
        found = diff(before, load(text, where="after"))
        assert not found.of("refused")
        assert found.all


def test_the_picture_is_whole_svg() -> None:
    """It parses, and each line has a point for each day."""
    sheet = draw("A & B", [Panel(title="<rows>", lines={"a": [(0, 1), (7, 3)], "b": [(0, 0), (7, 0)]})])
    lines = ET.fromstring(sheet).findall(".//{http://www.w3.org/2000/svg}polyline")  # noqa: S314 - our own text
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


async def test_a_week_of_the_stages_leaves_no_table_with_more_than_there_is_reason_for(
    tmp_path: Path,
) -> None:
    """Nine days of the company's policy on SQLite: keys lapse, event ids are forgotten, all ends."""
    year = StagesYear(tmp_path)
    looks = await year.run(9)
    assert too_many(looks) == []
    assert "<polyline" in sheet(looks)
    with closing(sqlite3.connect(year.file)) as connection:
        ended = connection.execute("SELECT DISTINCT purpose FROM bucket WHERE state = 'destroyed'").fetchall()
        (seen,) = connection.execute("SELECT count(*) FROM seen").fetchone()
    assert ended == [("address_check",)]
    assert seen < year.sent
    assert {what for what, _, _ in year.world.findings} == {"command refused: not_approved"}, "Privacy Shield"


def test_a_table_that_grows_is_named() -> None:
    """The judge of the stages' year speaks of what has more rows than people, keys and days explain."""
    rows = {**ROWS, "open buckets": 10}
    week = {"day": 365, "sent": 5000, "people": 900, "mib": 3.0, "rows": rows}
    assert too_many([week]) == []
    assert too_many([{**week, "rows": {**rows, "meta": 5000}}]) == ["meta: 5000 rows"]
