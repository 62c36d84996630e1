"""What is known of a request before its body is judged: who sent it, when, from where, with which signals."""

from collections.abc import Mapping

from lapse.collector.http import Problem
from schemas.ids import Micros
from schemas.models import Clear
from schemas.plan import PolicyPlan


class Arrival(Clear, frozen=True, kw_only=True):
    """A request's circumstances; `server` is true for a bearer token, false for a browser's site key."""

    site: str
    server: bool
    at: Micros
    plan: PolicyPlan
    address: str | None = None
    user_agent: str | None = None
    signals: tuple[str, ...] = ()
    idempotency_key: str | None = None

    def only_servers(self, given: object, where: str) -> None:
        """Raise Problem 401 if a browser sent what only a server's bearer token may."""
        if given is not None and not self.server:
            raise Problem(401, "unauthorized", "only a server's bearer token may send this", where)


def browser_signals(headers: Mapping[str, str]) -> tuple[str, ...]:
    """`gpc` for `Sec-GPC: 1`; `DNT: 1` says the same by default, and its own name besides."""
    if "dnt" in headers and headers["dnt"].strip() == "1":
        return ("gpc", "dnt")
    return ("gpc",) if "sec-gpc" in headers and headers["sec-gpc"].strip() == "1" else ()


def joined(first: tuple[str, ...], more: list[str]) -> list[str]:
    """Both, each signal once, in order."""
    return list(dict.fromkeys((*first, *more))) if first or more else []
