"""What is known of a request before its body is judged: who sent it, when, from where, with which signals."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapse.collector.http import Problem
from schemas.ids import Micros
from schemas.plan import PolicyPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request's circumstances; `server` is true for a bearer token, false for a browser's site key."""

    site: str
    server: bool
    at: Micros
    plan: PolicyPlan
    address: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    signals: tuple[str, ...] = ()
    idempotency_key: str | None = field(default=None, repr=False)

    def only_servers(self, given: object, where: str) -> None:
        """Raise Problem 401 if a browser sent what only a server's bearer token may."""
        if given is not None and not self.server:
            raise Problem(401, "unauthorized", "only a server's bearer token may send this", where)


def browser_signals(headers: Mapping[str, str]) -> tuple[str, ...]:
    """`gpc` for `Sec-GPC: 1`; `DNT: 1` says the same by default, and its own name besides."""
    if headers.get("dnt", "").strip() == "1":
        return ("gpc", "dnt")
    return ("gpc",) if headers.get("sec-gpc", "").strip() == "1" else ()


def joined(first: tuple[str, ...], more: list[str]) -> list[str]:
    """Both, each signal once, in order."""
    return list(dict.fromkeys((*first, *more)))
