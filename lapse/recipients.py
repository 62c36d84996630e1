"""What operators do about recipients: see, approve, suspend, bring on board, change credentials."""

from __future__ import annotations

import datetime as dt
import secrets
from pathlib import Path
from typing import Any

from lapse import faults
from lapse.broker.connection import Credentials
from lapse.broker.principals import processor_group, processor_user
from lapse.cli.output import moment
from lapse.commands import command, order
from lapse.initialise import TOKEN_BYTES, new_processor_token
from lapse.layout import Layout, read_json, write_atomically, write_json
from lapse.main import Installation
from processors import assurance
from processors.credentials import lacking
from processors.onboarding import Onboarding, guide
from processors.registry import opens_here
from processors.tokens import register_token
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.models import ProcessorApproved, ProcessorSuspended
from schemas.plan import ProcessorPlan
from vault.values import ProcessorState

NOT_CONFIGURED = "not configured"
"""How a recipient is listed that cannot be called: nobody opens anything for it."""


def opened_here(plan: ProcessorPlan, layout: Layout) -> bool:
    """Whether a connector of ours opens its deliveries; one that has nobody to call stands aside."""
    return opens_here(plan.connector) and lacking(layout.keys / "processors", plan) is None


def listed(here: Installation) -> list[dict[str, object]]:
    """Every recipient of the policy in force, with what control says of it."""
    plan = here.plans.latest
    with here.vault.transaction(write=False) as tx:
        known = {state.name: state for state in tx.processors()}
        now = tx.now
    return [
        _row(p, known.get(p.name), [plan.purposes[n].name for n in p.grants], now)
        | {"calls": calls(p, here.layout)}
        for p in plan.processors
    ]


def calls(plan: ProcessorPlan, layout: Layout) -> str:
    """Whether we call it: `here`, or why not."""
    if not opens_here(plan.connector):
        return "reads itself"
    return "here" if opened_here(plan, layout) else NOT_CONFIGURED


def _row(
    plan: ProcessorPlan, state: ProcessorState | None, purposes: list[str], now: Micros
) -> dict[str, object]:
    until = assurance.ends(plan, state.assurance_until if state else None)
    return {
        "processor": plan.name,
        "state": _state(plan, state, until, now),
        "since": moment(state.since) if state and state.since > 0 else None,
        "assurance_until": moment(until),
        "connector": plan.connector,
        "region": plan.region,
        "purposes": purposes,
        "reason": state.reason if state else plan.suspended,
    }


def _state(plan: ProcessorPlan, state: ProcessorState | None, until: Micros | None, now: Micros) -> str:
    if state is not None and state.suspended:
        return "suspended"
    if plan.suspended:
        return "suspended by policy"
    if state is None or not state.approved:
        return "not approved"
    return "assurance ended" if until is not None and until <= now else "approved"


def approve(
    here: Installation, name: str, *, evidence: str | None, until: str | None, timeout: float
) -> dict[str, Any]:
    """Order that a processor may receive; refused here already where its safeguards do not hold."""
    return _let_in(here, name, _instant(until) if until else None, evidence, timeout)


def resume(here: Installation, name: str, *, timeout: float) -> dict[str, Any]:
    """Order that a suspended processor may receive again, under the terms of its last approval."""
    with here.vault.transaction(write=False) as tx:
        state = tx.processor(name) or ProcessorState(name=name)
    return _let_in(here, name, state.assurance_until, state.evidence, timeout)


def _let_in(
    here: Installation, name: str, until: Micros | None, evidence: str | None, timeout: float
) -> dict[str, Any]:
    now = here.vault.clock.now()
    plan = here.plans.today(now).processor(name)
    assurance.check(plan, until=until, evidence=evidence, now=now)
    ends = assurance.ends(plan, until)
    ordered = command(
        ProcessorApproved, here, processor=name, assurance_until=ends, evidence=evidence or plan.evidence
    )
    order(here, ordered, timeout)
    return {"processor": name, "state": "approved", "assurance_until": moment(ends)}


def suspend(here: Installation, name: str, reason: str, *, recall: bool, timeout: float) -> dict[str, Any]:
    """Order that a processor opens nothing from now on."""
    here.plans.latest.processor(name)
    order(here, command(ProcessorSuspended, here, processor=name, reason=reason, recall=recall), timeout)
    return {"processor": name, "state": "suspended", "recall": recall}


def _instant(text: str) -> Micros:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("usage", "not a date", "--until", "write it as 2027-01-31") from None
    aware = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return Micros(int(aware.timestamp() * 1_000_000))


def onboard(here: Installation, name: str) -> tuple[dict[str, Any], str]:
    """All that a consumer's team needs, as facts and as a text to hand over."""
    here.plans.latest.processor(name)
    runtime = here.runtime
    facts = Onboarding(
        processor=name,
        bootstrap=runtime.bootstrap,
        security=runtime.security.protocol,
        mechanism=runtime.security.mechanism,
        topic=f"processor.{name}",
        group=processor_group(name),
        credentials_file=str(here.layout.credentials("processors", name)),
        key_endpoint=f"https://{runtime.host}:{runtime.ports.keys}",
        ca_file=str(here.layout.ca),
    )
    return facts.as_json(), guide(facts)


def credentials(here: Installation, name: str, *, rotate: bool, copy_to: Path | None) -> dict[str, Any]:
    """Where a processor's credentials lie; after a rotation the old token and password no longer work."""
    here.plans.latest.processor(name)
    path = here.layout.credentials("processors", name)
    if rotate:
        _rotate(here, name, path)
    if copy_to is not None:
        write_atomically(copy_to, path.read_bytes())  # never open to others, not even for a moment
    document = read_json(path)
    return {
        "processor": name,
        "username": document["username"],
        "credentials_file": str(copy_to or path),
        "rotated": rotate,
    }


def _rotate(here: Installation, name: str, path: Path) -> None:
    fresh = {
        "username": processor_user(name),
        "password": secrets.token_urlsafe(TOKEN_BYTES),
        "token": new_processor_token(name),
    }
    if here.address.secured:
        here.admin("admin").put_users([Credentials(username=fresh["username"], password=fresh["password"])])
        here.crash(faults.ROTATED)
    with here.vault.transaction() as tx:
        register_token(tx, name, fresh["token"])
    here.crash(faults.LET_IN)
    write_json(path, fresh)
