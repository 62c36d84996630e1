"""Times as outsiders read them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from schemas.ids import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def rfc3339(at: Micros) -> str:
    """The instant in RFC 3339, UTC, to the microsecond: `2026-11-22T17:00:00.000000Z`."""
    seconds, micros = divmod(at, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """A whole second, which many events share."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
