"""Durations and due dates: never late, at most one period early, months as the calendar has them."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.ids import Micros
from schemas.retention import (
    Anchored,
    Duration,
    Fixed,
    Instant,
    Retention,
    UntilReview,
    anchored_due,
    cap,
    due,
    longest,
    never_longer,
    parse_instant,
    shortest,
    spans,
)
from schemas.times import DAY, SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
instants = st.integers(0, 8_000_000_000 * SECOND)
months = st.integers(0, 240)
durations = st.builds(
    Duration.parse,
    st.builds(
        "P{}Y{}M{}DT{}H{}S".format,
        st.integers(0, 10),
        st.integers(0, 24),
        st.integers(0, 400),
        st.integers(0, 48),
        st.integers(0, 100_000),
    ),
)
WIDTHS = [DAY // parts for parts in (1, 2, 3, 4, 6, 8, 12, 24, 86_400)]


def at(text: str) -> int:
    """Return an instant."""
    return parse_instant(text)


def retention(**keys: str) -> Retention:
    """Return a retention as a policy writes it."""
    found: Retention = TypeAdapter(Retention).validate_python({k.rstrip("_"): v for k, v in keys.items()})
    return found


def oracle(start: int, count: int) -> int:
    """Add calendar months by way of the standard library."""
    day = EPOCH + timedelta(microseconds=start)
    years, month0 = divmod(day.month - 1 + count, 12)
    year, month = day.year + years, month0 + 1
    moved = day.replace(year=year, month=month, day=min(day.day, monthrange(year, month)[1]))
    return (moved - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "count", "micros"),
    [
        ("P6M", 6, 0),
        ("P1Y6M", 18, 0),
        ("P2W", 0, 14 * DAY),
        ("P1W1D", 0, 8 * DAY),
        ("P30D", 0, 30 * DAY),
        ("PT20S", 0, 20 * SECOND),
        ("PT1.5S", 0, 1_500_000),
        ("PT0.000001S", 0, 1),
        ("P1DT12H30M", 0, DAY + 45_000 * SECOND),
        ("PT0S", 0, 0),
    ],
)
def test_parse(text: str, count: int, micros: int) -> None:
    """ISO 8601 durations are months and a rest, and print as they were written."""
    found = Duration.parse(text)
    assert (found.months, found.micros, str(found)) == (count, micros, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "6M",
        "-P1D",
        "P-1D",
        "P1.5D",
        "P1M1Y",
        "PT1,5S",
        "p6m",
        " P6M",
        "P6M\n",
        "P٣M",
        "P99999Y",
    ],
)
def test_parse_refuses(text: str) -> None:
    """What is no duration is refused, also nearly right ones."""
    with pytest.raises(ValueError, match="not an ISO 8601 duration"):
        Duration.parse(text)


@given(st.integers(0, 10**15))
def test_of_reads_back(micros: int) -> None:
    """A span written by us reads as the same span."""
    assert Duration.parse(Duration.of(micros).text) == Duration.of(micros)


@pytest.mark.parametrize(
    ("start", "span", "end"),
    [
        ("2024-08-31", "P6M", "2025-02-28"),
        ("2023-08-31", "P6M", "2024-02-29"),
        ("2024-02-29", "P1Y", "2025-02-28"),
        ("2024-02-29", "P4Y", "2028-02-29"),
        ("2096-02-29", "P4Y", "2100-02-28"),
        ("2000-02-29", "P400Y", "2400-02-29"),
        ("2024-01-31", "P1M", "2024-02-29"),
        ("2024-01-31", "P1M1D", "2024-03-01"),
        ("2024-12-31", "P2M", "2025-02-28"),
        ("1999-12-31T23:59:59.999999Z", "P1M", "2000-01-31T23:59:59.999999Z"),
    ],
)
def test_calendar(start: str, span: str, end: str) -> None:
    """Months end where the calendar ends them, leap years included."""
    assert Duration.parse(span).after(at(start)) == at(end)


@given(instants, months)
def test_months_agree_with_the_standard_library(start: int, count: int) -> None:
    """Our integer arithmetic and Python's datetime give the same instant."""
    assert Duration(count, 0, "").after(start) == (oracle(start, count) if count else start)


FIRSTS = [(date(2000 + month // 12, month % 12 + 1, 1) - EPOCH.date()).days for month in range(4801)]
"""The first days of the months of 400 years, after which all comes again."""


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 11, 12, 13, 18, 24, 47, 48, 1200, 4801])
def test_shortest_and_longest_are_the_least_and_the_most(count: int) -> None:
    """Tried from the first and the last day of every month: in between nothing lasts less or more."""
    span = Duration.parse(f"P{count}M")
    days = [*FIRSTS[:-1], *(first - 1 for first in FIRSTS[1:])]
    lasted = {span.after(Micros(day * DAY)) - day * DAY for day in days}
    assert (span.shortest, span.longest) == (min(lasted), max(lasted))


@given(instants, durations)
def test_shortest_and_longest_hold(start: int, span: Duration) -> None:
    """No start makes a duration shorter or longer than it says it can be."""
    assert span.shortest <= span.after(start) - start <= span.longest


@given(instants, st.sampled_from(WIDTHS), durations)
def test_never_late_and_at_most_a_width_early(collected: int, width: int, span: Duration) -> None:
    """A key dies no later than retention after collection, and less than one period before that."""
    start = collected // width * width
    exact = span.after(collected)
    assert exact - width < due(Fixed.model_validate({"for": span}), start) <= exact


@given(instants, st.integers(1, 90 * DAY), st.integers(0, 10**15))
def test_spans_without_months_allow_any_width(collected: int, width: int, micros: int) -> None:
    """Without calendar months the same holds for periods of any width."""
    start = collected // width * width
    found = due(Fixed.model_validate({"for": Duration.of(micros)}), start)
    assert collected + micros - width < found <= collected + micros


@given(instants, instants, durations, durations)
def test_anchored(start: int, reached: int, span: Duration, most: Duration) -> None:
    """An anchored date never passes the cap, whenever the anchor is reached."""
    found = Anchored.model_validate({"after": "last_activity", "for": span, "at_most": most})
    assert due(found, start) == most.after(start) == cap(found).after(start)
    assert anchored_due(found, reached, start) == min(span.after(reached), most.after(start))


def test_until_review() -> None:
    """Every period of a retention until review ends at the review."""
    found = retention(until_review="2026-12-31")
    assert isinstance(found, UntilReview)
    assert due(found, 0) == due(found, at("2026-06-01")) == at("2026-12-31")
    assert longest(found, at("2026-12-01")) == shortest(found, at("2026-12-01")) == 30 * DAY
    assert longest(found, at("2027-01-01")) == 0
    assert spans(found) == ()


def test_spans() -> None:
    """A retention knows the durations it is made of; an anchor may be reached at once."""
    fixed, anchored = retention(for_="P30D"), retention(after="last_activity", for_="P30D", at_most="P1Y")
    assert [str(span) for span in spans(fixed)] == ["P30D"]
    assert [str(span) for span in spans(anchored)] == ["P30D", "P1Y"]
    assert (shortest(anchored, 0), longest(anchored, 0)) == (30 * DAY, 366 * DAY)
    assert (shortest(fixed, 0), longest(fixed, 0)) == (30 * DAY, 30 * DAY)


REVIEW, LATER = {"until_review": "2026-12-31"}, {"until_review": "2027-12-31"}
ANCHORED = {"after": "last_activity", "for_": "P6M", "at_most": "P2Y"}


@pytest.mark.parametrize(
    ("new", "old", "holds"),
    [
        ({"for_": "P6M"}, {"for_": "P6M"}, True),
        ({"for_": "P180D"}, {"for_": "P6M"}, True),
        ({"for_": "P182D"}, {"for_": "P6M"}, False),
        ({"for_": "P6M"}, {"for_": "P184D"}, True),
        ({"for_": "P6M"}, {"for_": "P183D"}, False),
        ({"for_": "P12M"}, {"for_": "P1Y"}, True),
        ({"for_": "P1Y1D"}, {"for_": "P1Y"}, False),
        ({"for_": "P6M"}, ANCHORED, True),
        ({"for_": "P7M"}, ANCHORED, False),
        (ANCHORED, {"for_": "P2Y"}, True),
        (ANCHORED, {"for_": "P1Y"}, False),
        (ANCHORED, ANCHORED, True),
        (ANCHORED | {"for_": "P7M"}, ANCHORED, False),
        (ANCHORED | {"at_most": "P3Y"}, ANCHORED, False),
        (ANCHORED | {"after": "account_closed"}, ANCHORED, False),
        (ANCHORED | {"after": "account_closed", "for_": "P1M", "at_most": "P6M"}, ANCHORED, True),
        (REVIEW, LATER, True),
        (LATER, REVIEW, False),
        (REVIEW, {"for_": "P99Y"}, False),
        ({"for_": "P1D"}, REVIEW, False),
    ],
)
def test_never_longer(new: dict[str, str], old: dict[str, str], holds: bool) -> None:
    """A retention counts as no longer only where no start could make it end later."""
    assert never_longer(retention(**new), retention(**old)) is holds


@given(instants, durations, durations)
def test_never_longer_is_true(start: int, new: Duration, old: Duration) -> None:
    """Where it says so, no record of any time ends later than before."""
    if never_longer(Fixed.model_validate({"for": new}), Fixed.model_validate({"for": old})):
        assert new.after(start) <= old.after(start)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-02", DAY),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T01:00:00.5+01:00", 500_000),
        ("1969-12-31", -DAY),
        ("2024-02-29", 19_782 * DAY),
    ],
)
def test_instants(text: str, micros: int) -> None:
    """Dates and times with an offset are microseconds since the epoch."""
    assert TypeAdapter(Instant).validate_python(text) == micros


@pytest.mark.parametrize(
    "value",
    ["2023-02-29", "2024-01-01T00:00:00", "20240101", "2024-1-1", "", 5, None, "2024-01-01T25:00:00Z"],
)
def test_instants_refused(value: object) -> None:
    """A time without an offset has no meaning, and neither has a day the calendar does not know."""
    with pytest.raises(ValidationError, match="not a date of the calendar"):
        TypeAdapter(Instant).validate_python(value)


def test_a_duration_passes_through_a_model() -> None:
    """Models take durations as text or ready, and give them back as they were written."""

    class Held(BaseModel):
        span: Duration

    held = Held.model_validate({"span": "P1Y"})
    assert held.span == Duration.parse("P12M")
    assert Held(span=held.span).model_dump_json() == '{"span":"P1Y"}'
    with pytest.raises(ValidationError, match="not an ISO 8601 duration"):
        Held.model_validate({"span": 5})


@pytest.mark.parametrize("value", [None, "P6M", {}, {"for": "P6M", "until_review": "2026-12-31"}])
def test_no_retention(value: object) -> None:
    """Nothing open-ended and nothing ambiguous is a retention."""
    with pytest.raises(ValidationError):
        TypeAdapter(Retention).validate_python(value)
