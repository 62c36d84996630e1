"""Times as outsiders read them."""

from datetime import UTC, datetime, timedelta

from schemas.ids import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(at: Micros) -> str:
    """The instant in RFC 3339, UTC, to the microsecond: `2026-11-22T17:00:00.000000Z`."""
    text = (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
