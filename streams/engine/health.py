"""What one worker knows about itself: a live process is not health, progress and assigned partitions are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from streams.ledger import Place

STALL = 60_000_000
"""Microseconds without progress, while there is lag, after which a worker is not healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHealth:
    """A snapshot; times in microseconds since the epoch, lag in unsettled offsets per assigned partition."""

    state: Literal["starting", "running", "waiting", "stopping"]
    assigned: tuple[Place, ...]
    progress_at: int
    lag: Mapping[Place, int]
    waiting_for: str | None

    @property
    def total_lag(self) -> int | None:
        """Sum over the assigned partitions, None while the end of one is not known yet."""
        if self.state != "running" and not self.assigned:
            return None
        return sum(self.lag.values()) if set(self.lag) >= set(self.assigned) else None

    def healthy(self, now: int) -> bool:
        """Whether the worker waits for nothing and, if it has lag, has got on within the last minute."""
        if self.state == "stopping":
            return True
        moving = not any(self.lag.values()) or now - self.progress_at < STALL
        return self.state == "running" and moving


@dataclass(slots=True, kw_only=True)
class Status:
    """The engine's own notes, from which `EngineHealth` is made; touched on the main loop only."""

    now: Callable[[], int]
    progress_at: int = 0
    joined: bool = False
    stopping: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    """What is waited for, by who waits; the oldest entry is told first."""

    def wait_for(self, who: str, what: str | None) -> None:
        """Note what `who` waits for; None when it waits no more."""
        if what is None:
            self.reasons.pop(who, None)
        else:
            self.reasons[who] = what

    def progress(self) -> None:
        """Note that something has been settled."""
        self.progress_at = self.now()

    def snapshot(self, assigned: tuple[Place, ...], lag: Mapping[Place, int]) -> EngineHealth:
        """Everything at once."""
        waiting = next(iter(self.reasons.values()), None)
        if self.stopping:
            state: Literal["starting", "running", "waiting", "stopping"] = "stopping"
        elif waiting is not None:
            state = "waiting"
        else:
            state = "running" if self.joined else "starting"
        return EngineHealth(
            state=state, assigned=assigned, progress_at=self.progress_at, lag=lag, waiting_for=waiting
        )
