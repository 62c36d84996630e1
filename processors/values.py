"""Small values of a connector: limits of time, where a lapse lay, attempts on their way, the opener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from processors.answers import Answer
from processors.backoff import Backoff, seconds
from processors.calls import Attempt, Call, OpenedPart
from schemas.errors import Bug
from schemas.ids import Micros
from schemas.models import RecordDelivered
from vault.port import Tx


class Opener(Protocol):
    """Opens deliveries for one processor inside a transaction; the only way to clear text."""

    def open(self, tx: Tx, deliveries: Sequence[RecordDelivered]) -> list[tuple[OpenedPart, ...]]:
        """Return per delivery and compartment its fields, or the code that keeps it closed."""

    def shut(self, tx: Tx) -> str | None:
        """Return the code that keeps everything closed for this processor now, None where nothing does."""


class Checks(Protocol):
    """Keeps what is found out about addresses, and holds back those that may not be handed out."""

    def enter(self, tx: Tx, deliveries: Sequence[RecordDelivered], call: Call | None, verdict: str) -> None:
        """Keep what this processor found out about the address it was given."""

    def held_back(self, tx: Tx, delivery: RecordDelivered, parts: Sequence[OpenedPart]) -> str | None:
        """Return the code that closes a delivery because of its address, None where nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take at most, in microseconds of the wall clock."""

    call: Micros = seconds(20)
    """The whole deadline of one call, login and redirects of time included."""
    lease: Micros = seconds(25)
    """How long an object belongs to one attempt: longer than any call, so that none lands after it."""
    closed: Micros = seconds(30)
    """How soon something that is closed for the time being is looked at again."""
    shut: Micros = seconds(2)
    """The same while the whole processor is suspended: a resumption must be felt at once."""
    refused: Micros = seconds(24 * 3600)
    """How soon a lapse that the recipient refused for good is asked of it again."""
    follow: Backoff = field(
        default_factory=lambda: Backoff(first=seconds(2), longest=seconds(6 * 3600), least=seconds(1))
    )
    """How soon, and how often, a recipient is asked how an erasure it accepted stands."""
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if self.lease <= self.call:
            raise Bug("bug", "a call's deadline must end before its lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a lapse lay on the processor's topic."""

    topic_id: bytes
    partition: int

    @property
    def bytes(self) -> bytes:
        """Both, as one value that names receipts."""
        return self.topic_id + self.partition.to_bytes(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt that a transaction has allowed: the lease is ours until `until`."""

    ref: bytes
    owner: bytes
    until: Micros
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A claim with the recipient's answer; `wait` is how long to leave the object alone if it needs more."""

    claim: Claim
    answer: Answer
    draw: float
    opens_at: Micros = Micros(0)
    """When the connector's gate lets calls through again."""
