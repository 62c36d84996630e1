"""Points in time as outsiders read them."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.times import SECOND, rfc3339

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


@given(st.integers(FIRST, LAST) | st.integers(FIRST // SECOND, LAST // SECOND).map(lambda at: at * SECOND))
@example(0)
def test_times_are_written_as_the_library_writes_them(at: int) -> None:
    """Every instant of the years 1 to 9999, to the microsecond."""
    known = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    assert rfc3339(at) == known.isoformat().replace("+00:00", "Z")


@given(st.integers())
def test_every_time_has_a_spelling(at: int) -> None:
    """What lies beyond the calendar is its edge."""
    assert rfc3339(at) == rfc3339(max(FIRST, min(at, LAST)))
