"""The checks in their order, and what each stands on: what is away is said once, not ten times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lapse.doctor import of_broker, of_host, of_recipients, of_roles, of_vault
from lapse.doctor.finding import Finding
from lapse.main import Installation
from schemas.errors import LapseError


class Check(NamedTuple):
    """One look, and the names of the checks that must have got through for it to make sense."""

    look: Callable[[Installation], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS: Mapping[str, Check] = {
    "roles": Check(of_roles.roles),
    "disk": Check(of_host.disk),
    "sealing": Check(of_host.sealing),
    "certificate": Check(of_host.certificate),
    "broker": Check(of_broker.broker),
    "vault": Check(of_vault.vault),
    "clock": Check(of_vault.clock, ("vault",)),
    "expiry": Check(of_vault.expiry, ("vault",)),
    "policy": Check(of_vault.policy, ("vault",)),
    "tasks": Check(of_vault.tasks, ("vault",)),
    "requests": Check(of_vault.requests, ("vault",)),
    "spool": Check(of_host.spool),
    "logins": Check(of_broker.logins, ("broker", "vault")),
    "rights": Check(of_broker.rights, ("broker", "vault")),
    "topics": Check(of_broker.topics, ("broker", "vault")),
    "replicas": Check(of_broker.replicas, ("broker",)),
    "recipients": Check(of_recipients.recipients, ("broker", "vault")),
    "backlogs": Check(of_broker.backlogs, ("broker", "vault")),
    "quarantine": Check(of_broker.quarantine, ("broker", "vault")),
    "lag": Check(of_broker.lag, ("broker", "vault")),
}
"""Every check by its name, in the order of the answer."""


def examine(here: Installation) -> list[Finding]:
    """Run every check; one that cannot look is itself a finding, and what does not stand on it still runs."""
    found: list[Finding] = []
    closed: set[str] = set()
    for name, check in CHECKS.items():
        missing = [need for need in check.needs if need in closed]
        if missing:
            closed.add(name)
            figure = f"not looked at: `{missing[0]}` comes first"
            found.append(Finding(check=name, state="unknown", figure=figure))
            continue
        try:
            found += check.look(here)
        except LapseError as error:
            closed.add(name)
            figure, do = f"{error.code}: {error.what}", error.do or "look into the logs of the roles"
            found.append(Finding(check=name, state="BAD", figure=figure, where=error.where, do=do))
    return found
