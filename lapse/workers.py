"""The worker roles put together: which stage reads what, on which client, with whose credentials."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import structlog

from lapse import gauges, officer
from lapse.broker.principals import group
from lapse.main import Installation
from lapse.membership import client_id, leave_for_the_dead
from lapse.rolestate import RoleState
from lapse.subscriptions import READS, horizons, recipients, renewed
from lapse.workbench import Bench, tls
from processors.pieces import Handler
from schemas.errors import BadInput, LapseError, Unavailable
from schemas.plan import Plans, ProcessorPlan
from schemas.topics import INTAKE_SEGMENT_MS
from streams import building, worker
from streams.agents import GROUPS, repeat
from streams.engine import Engine
from streams.ports import Chunk, Outcome
from streams.scan import scan
from vault.clock import wall

if TYPE_CHECKING:
    from processors.build import Around

Role = Callable[[Installation, RoleState], int]
Build = Callable[["Bench", Engine], None]
Task = Callable[[], Awaitable[object]]

WATCH_SECONDS, GAUGE_SECONDS = 0.2, 30.0
TASK_SECONDS = 1.0
BROKEN_SECONDS = 5.0
"""How soon a recipient is tried again whose settings or secrets are wrong."""


# ---- the roles ---------------------------------------------------------------------------------------------
def _tag(bench: Bench, engine: Engine) -> None:
    engine.sheaf_agent(*GROUPS["tag"], name="tag")(building.tag(bench.around(engine)).together)


def _route(bench: Bench, engine: Engine) -> None:
    engine.sheaf_agent(*horizons(bench.plans()), name="route")(building.route(bench.around(engine)).together)


def _govern(bench: Bench, engine: Engine) -> None:
    around = bench.around(engine)
    engine.agent("intake.signal")(building.govern_signals(around))
    engine.agent("control")(building.govern_control(around))
    engine.sheaf_agent("receipts", name="receipts")(building.govern_receipts(around).together)


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
