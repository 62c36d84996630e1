"""Units of time, and points in time as outsiders read them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from schemas.ids import Micros

SECOND = Micros(1_000_000)
"""Microseconds in a second."""
DAY = Micros(86_400 * SECOND)
"""Microseconds in a day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND - 1
"""The years 1 and 9999: what lies beyond has no spelling in RFC 3339, and reads as their edge."""


def rfc3339_once(at: int) -> str:
    """As `rfc3339`, for instants that do not come again: nothing is kept of them."""
    seconds, micros = divmod(at if _FIRST <= at <= _LAST else max(_FIRST, min(at, _LAST)), SECOND)
    return f"{_second(seconds)}.{micros:06d}Z" if micros else f"{_second(seconds)}Z"


@lru_cache(maxsize=4096)
def rfc3339(at: int) -> str:
    """The instant in UTC, `2026-11-22T17:00:00Z`, with six digits of a second where it is not whole."""
    return rfc3339_once(at)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """A whole second, which many events share."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
