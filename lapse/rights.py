"""What an officer orders about the use of a person's data: stop it, let it go on, end it by an objection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lapse import personal, requests
from lapse.commands import command, order
from lapse.main import Installation
from lapse.subjects import about
from schemas.errors import NotFound
from schemas.models import RestrictionLifted, Right


def restrict(
    here: Installation,
    who: str | None,
    purposes: list[str],
    reason: str,
    *,
    request: str | None,
    timeout: float,
) -> dict[str, Any]:
    """Order that what is held of a person is kept and used by nobody, for these purposes or for all.

    Returns once every opening is refused. `inform` names the recipients that may hold a copy in clear.
    """
    asked, detail = _decide(here, who, "restriction", purposes, reason, request, timeout)
    informed = {"inform": detail.get("inform", [])}
    return {"request_id": asked.request_id.hex(), "purposes": detail.get("purposes", []), **informed}


def objects(
    here: Installation,
    who: str | None,
    purposes: list[str],
    reason: str,
    *,
    request: str | None,
    timeout: float,
) -> dict[str, Any]:
    """Order that a person's objection ends these purposes, or all that rest on interests or consent."""
    asked, detail = _decide(here, who, "objection", purposes, reason, request, timeout)
    return {"request_id": asked.request_id.hex(), "purposes": detail.get("purposes", [])}


def erase(
    here: Installation, who: str | None, reason: str, request: str | None, timeout: float
) -> dict[str, Any]:
    """Order an erasure, as the answer to a request that waits if there is one."""
    asked = reached(here, who, request)
    asked = replace(asked, hashes=tuple(dict.fromkeys(asked.hashes)))
    requests.decide(here, asked, "erasure", who, reason, timeout)
    if request is not None:
        requests.close(here, asked.request_id, "erasure", "answered", reason, timeout)
    return {"request_id": asked.request_id.hex()}


def reached(here: Installation, who: str | None, request: str | None) -> requests.Asked:
    """Return whom an erasure is about: who is named, or everybody whom the request names.

    Beside a name also counts what the request names that leads to the same person or to nobody. Anyone can
    put somebody else's address beside their own, and an erasure cannot be undone.
    """
    asked = requests.asked(here, who, "erasure", request)
    if who is None or request is None:
        return asked
    named = requests.waiting(here, request).alias_hashes
    with here.vault.transaction(write=False) as tx:
        whom = set(personal.whose(tx, asked.hashes))
        theirs = [each for each in named if whom.issuperset(personal.whose(tx, [each]))]
    return replace(asked, hashes=tuple(theirs))


def unrestrict(
    here: Installation, who: str, purposes: list[str], reason: str, timeout: float
) -> dict[str, Any]:
    """Order that a restriction ends; returns for which purposes one stood, once they are used again."""
    _known(here, purposes)
    asked = requests.asked(here, who, "restriction", None)
    ordered = command(
        RestrictionLifted,
        here,
        request_id=asked.request_id,
        alias_hashes=list(asked.hashes),
        purposes=purposes,
        reason=about(who, reason),
    )
    detail = order(here, ordered, timeout)
    return {"request_id": asked.request_id.hex(), "purposes": detail.get("purposes", [])}


def _decide(
    here: Installation,
    who: str | None,
    right: Right,
    purposes: list[str],
    reason: str,
    request: str | None,
    timeout: float,
) -> tuple[requests.Asked, dict[str, Any]]:
    _known(here, purposes)
    asked = requests.asked(here, who, right, request)
    detail = requests.decide(here, asked, right, who, reason, timeout, purposes or asked.purposes)
    if request is not None:
        requests.close(here, asked.request_id, right, "answered", reason, timeout)
    return asked, detail


def _known(here: Installation, purposes: list[str]) -> None:
    known = here.plans.latest.purpose_numbers
    if any(name not in known for name in purposes):
        do = f"one of: {', '.join(known)}"
        raise NotFound("unknown_purpose", "the policy names no such purpose", "--purpose", do)
