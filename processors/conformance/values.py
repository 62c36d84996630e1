"""Small values of a run: what it is made of, and how it ends early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.ids import Micros
from schemas.models import Depersonalized

START = Micros(1_795_000_000_000_000)
NAME = "conform"
USE_UNTIL = Micros(10**16)
"""When what is delivered in a run may be used no longer; no run gets there."""
WAITS = (0.0, 30.0, 120.0, *(900.0,) * 4, *(3600.0,) * 6, *(6 * 3600.0,) * 8, *(25 * 3600.0,) * 6)
"""Seconds between looks until a connector has nothing left to do: about nine days in all."""


class Broken(Exception):
    """What a situation promises did not hold; the message is for people and has no values."""


class NotApplicable(Exception):
    """The situation cannot come up with this recipient; the message says why."""


class Died(Exception):
    """A worker was told to die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One record of a chunk (`processors.connector.InboundLike`)."""

    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk (`processors.connector.ChunkLike`)."""

    topic_id: bytes
    partition: int
    records: Sequence[Parcel]


@dataclass(slots=True, eq=False)
class Lapse:
    """A lapse as the suite knows it."""

    event: Depersonalized
    about: str

    @property
    def id(self) -> bytes:
        """Its id."""
        return self.event.lapse_id


@dataclass(slots=True)
class Clock:
    """The wall clock of a run; it moves when told."""

    now: Micros = START

    def __call__(self) -> Micros:
        """Return the time."""
        return self.now

    def pass_(self, wait: float) -> None:
        """Let so many seconds pass."""
        self.now = Micros(self.now + int(wait * 1_000_000))
