"""When to try again: exponential backoff with full jitter, bounded, and never sooner than the recipient asks.

Full jitter (a uniform draw from nothing to the exponential bound) spreads the retries of many objects that
failed together, so that a recipient coming back is not met by all of them at once.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from schemas.ids import Micros
from schemas.times import SECOND


def seconds(amount: float) -> Micros:
    """Return a span of seconds in microseconds."""
    return Micros(int(amount * SECOND))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """`first` bounds the first wait, each next bound doubles up to `longest`, no wait is below `least`."""

    first: Micros = seconds(2)
    longest: Micros = seconds(900)
    least: Micros = seconds(0.5)
    obey_up_to: Micros = seconds(24 * 3600)
    """A wish longer than this is cut: a recipient must not park a lapse for a year by one header."""

    def wait(self, attempts: int, draw: float, wish: Micros | None = None) -> Micros:
        """Return how long to wait after `attempts` failures (1 or more); `draw` is uniform in [0, 1)."""
        bound = min(self.longest, self.first << min(attempts - 1, 40))
        jittered = max(self.least, int(bound * draw))
        return Micros(max(jittered, min(wish or 0, self.obey_up_to)))


def retry_after(header: str | None, now: Micros | None) -> Micros | None:
    """Return the wish of a Retry-After header, in seconds or as a date (RFC 9110 section 10.2.3).

    None where unreadable; a date is, where no clock tells how far it is.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 12:
        return Micros(int(text) * SECOND)
    if now is None:
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    try:
        return Micros(max(0, int(aware.timestamp() * SECOND) - now))
    except (OverflowError, OSError):
        return None
