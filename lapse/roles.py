"""One role as a process: `python -m lapse.roles ROLE DATA`; the supervisor starts these, nobody else need."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry

from lapse import logs
from lapse.layout import FAKES, Layout, read_json
from lapse.main import Installation, installation
from lapse.rolestate import RoleState
from schemas.errors import LapseError, Unavailable
from schemas.plan import Plans
from streams.planbook import PlanBook
from vault import columns

Role = Callable[[Installation, RoleState], int]

PLAN_SECONDS = 1.0
"""How old the collector's knowledge of the policy may be."""
FORMS_A_SECOND, FORM_BURST = 100.0, 1000
BEACONS_A_SECOND, BEACON_BURST = 500.0, 5000
"""Rates per address prefix. Generous, because whole offices and careless proxies share one address."""


def play(name: str, folder: Path) -> int:
    """Play a role until SIGTERM; returns the exit code. `<role>.<n>` is the role's n-th worker."""
    runner, registry = _runner(role_of(name))
    with installation(folder) as here:
        logs.to_stdout(here.settings.log_level)
        structlog.get_logger("role").info("seals", role=name, how=columns.in_use())
        state = RoleState(here.layout, name, registry(), here.runtime.metrics.get(name, 0))
        try:
            return runner(here, state)
        except LapseError as error:
            structlog.get_logger(name).error("role_ended", code=error.code, where=error.where)
            state.waiting(f"{error.code}: {error.what}")
            return error.exit_code


def role_of(name: str) -> str:
    """The role that a process plays: `route` for `route` and `route.2`."""
    return name.partition(".")[0]


def _runner(name: str) -> tuple[Role, Callable[[], CollectorRegistry]]:
    if name == "collector":
        return _collector, _collector_registry
    if name == FAKES:
        return _fakes, CollectorRegistry
    if name == "keys":
        from lapse import endpoints  # each role imports only what it plays: a worker needs no web server

        return endpoints.run, _worker_registry
    from lapse import workers

    return workers.runner(name), _connect_registry if name == "connect" else _worker_registry


def _worker_registry() -> CollectorRegistry:
    from streams.metrics import REGISTRY

    return REGISTRY


def _connect_registry() -> CollectorRegistry:
    from processors.metrics import ALL

    registry = _worker_registry()
    for metric in ALL:
        registry.register(metric)
    return registry


def _collector_registry() -> CollectorRegistry:
    from lapse.collector import REGISTRY

    return REGISTRY


class FreshPlans:
    """The published policies, looked up again at most every `PLAN_SECONDS`; safe for several threads."""

    def __init__(self, here: Installation) -> None:
        self._book, self._lock = PlanBook(here.vault), threading.Lock()
        self._plans, self._until = self._book(), time.monotonic() + PLAN_SECONDS

    def __call__(self) -> Plans:
        """Every version as of about now; what is known, where the vault does not answer."""
        if time.monotonic() >= self._until:
            with self._lock:
                self._until = time.monotonic() + PLAN_SECONDS
                try:
                    self._plans = self._book()
                except Unavailable as error:
                    structlog.get_logger("plans").warning("vault_unavailable", code=error.code)
        return self._plans


def _collector(here: Installation, state: RoleState) -> int:
    from lapse.collector import (
        CollectorSettings,
        KafkaSettings,
        Limits,
        SiteCredential,
        SpoolSettings,
        serve,
    )

    layout, runtime, chosen = here.layout, here.runtime, here.settings
    limits = Limits(
        form_rate=FORMS_A_SECOND,
        form_burst=FORM_BURST,
        beacon_rate=BEACONS_A_SECOND,
        beacon_burst=BEACON_BURST,
    )
    settings = CollectorSettings(
        host=runtime.host,
        port=runtime.ports.collector,
        spool=SpoolSettings(folder=layout.spool, keys=layout.keys / "spool"),
        kafka=KafkaSettings(connection=here.librdkafka("collector")),
        limits=limits,
        trusted_proxies=tuple(ip_network(each) for each in runtime.trusted_proxies),
        apple_egress=chosen.apple_egress,
        google_networks=chosen.google_networks,
        scanners=chosen.scanners,
    )
    return serve(
        settings,
        plans=FreshPlans(here),
        credentials=lambda sites: [SiteCredential(**_site_credential(layout, name)) for name in sites],
        pixel_keys=here.pixel_keys,
        on_ready=lambda _port: state.ready(),
        crash=here.crash,
        on_waiting=state.ready,
    )


def _fakes(here: Installation, state: RoleState) -> int:
    from processors import fakes
    from processors.credentials import stand_in_file

    plans = {p.name: p for version in here.plans for p in version.processors}
    players = [
        fakes.Player(
            name=fakes.name_of(plans[name].connector),
            secret_file=stand_in_file(here.layout.keys / "processors", plans[name]),
            port=urlsplit(url).port or 0,
            ca_file=here.layout.ca,
        )
        for name, url in here.runtime.fakes.items()
    ]
    fakes.serve(players, announce=lambda _urls: state.ready())
    return 0


def _site_credential(layout: Layout, name: str) -> dict[str, str]:
    document = read_json(layout.credentials("sites", name))
    return {"site": name, "key": document["key"], "token": document["token"]}


def main(name: str, folder: Path) -> int:
    """Be this role's process, however it was started; what it writes is for the user who runs it."""
    os.umask(0o077)
    return play(name, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
