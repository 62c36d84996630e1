"""One thing looked at: how it stands, its figure, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "BAD", "to do", "unknown"]
"""`to do`: it is not set up yet, and nothing suffers from that so far; `unknown`: it could not be looked at,
because something else is away that has a finding of its own.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check says; `where` and `do` only where somebody has to act or look."""

    check: str
    state: State
    figure: str
    where: str | None = None
    do: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is amiss: what is not set up yet is no fault."""
        return self.state != "BAD"

    def as_row(self) -> dict[str, Any]:
        """As a row of the answer."""
        return {
            "check": self.check,
            "state": self.state,
            "figure": self.figure,
            "where": self.where,
            "do": self.do,
        }


def well(check: str, figure: str, where: str | None = None) -> Finding:
    """It is as it should be."""
    return Finding(check=check, state="ok", figure=figure, where=where)


def to_do(check: str, figure: str, *, where: str, do: str) -> Finding:
    """Somebody has to set it up before it works, and nothing waits for that."""
    return Finding(check=check, state="to do", figure=figure, where=where, do=do)


def bad(check: str, figure: str, *, where: str, do: str) -> Finding:
    """Somebody has to act."""
    return Finding(check=check, state="BAD", figure=figure, where=where, do=do)
