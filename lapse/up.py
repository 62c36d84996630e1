"""`lapse up`: from a data folder and a policy to a running system, step by step, each idempotent."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from lapse import cluster, crew, faults, hiring, runfile, topics, vaults
from lapse.broker.connection import Credentials
from lapse.broker.embedded import EmbeddedKafka
from lapse.cli.output import say
from lapse.cluster import Reached
from lapse.commands import approve_first
from lapse.initialise import Marker, initialise, read_marker, signing_key
from lapse.layout import FAKES, Layout, write_json
from lapse.lone_broker import embedded
from lapse.main import (
    Installation,
    certificate_hosts,
    installation,
    use_registry,
)
from lapse.policies import prepare
from lapse.restoring import catch_up_if_restored
from lapse.runtime import Runtime, Security, choose_ports, free_ports
from lapse.settings import Settings
from lapse.supervisor import Supervisor
from processors.said import played
from schemas.errors import BadInput, Refused
from schemas.policy import compile_plan, load
from schemas.signing import SERVICE, public_key
from vault.values import PolicyRow

FIRST_ORDERED = "first/ordered"
"""Meta: the first policy's commands are on `control`; a start that was killed before orders them again."""
WORKERS = ("collector", "tag", "route", "govern", "expire", "connect", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    folder: Path
    policy: Path | None
    first_port: int
    host: str
    bootstrap: str | None
    clock: Literal["system", "manual"] | None
    wait_ready: float
    workers: Mapping[str, int] = field(default_factory=dict)


def run(wanted: Wanted, settings: Settings) -> None:
    """Run until asked to stop."""
    os.umask(0o077)  # everything below the data folder is for this user alone
    layout, deadline = Layout(wanted.folder), time.monotonic() + wanted.wait_ready
    marker = vaults.settle(layout, _marked(layout, wanted), settings)
    with _only_one(layout), contextlib.ExitStack() as closing:
        _keep_ids(layout, settings)
        use_registry(settings.registry, register=True)
        layout.run_file.unlink(missing_ok=True)
        nursery = hiring.nursery(layout, settings)
        if nursery is not None:
            closing.callback(nursery.close)
            nursery.start()  # its imports go on beside the broker's start
        broker, reached = _broker(layout, wanted, settings, deadline)
        if broker is not None:
            closing.callback(broker.stop)
        runtime = _runtime(layout, marker, wanted, settings, reached, broker)
        with installation(wanted.folder, catching_up=True) as here:
            _set_up(here, reached.administrator)
        crew.wish(layout, wanted.workers)
        hire = hiring.by(layout, nursery)
        supervisor = Supervisor(
            layout,
            [hire(name) for name in (*([FAKES] if runtime.fakes else []), *WORKERS)],
            hire=hire,
            broker=broker,
            nursery=nursery,
            crash=faults.armed(settings.fault if marker.test else None, layout),
            on_ready=lambda metrics: _ready(layout, runtime, metrics),
        )
        supervisor.run(wait_ready=max(1.0, deadline - time.monotonic()))


def _marked(layout: Layout, wanted: Wanted) -> Marker:
    if not layout.marker.exists():
        if wanted.policy is None:
            raise BadInput(
                "usage",
                "this folder is new, and no policy was given",
                "--policy",
                "--policy policies/company.yaml",
            )
        initialise(
            layout.root, wanted.policy, test=False, clock="system", hosts=certificate_hosts(wanted.host)
        )
    elif wanted.policy is not None:
        initialise(layout.root, wanted.policy, test=False, clock="system", hosts=())
    marker = read_marker(layout)
    if wanted.clock == "manual" and not marker.test:
        raise Refused(
            "not_test_data",
            "a manual clock needs data made for tests",
            str(layout.root),
            "lapse init --test DIR",
        )
    if wanted.clock and wanted.clock != marker.clock:
        marker = marker.model_copy(update={"clock": wanted.clock})
        write_json(layout.marker, marker.model_dump(exclude_none=True))
    return marker


@contextlib.contextmanager
def _only_one(layout: Layout) -> Iterator[IO[bytes]]:
    with layout.lock.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                "already_up", "another lapse up runs on this data", str(layout.root), "stop it first"
            ) from None
        yield lock


def _keep_ids(layout: Layout, settings: Settings) -> None:
    """What lies on the log is read by its ids for years: they do not change their origin under it."""
    try:
        before = Runtime.load(layout).registry
    except FileNotFoundError:
        return
    if bool(before) != bool(settings.registry):
        origin = f"of the registry {before}" if before else "of schemas/catalogue.json"
        do = (
            f"set LAPSE_REGISTRY={before}"
            if before
            else "unset LAPSE_REGISTRY, or start on a new folder and topics"
        )
        raise Refused("conflict", f"the records on this log carry the ids {origin}", "LAPSE_REGISTRY", do)


# ---- broker ------------------------------------------------------------------------------------------------
def _broker(
    layout: Layout, wanted: Wanted, settings: Settings, deadline: float
) -> tuple[EmbeddedKafka | None, Reached]:
    bootstrap = wanted.bootstrap or settings.bootstrap
    if bootstrap:
        return None, cluster.reached(bootstrap, settings)
    broker = embedded(layout, wanted.host)
    say("starting Kafka …")
    address = broker.start(max(1.0, deadline - time.monotonic()))
    return broker, Reached(address=address, administrator=broker.admin)


# ---- set-up ------------------------------------------------------------------------------------------------
def _runtime(
    layout: Layout,
    marker: Marker,
    wanted: Wanted,
    settings: Settings,
    reached: Reached,
    broker: EmbeddedKafka | None,
) -> Runtime:
    address = reached.address
    ports = choose_ports(wanted.host, wanted.first_port)
    taken = (ports.collector, ports.keys, ports.admin)
    runtime = Runtime(
        run_id=secrets.token_hex(8),
        host=wanted.host,
        ports=ports,
        metrics=dict(zip(WORKERS, free_ports("127.0.0.1", len(WORKERS), taken), strict=True)),
        bootstrap=address.bootstrap,
        cluster_id=address.cluster_id or "",
        security=Security(
            protocol=address.protocol, mechanism=address.mechanism, ca=str(address.ca) if address.ca else None
        ),
        log_dirs=tuple(str(path) for path in broker.log_dirs) if broker else (),
        clock=marker.clock,
        test=marker.test,
        partitions=settings.partitions,
        replication=_replication(layout, settings, reached),
        registry=settings.registry,
        trusted_proxies=tuple(part.strip() for part in settings.trusted_proxies.split(",") if part.strip()),
        allow_private_webhooks=settings.allow_private_webhooks,
        fault=settings.fault if marker.test else None,
        fakes=stand_ins(layout),
    )
    runtime.save(layout)
    return runtime


def _replication(layout: Layout, settings: Settings, reached: Reached) -> int:
    try:
        before = Runtime.load(layout)
    except FileNotFoundError:
        return cluster.replicas(settings.replication, reached.brokers)
    same = before.cluster_id == reached.address.cluster_id
    return cluster.replicas(settings.replication, reached.brokers, before.replication if same else 1)


def stand_ins(layout: Layout) -> dict[str, str]:
    """Where the stand-ins listen that play recipients whose address is `fake:`.

    On this machine alone, whatever the others listen on: a stand-in shows what it holds to whoever asks.
    """
    host = "127.0.0.1"
    published = (
        compile_plan(load(path.read_text(), where=path.name)) for path in layout.policies.glob("*.yaml")
    )
    names = sorted({p.name for plan in published for p in plan.processors if played(p)})
    return {
        name: f"http://{host}:{port}" for name, port in zip(names, free_ports(host, len(names)), strict=True)
    }


def _set_up(here: Installation, superuser: Credentials | None) -> None:
    layout = here.layout
    if superuser is not None:
        document = {"username": superuser.username, "password": superuser.password}
        write_json(layout.credentials("roles", "admin"), document)
    new = _publish_first(here)
    here.crash(faults.FIRST)
    say("topics, users and rights …")
    for plan in here.plans:
        prepare(here, plan)
    here.admin("admin").align(topics.plan_of(here))
    with here.vault.transaction() as tx:
        tx.put_meta("operators", _operators(layout))
    here.crash(faults.PREPARED)
    if not new:
        catch_up_if_restored(here)
    if not _ordered(here):
        approve_first(here)
        here.crash(faults.ORDERED)
        with here.vault.transaction() as tx:
            tx.put_meta(FIRST_ORDERED, b"1")


def _ordered(here: Installation) -> bool:
    """Whether the first policy's commands are on `control`; data of 0.1.0 shows it by what they did."""
    with here.vault.transaction(write=False) as tx:
        done = tx.meta(FIRST_ORDERED) is not None or bool(tx.processors())
        return done or len(tx.policies()) > 1


def _operators(layout: Layout) -> bytes:
    """Whose signatures count beside those the policy names: this folder's operator, and Lapse itself."""
    keys = {"operator": layout.operator_key, SERVICE: layout.service_key}
    return json.dumps(
        {name: base64.b64encode(public_key(signing_key(path))).decode() for name, path in keys.items()}
    ).encode()


def _publish_first(here: Installation) -> bool:
    """Put the policy of `init` into a new vault; true when it was not there yet."""
    with here.vault.transaction(write=False) as tx:
        if tx.policies():
            return False
    text = here.layout.policy(here.marker.policy_version).read_text()
    plan = compile_plan(load(text, where="policy"))
    with here.vault.transaction() as tx:
        tx.put_policy(
            PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=text)
        )
    return True


def _ready(layout: Layout, runtime: Runtime, metrics: dict[str, str]) -> None:
    with installation(layout.root) as here:
        document = runfile.write(here, runtime, metrics)
    urls = document["urls"]
    say(f"ready: forms at {urls['collector']}/f/<form>, keys at {urls['keys']}, admin at {urls['admin']}")
