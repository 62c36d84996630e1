"""May this recipient be called now: circuit breaker and pause of one connector, as one state machine.

closed -> (several failures in a row) -> open until a cool-down has passed -> half open: one probe decides ->
closed or open for twice as long. A pause keeps everything back whatever the circuit says; without an end it
is a *disabled* connector, which only `enable` (an operator, or the next start) opens again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from processors.backoff import seconds
from schemas.ids import Micros

NEVER = Micros(2**62)
"""A time that does not come."""


@dataclass(slots=True, kw_only=True)
class Gate:
    """The state for one connector; every time is wall-clock microseconds, given as an argument."""

    failures_to_open: int = 5
    cool_down: Micros = seconds(5)
    longest: Micros = seconds(300)
    _failures: int = field(default=0, init=False)
    _openings: int = field(default=0, init=False)
    _open_until: Micros = field(default=Micros(0), init=False)
    _paused_until: Micros = field(default=Micros(0), init=False)
    _probing_since: Micros | None = field(default=None, init=False)
    code: str | None = field(default=None, init=False)
    """Why nothing is called, while nothing is."""

    def opens_at(self, now: Micros) -> Micros:
        """Return when a call may next be made: `now` or earlier means at once."""
        until = max(self._open_until, self._paused_until)
        if until <= now and self._probing_since is not None and now - self._probing_since < self.longest:
            return Micros(now + self.cool_down)
        return until

    def enter(self, now: Micros) -> bool:
        """Claim one call; in the half-open state only a single one is let through."""
        if self.opens_at(now) > now:
            return False
        if self._openings:
            self._probing_since = now
        return True

    def succeeded(self) -> None:
        """The recipient answered sensibly, if only to refuse one object: it is well."""
        self._failures = self._openings = 0
        self._open_until = Micros(0)
        self._probing_since = self.code = None

    def failed(self, now: Micros, code: str) -> None:
        """The recipient did not answer, or said that it cannot."""
        self._failures += 1
        if self._probing_since is not None or self._failures >= self.failures_to_open:
            self._open_until = Micros(now + min(self.longest, self.cool_down << min(self._openings, 20)))
            self._openings += 1
            self._failures, self._probing_since, self.code = 0, None, code

    def pause(self, now: Micros, code: str, after: Micros | None) -> None:
        """Keep everything back for `after`, or until `enable` where it is None."""
        self._paused_until = NEVER if after is None else Micros(max(self._paused_until, now + after))
        self._probing_since, self.code = None, code

    def enable(self) -> None:
        """Forget every pause and failure."""
        self._paused_until = Micros(0)
        self.succeeded()

    @property
    def disabled(self) -> bool:
        """Whether nothing is called until somebody looks."""
        return self._paused_until == NEVER
