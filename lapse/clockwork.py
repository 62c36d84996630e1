"""The manual clock of test data, and the confirmation a stopped clock waits for."""

from __future__ import annotations

import time
from typing import Any

from lapse import faults
from lapse.cli.output import moment
from lapse.layout import read_json, write_json
from lapse.main import Installation
from schemas.errors import BadInput, Refused, Unavailable
from schemas.ids import Micros
from schemas.retention import Duration
from streams import expiring

LOOK_SECONDS = 0.02


def advance(here: Installation, by: str, *, confirm: bool, timeout: float) -> dict[str, Any]:
    """Move the manual clock by an ISO 8601 duration through every due instant, each lapse published.

    Unconfirmed it is what a clock that jumps looks like: refused, and the time does not move.
    """
    if here.vault.clock.mode != "manual":
        raise Refused(
            "not_manual",
            "this installation runs on the system's clock",
            str(here.layout.root),
            "lapse init --test, lapse up --clock manual",
        )
    target = _target(here, by)
    if not confirm:
        raise Refused(
            "clock_jumped",
            "an unconfirmed jump: the brake holds, the time has not moved",
            "clock",
            "say --confirm",
        )
    deadline, steps = time.monotonic() + timeout, 0
    while (now := here.vault.clock.now()) < target:
        with here.vault.transaction(write=False) as tx:
            due = tx.next_due(now)
        here.vault.clock.set_manual(target if due is None or due > target else due)
        here.crash(faults.MOVED)
        _settle(here, deadline)
        steps += 1
    _note(here)
    return {"now": moment(here.vault.clock.now()), "steps": steps}


def _target(here: Installation, by: str) -> Micros:
    try:
        span = Duration.parse(by)
    except ValueError:
        raise BadInput(
            "usage", "not an ISO 8601 duration", "DURATION", "such as PT2H, P1D or PT0.5S"
        ) from None
    now = here.vault.clock.now()
    if span.after(now) <= now:
        raise BadInput("usage", "a clock goes forward", "DURATION", "such as PT2H")
    return span.after(now)


def _settle(here: Installation, deadline: float) -> None:
    """Wait until nothing is due any more and everything owed is published."""
    while True:
        with here.vault.transaction(write=False) as tx:
            due = bool(tx.due_buckets(tx.now, 1)) or bool(tx.anchors_due(tx.now, 1))
            owed, brake = tx.outbox_count(), tx.clock_state().brake
        if not due and not owed:
            return
        if due and brake:
            raise Refused("brake", f"expiry is stopped: {brake}", "clock", "lapse clock confirm")
        if time.monotonic() > deadline:
            raise Unavailable(
                "timeout", "expiry has not published in time", "expire", "look at: lapse doctor"
            )
        time.sleep(LOOK_SECONDS)


def _note(here: Installation) -> None:
    if here.layout.run_file.exists():
        document = read_json(here.layout.run_file)
        document["clock"] = {"mode": "manual", "now": moment(here.vault.clock.now())}
        write_json(here.layout.run_file, document)


def state(here: Installation) -> dict[str, Any]:
    """The vault's time, and what stops expiry."""
    with here.vault.transaction(write=False) as tx:
        kept, now = tx.clock_state(), tx.now
    return {
        "mode": here.vault.clock.mode,
        "now": moment(now),
        "brake": kept.brake,
        "since": moment(kept.since),
    }


def confirm(here: Installation) -> dict[str, Any]:
    """Lift the brake; the next tick takes the present time as the true one."""
    with here.vault.transaction() as tx:
        expiring.confirm(tx)
    return state(here)
