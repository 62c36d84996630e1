"""How long a purpose may hold data: ISO 8601 durations and the three kinds of retention, as pure arithmetic.

Nothing here is open-ended: every retention gives every period a due date. Calendar months and years are
honoured (P6M from 31 August ends on the last day of February) and computed on plain integers, because a due
date is asked for with every record.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.ids import Micros
from schemas.models import Anchor
from schemas.times import DAY, SECOND

YEAR = 366 * DAY
"""The longest year there is; limits in years are measured with it."""

_GRAMMAR = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})W)?(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,7})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,11})(?:\.([0-9]{1,6}))?S)?)?",
    re.ASCII,
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Duration:
    """An ISO 8601 duration: whole calendar months and a rest in microseconds; `text` is what was written."""

    months: int
    micros: int
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Return the duration written as `P1Y6M`, `P2W`, `P30D` or `PT1.5S`; ValueError names no reason.

        Weeks may stand beside other parts, fractions only on seconds; signs and empty parts are refused.
        """
        found = _GRAMMAR.fullmatch(text)
        if found is None:
            raise ValueError("not an ISO 8601 duration")
        years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:7])
        fraction = int((found[8] or "").ljust(6, "0"))
        rest = ((weeks * 7 + days) * 24 + hours) * 60 + minutes
        return cls(years * 12 + months, (rest * 60 + seconds) * SECOND + fraction, text)

    @classmethod
    def of(cls, micros: int) -> "Duration":
        """Return a span without calendar months."""
        for unit, letter in ((3600 * SECOND, "H"), (60 * SECOND, "M"), (SECOND, "S")):
            if micros % unit == 0:
                return cls(0, micros, f"PT{micros // unit}{letter}")
        return cls(0, micros, f"PT{micros // SECOND}.{micros % SECOND:06d}S")

    def after(self, start: int) -> Micros:
        """Return the instant this long after `start` (microseconds since the epoch, UTC)."""
        if not self.months:
            return Micros(start + self.micros)
        day, rest = divmod(start, DAY)
        return Micros(_add_months(day, self.months) * DAY + rest + self.micros)

    @property
    def shortest(self) -> int:
        """The least it can last, in microseconds: six months are 181 days from 1 September."""
        return _extremes(self.months)[0] * DAY + self.micros

    @property
    def longest(self) -> int:
        """The most it can last, in microseconds."""
        return _extremes(self.months)[1] * DAY + self.micros

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{_GRAMMAR.pattern}$",
            "description": "ISO 8601 duration, such as P6M, P30D or PT20S",
        }

    @classmethod
    def _validate(cls, value: object) -> "Duration":
        if isinstance(value, Duration):
            return value
        try:
            return cls.parse(value if isinstance(value, str) else "")
        except ValueError:
            raise complaint(
                "this is not an ISO 8601 duration",
                "write it like P6M, P30D or PT20S, with a whole number before each letter",
            ) from None


def complaint(why: str, mend: str) -> PydanticCustomError:
    """Return a validation error that carries what is wrong and what would mend it."""
    return PydanticCustomError("policy", "{why}", {"why": why, "mend": mend})


def parse_instant(text: str) -> Micros:
    """Return a date (00:00 UTC) or an RFC 3339 time with its offset as microseconds; else ValueError."""
    if _DATE.fullmatch(text):
        return Micros((date.fromisoformat(text) - _EPOCH.date()).days * DAY)
    if not _INSTANT.fullmatch(text):
        raise ValueError("neither a date nor an RFC 3339 time")
    span = datetime.fromisoformat(text) - _EPOCH
    return Micros((span.days * 86_400 + span.seconds) * SECOND + span.microseconds)


def _instant(value: object) -> object:
    try:
        return parse_instant(value if isinstance(value, str) else "")
    except ValueError:
        raise complaint(
            "this is not a date of the calendar",
            "write 2018-05-24, or a time with its offset: 2018-05-24T09:00:00Z",
        ) from None


Instant = Annotated[
    Micros,
    BeforeValidator(_instant),
    WithJsonSchema(
        {"type": "string", "description": "A date (00:00 UTC), or an RFC 3339 time with its offset"}
    ),
]
"""An instant as a policy writes it; a date means its first moment in UTC."""


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fixed(_Rule):
    """Held for a span from collection: `for: P6M`."""

    for_: Duration = Field(alias="for")


class Anchored(_Rule):
    """Held for a span after something happens, and never longer than `at_most` from collection.

    The bucket carries the cap; the anchored date is a row per subject and purpose.
    """

    after: Anchor
    for_: Duration = Field(alias="for")
    at_most: Duration


class UntilReview(_Rule):
    """Held until the date at which somebody was to look again; lapses then (to keep longer, place a hold)."""

    until_review: Instant


def _kind(value: object) -> str:
    keys = value if isinstance(value, dict) else ()
    if "until_review" in keys:
        return "#review"
    return "#anchored" if "after" in keys or "at_most" in keys else "#fixed"


Retention = Annotated[
    Annotated[Fixed, Tag("#fixed")]
    | Annotated[Anchored, Tag("#anchored")]
    | Annotated[UntilReview, Tag("#review")],
    Discriminator(_kind),
]
"""`{for}`, `{after, for, at_most}` or `{until_review}`."""


def due(retention: Retention, start: int) -> Micros:
    """Return when the key of a period that starts at `start` dies; for an anchored retention its cap."""
    if isinstance(retention, UntilReview):
        return retention.until_review
    return cap(retention).after(start)


def anchored_due(retention: Anchored, reached_at: int, start: int) -> Micros:
    """Return when one person's data of the period from `start` lapses once the anchor was reached."""
    return min(retention.for_.after(reached_at), retention.at_most.after(start))


def cap(retention: Fixed | Anchored) -> Duration:
    """Return the longest span from collection."""
    return retention.at_most if isinstance(retention, Anchored) else retention.for_


def longest(retention: Retention, since: int) -> int:
    """Return the most a record collected at or after `since` can live, in microseconds."""
    if isinstance(retention, UntilReview):
        return max(0, retention.until_review - since)
    return cap(retention).longest


def shortest(retention: Retention, since: int) -> int:
    """Return the least it is meant to live, in microseconds; an anchor may be reached at once."""
    if isinstance(retention, UntilReview):
        return longest(retention, since)
    return min(retention.for_.shortest, cap(retention).shortest)


def never_longer(new: Retention, old: Retention) -> bool:
    """Tell whether `new` ends no later than `old`, whatever is collected; False where it cannot be told."""
    if isinstance(new, UntilReview) or isinstance(old, UntilReview):
        both = isinstance(new, UntilReview) and isinstance(old, UntilReview)
        return both and due(new, 0) <= due(old, 0)
    if isinstance(new, Anchored) and isinstance(old, Anchored) and new.after == old.after:
        return _shorter(new.for_, old.for_) and _shorter(new.at_most, old.at_most)
    # Another anchor may be reached at any time: only the cap of the new bounds it, only the span of the old.
    return _shorter(cap(new), old.for_) and _shorter(cap(new), cap(old))


def _shorter(new: Duration, old: Duration) -> bool:
    by_parts = new.months <= old.months and new.micros <= old.micros
    return by_parts or new.longest <= old.shortest


def spans(retention: Retention) -> tuple[Duration, ...]:
    """Return the durations a retention is made of; a review date has none."""
    if isinstance(retention, UntilReview):
        return ()
    return (retention.for_,) if isinstance(retention, Fixed) else (retention.for_, retention.at_most)


def _add_months(day: int, months: int) -> int:
    """Return the day number `months` later, the day of the month cut to the month's length."""
    year, month, of_month = _civil(day)
    years, month0 = divmod(month - 1 + months, 12)
    first = _day_number(year + years, month0 + 1)
    length = _day_number(year + years + (month0 == 11), (month0 + 1) % 12 + 1) - first
    return first + min(of_month, length) - 1


def _civil(day: int) -> tuple[int, int, int]:
    """Return year, month and day of a day number since 1970-01-01 (H. Hinnant, civil_from_days)."""
    era, in_era = divmod(day + 719_468, 146_097)
    year = (in_era - in_era // 1460 + in_era // 36_524 - in_era // 146_096) // 365
    in_year = in_era - (365 * year + year // 4 - year // 100)
    month = (5 * in_year + 2) // 153
    of_month = in_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return era * 400 + year + (month <= 2), month, of_month


def _day_number(year: int, month: int) -> int:
    """Return the day number of a month's first day (H. Hinnant, days_from_civil)."""
    year -= month <= 2
    era, in_era = divmod(year, 400)
    in_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5
    return era * 146_097 + in_era * 365 + in_era // 4 - in_era // 100 + in_year - 719_468


@lru_cache(maxsize=1)
def _firsts() -> tuple[int, ...]:
    """The day numbers of the first days of the months of 800 years; after 400 all comes again."""
    cycle = [_day_number(2000 + index // 12, index % 12 + 1) for index in range(_CYCLE)]
    return (*cycle, *(first + _CYCLE_DAYS for first in cycle), cycle[0] + 2 * _CYCLE_DAYS)


@lru_cache(maxsize=256)
def _extremes(months: int) -> tuple[int, int]:
    """Return the fewest and the most days that many calendar months can last, over a cycle of 400 years.

    From a first day to a first day they last what they last. From a month's end they last less where the last
    month is the shorter one: its end cuts the day of the month.
    """
    cycles, rest = divmod(months, _CYCLE)
    firsts = _firsts()
    lengths = [after - first for first, after in pairwise(firsts)]
    spans = [firsts[index + rest] - firsts[index] for index in range(_CYCLE)]
    cut = (span - max(0, lengths[i] - lengths[i + rest]) for i, span in enumerate(spans))
    return cycles * _CYCLE_DAYS + min(cut), cycles * _CYCLE_DAYS + max(spans)


_CYCLE, _CYCLE_DAYS = 4800, 146_097
"""Months and days of 400 years."""
