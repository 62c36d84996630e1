"""What operators do about one person: look, record a consent or a withdrawal, erase."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any, cast, get_args

from lapse.cli.output import moment
from lapse.commands import publish
from lapse.main import Installation
from lapse.waiting import until_quiet
from schemas.errors import BadInput, NotFound, Rejected
from schemas.ids import EventId, Micros
from schemas.models import (
    ConsentStated,
    ConsentStatement,
    Identifier,
    IdentifierKind,
    SignalReceived,
)
from vault.handles import alias_hash
from vault.identity import normalise
from vault.values import NEVER, PurposeState

KINDS = get_args(IdentifierKind)
TELLING = 4
"""Shorter identifiers stand in many a text by chance."""


def parse(who: str) -> tuple[IdentifierKind, str]:
    """Read `kind:value`; `BadInput` without repeating the value."""
    kind, colon, value = who.partition(":")
    if not colon or kind not in KINDS or not value.strip():
        kinds = ", ".join(f"{kind}:…" for kind in KINDS)
        raise BadInput(
            "bad_identifier", "an identifier is a kind and a value", "KIND:VALUE", f"one of {kinds}"
        )
    return cast(IdentifierKind, kind), value


def hashed(here: Installation, who: str) -> bytes:
    """The keyed hash under which the vault knows this identifier."""
    kind, value = parse(who)
    try:
        return alias_hash(here.vault.secrets.alias, kind, normalise(kind, value))
    except Rejected as error:
        raise BadInput("bad_identifier", error.what, "KIND:VALUE", "check how it is written") from None


def named(here: Installation, hashes: Collection[bytes], kind: str, value: str) -> bool:
    """Whether what somebody typed into a form is one of these identifiers; what is none names nobody."""
    with suppress(BadInput):
        return hashed(here, f"{kind}:{value}") in hashes
    return False


def about(who: str, reason: str, values: Iterable[str] = ()) -> str:
    """A reason that will stand on the log for years.

    `BadInput` where it names the person it is about, or repeats one of these values.
    """
    said = [each.strip().casefold() for each in (parse(who)[1], *values)]
    if any(len(each) >= TELLING and each in reason.casefold() for each in said):
        raise BadInput(
            "bad_argument",
            "the reason names the person or repeats what is held of them",
            "--reason",
            "it is kept for years: leave that out",
        )
    return reason


def show(here: Installation, who: str) -> list[dict[str, object]]:
    """The state per purpose of whom this identifier leads to; empty for nobody and for the erased alike."""
    alias = hashed(here, who)
    with here.vault.transaction(write=False) as tx:
        rows = tx.aliases([alias]).get(alias, ())
        numbers = sorted({row.subject for row in rows if row.subject is not None and row.until is None})
        people = tx.subjects(numbers)
    return [_row(name, state) for number in numbers for name, state in people[number].purposes.items()]


def _row(name: str, state: PurposeState) -> dict[str, object]:
    said = {True: "granted", False: "objected" if state.objected else "denied", None: "nothing stated"}[
        state.granted
    ]
    return {
        "purpose": name,
        "state": said,
        "stated_at": moment(state.stated_at) if state.stated_at > 0 else None,
        "not_before": moment(state.floor) if state.floor > NEVER else None,
        "generation": state.generation if state.key is not None else None,
        "restricted": state.restricted,
        "held_since": moment(state.oldest),
    }


def state_consent(
    here: Installation, who: str, purpose: str, *, granted: bool, timeout: float
) -> dict[str, Any]:
    """Publish a consent statement an operator took down, and return once it is applied."""
    kind, value = parse(who)
    hashed(here, who)  # says so at once where nobody could be meant
    plan = here.plans.latest
    if purpose not in plan.purpose_numbers:
        known = ", ".join(plan.purpose_numbers)
        raise NotFound(
            "unknown_purpose",
            "the policy names no such purpose",
            f"policy {plan.version}",
            f"one of: {known}",
        )
    now = Micros(min(time.time_ns() // 1000, here.vault.clock.now()))
    event_id = EventId(secrets.token_bytes(16))
    signal = SignalReceived(
        event_id=event_id,
        collected_at=now,
        site=next(iter(plan.sites)),
        identifiers=[Identifier(kind=kind, value=value)],
        via="operator",
        body=ConsentStated(consents=[ConsentStatement(purpose=purpose, granted=granted)]),
    )
    publish(here, "intake.signal", [signal])
    until_quiet(here, timeout)
    return {"event_id": event_id.hex(), "purpose": purpose, "granted": granted}
