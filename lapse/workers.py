"""The worker roles put together: which stage reads what, on which client, with whose credentials."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

import structlog

from lapse import gauges, officer
from lapse.broker.connection import BrokerAddress
from lapse.broker.principals import group
from lapse.initialise import signing_key
from lapse.layout import Layout
from lapse.main import Installation
from lapse.membership import client_id, gone, leave_for_the_dead, owner
from lapse.recipients import opened_here
from lapse.rolestate import RoleState
from processors.credentials import changed_at
from processors.pieces import Handler
from schemas.errors import BadInput, LapseError, Unavailable
from schemas.plan import Plans, ProcessorPlan
from schemas.topics import INTAKE_SEGMENT_MS
from streams import building, metrics, worker
from streams.agents import GROUPS, repeat
from streams.building import Surroundings
from streams.engine import Engine, KafkaAccess
from streams.planbook import PlanBook
from streams.ports import Chunk, Outcome
from streams.scan import scan
from vault.clock import wall

if TYPE_CHECKING:
    from processors.build import Around

Role = Callable[[Installation, RoleState], int]
Build = Callable[["Bench", Engine], None]
Task = Callable[[], Awaitable[object]]

WATCH_SECONDS, RENEW_SECONDS, GAUGE_SECONDS = 0.2, 1.0, 30.0
TASK_SECONDS = 1.0
BROKEN_SECONDS = 5.0
"""How soon a recipient is tried again whose settings or secrets are wrong."""


def tls(address: BrokerAddress) -> dict[str, ssl.SSLContext]:
    """What aiokafka needs besides, where the cluster speaks TLS."""
    if not address.protocol.endswith("SSL"):
        return {}
    return {"ssl_context": ssl.create_default_context(cafile=str(address.ca) if address.ca else None)}


def finding(what: str, where: str, count: int = 1) -> None:
    """An anomaly that needs a person's eye: counted, and said in the log."""
    metrics.FINDINGS.labels(what).inc(count)
    structlog.get_logger("finding").warning("finding", what=what, where=where, count=count)


class Bench:
    """What the stages of one worker are built from."""

    def __init__(self, here: Installation, role: str) -> None:
        self.here, self.role, self.vault = here, role, here.vault
        self.plans = PlanBook(here.vault)

    @property
    def access(self) -> KafkaAccess:
        """Kafka, as this role."""
        address, user = self.here.address, self.here.user(self.role)
        return KafkaAccess(
            bootstrap=address.bootstrap,
            protocol=address.protocol,
            mechanism=address.mechanism or "SCRAM-SHA-512",
            username=user.username if user else None,
            password=user.password if user else None,
            ca=address.ca,
        )

    def around(self, engine: Engine) -> Surroundings:
        """What every stage is given."""
        return Surroundings(
            vault=self.vault,
            sink=engine.sink,
            partitions=self.here.runtime.partitions_of,
            service_key=signing_key(self.here.layout.service_key),
            pixel_keys=self.here.pixel_keys if self.role == "tag" else None,
            operators=self.here.operators(),
            finding=finding,
            work=engine.work,
            crash=self.here.crash,
            note=engine.wait_for,
            owner=owner(),
            gone=gone,
        )


# ---- the roles ---------------------------------------------------------------------------------------------
def _tag(bench: Bench, engine: Engine) -> None:
    engine.agent(*GROUPS["tag"])(building.tag(bench.around(engine)))


def _route(bench: Bench, engine: Engine) -> None:
    engine.agent(*horizons(bench.plans()))(building.route(bench.around(engine)))


def _govern(bench: Bench, engine: Engine) -> None:
    around = bench.around(engine)
    engine.agent("intake.signal")(building.govern_signals(around))
    engine.agent("control")(building.govern_control(around))
    engine.agent("receipts")(building.govern_receipts(around))


def _expire(bench: Bench, engine: Engine) -> None:
    expire = building.expire(
        bench.around(engine),
        scan=partial(scan, bench.here.librdkafka("expire")),
        care=bench.here.admin("expire"),
        intake_segment=INTAKE_SEGMENT_MS / 1000,
    )
    engine.task(_named("expiry", expire.run))
    engine.task(_named("upkeep", expire.keep_up))
    tasks = building.tasking(bench.around(engine), officer.mailer(bench.here.settings))
    engine.task(_named("tasks", partial(repeat, "tasks", tasks.run, TASK_SECONDS)))
    engine.task(_named("gauges", partial(_gauges, bench, engine)))


async def _gauges(bench: Bench, engine: Engine) -> None:
    """Measure disks and backlogs for ever, on the one thread that may use the administrator's connection."""
    while True:
        try:
            await engine.work(lambda: gauges.measure(bench.here, bench.plans().latest))
        except LapseError as error:
            structlog.get_logger("gauges").warning("not_measured", code=error.code, where=error.where)
        await asyncio.sleep(GAUGE_SECONDS)


def _connect(bench: Bench, engine: Engine) -> None:
    from lapse.connecting import surroundings  # with HTTP and what speaks it, which no other worker needs

    here = bench.here
    kafka = here.address.aiokafka(here.user("connect")) | tls(here.address)
    around = surroundings(here, bench.plans.within, bench.plans(), kafka=kafka)
    for plan in recipients(bench.plans(), here.layout):
        _connected(engine, plan, around)


def horizons(plans: Plans) -> list[str]:
    """Every topic that records of any policy version lie on."""
    return list(dict.fromkeys(f"records.{h.name}" for plan in plans for h in plan.horizons))


def recipients(plans: Plans, layout: Layout) -> list[ProcessorPlan]:
    """Every recipient we open for, as the last version that names it has it.

    One that a later version dropped is given nothing any more, but still hears what it has to erase.
    """
    last = {processor.name: processor for plan in plans for processor in plan.processors}
    return [plan for plan in last.values() if opened_here(plan, layout)]


def called(plans: Plans, layout: Layout) -> list[tuple[ProcessorPlan, float | None]]:
    """Every recipient we open for, with the time of its credentials: new ones count at once."""
    folder = layout.keys / "processors"
    return [(plan, changed_at(folder, plan)) for plan in recipients(plans, layout)]


def _connected(engine: Engine, plan: ProcessorPlan, around: Around) -> None:
    """One processor's connector behind its topic; made inside the loop that runs it, on first use.

    What is wrong with one recipient's settings or secrets is waited for: the others go on.
    """

    from processors.build import connector

    @cache
    def handler() -> Handler:
        try:
            return connector(plan, around)
        except BadInput as error:
            raise Unavailable("not_configured", error.what, error.where, error.do) from None

    async def handle(chunk: Chunk) -> Outcome:
        return await building.connect(handler())(chunk)

    async def later() -> None:
        while True:
            try:
                await handler().run()
            except Unavailable as error:
                said = structlog.get_logger("connect")
                said.warning("not_made", processor=plan.name, code=error.code, where=error.where)
                await asyncio.sleep(BROKEN_SECONDS)

    handle.__name__ = plan.name
    engine.agent(f"processor.{plan.name}")(handle)
    engine.task(_named(f"later-{plan.name}", later))


BUILD: dict[str, Build] = {
    "tag": _tag,
    "route": _route,
    "govern": _govern,
    "expire": _expire,
    "connect": _connect,
}


# ---- what goes on beside the agents ------------------------------------------------------------------------
def _named(name: str, function: Task) -> Callable[[], Awaitable[None]]:
    """A coroutine function that Faust can name."""

    async def task() -> None:
        await function()

    task.__name__ = name
    return task


async def _watch(engine: Engine, state: RoleState) -> None:
    """Say how the worker is: live and assigned, or what it waits for."""
    while True:
        health = engine.health()
        if health.state == "running":
            state.ready()
        else:
            state.waiting(health.waiting_for or health.state)
        await asyncio.sleep(WATCH_SECONDS)


READING = frozenset({"tag", "route", "govern", "connect"})
"""Roles that are members of a consumer group."""
READS: Mapping[str, Callable[[Plans, Layout], object]] = {
    "route": lambda plans, _: horizons(plans),
    "connect": lambda plans, layout: called(plans, layout),
}
"""What a role reads: policies say it, and whose credentials are there; it subscribes once, at its start."""


async def renewed(
    plans: Callable[[], Plans], reads: Callable[[Plans], object], leave: Callable[[], None]
) -> None:
    """Leave in good order once a policy asks for other subscriptions: the supervisor starts the role anew."""
    before = reads(plans())
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            now = reads(plans())
        except Unavailable:
            continue
        if now != before:
            structlog.get_logger("policy").info("subscriptions_changed")
            return leave()


def _leave() -> None:
    signal.raise_signal(signal.SIGTERM)


def runner(name: str) -> Role:
    """The role of this name."""

    def run(here: Installation, state: RoleState) -> int:
        def build() -> Engine:
            bench = Bench(here, name)
            engine = Engine(
                group=group(name),
                access=bench.access,
                workdir=here.layout.state,
                now=wall,
                client=client_id(),
            )
            BUILD[name](bench, engine)
            if name in READS:

                def reads(plans: Plans) -> object:
                    return READS[name](plans, here.layout)

                engine.task(_named("renewed", partial(renewed, bench.plans, reads, _leave)))
            return engine

        try:
            if name in READING:
                leave_for_the_dead(here, name)
            level = logging.getLevelName(here.settings.log_level.upper())
            return worker.run(build, level=level, watch=partial(_watch, state=state))
        except LapseError as error:
            state.waiting(f"{error.code}: {error.what}")
            raise

    return run
