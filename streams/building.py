"""How each role is put together: the only place that knows every constructor of the stages."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from processors.pieces import Handler
from schemas.signing import SERVICE
from streams.agents import (
    GROUPS,
    Connect,
    Expire,
    GovernControl,
    GovernReceipts,
    GovernSignals,
    Route,
    Tag,
)
from streams.announcing import Announcer
from streams.chunks import Chunks
from streams.control import ControlJudge
from streams.correcting import CorrectionJudge
from streams.expanding import Expander
from streams.expiring import Expiry
from streams.housekeeping import LogCare, Purge
from streams.intake import IntakeReader
from streams.planbook import PlanBook
from streams.poison import BugBudget
from streams.restoring import CatchUp
from streams.routeout import RouteOutput
from streams.routestage import RecordReader
from streams.scan import Scan
from streams.signalout import SignalOutput
from streams.signals import SignalJudge
from streams.stage import Stage
from streams.surroundings import Surroundings
from streams.tagout import TagOutput
from streams.tagstage import TagJudge
from streams.tasking import Mailer, Tasking
from streams.upkeep import Checkpoints, Turn, Upkeep
from vault.clock import wall
from vault.keys import new_key


def _chunks(
    around: Surroundings, name: str, stage: Stage[Any], *, most: int = 1_000_000, alone: bool = False
) -> Chunks[Any]:
    budget = BugBudget(around.seconds)
    return Chunks(
        around.vault,
        stage,
        name=name,
        finding=around.finding,
        spend=budget.spend,
        work=around.work,
        most=most,
        alone=alone,
        crash=around.crash,
    )


def tag(around: Surroundings) -> Chunks[Any]:
    """The handle of `intake.form`, `intake.email-open` and `intake.cookie`."""
    return _chunks(around, "tag", tag_stage(around))


def tag_stage(around: Surroundings) -> Tag:
    """The steps of tag by themselves."""
    assert around.pixel_keys is not None, "tag verifies pixel tokens"
    return Tag(
        plans=PlanBook(around.vault),
        reader=IntakeReader(vault=around.vault, pixel_keys=around.pixel_keys),
        judge_=TagJudge(
            new_key=partial(new_key, around.draw),
            herald=around.herald,
            corrections=CorrectionJudge(keys=around.keys, herald=around.herald, own_key=SERVICE),
        ),
        output=TagOutput(around.out, slot_key=around.vault.secrets.slot, draw=around.draw),
        drained=around.drained,
    )


def route(around: Surroundings) -> Chunks[Any]:
    """The handle of every `records.<horizon>`."""
    return _chunks(around, "route", route_stage(around))


def route_stage(around: Surroundings) -> Route:
    """The steps of route by themselves."""
    output = RouteOutput(out=around.out, secrets=around.vault.secrets, draw=around.draw)
    reader = RecordReader(around.vault)
    return Route(
        plans=PlanBook(around.vault),
        reader=reader,
        herald=around.herald,
        output=output,
        crash=around.crash,
        drained=around.drained,
    )


def govern_signals(around: Surroundings) -> Chunks[Any]:
    """The handle of `intake.signal`."""
    stage = GovernSignals(
        vault=around.vault,
        plans=PlanBook(around.vault),
        judge_=SignalJudge(
            new_key=partial(new_key, around.draw), herald=around.herald, finding=around.finding
        ),
        output=SignalOutput(out=around.out, draw=around.draw),
        drained=around.drained,
    )
    return _chunks(around, "signals", stage, alone=True)


def govern_control(around: Surroundings) -> Chunks[Any]:
    """The handle of `control`: one command per transaction, for a hold waits for what the one before owes."""
    stage = GovernControl(
        judge_=_judge(around, PlanBook(around.vault)),
        output=SignalOutput(out=around.out, draw=around.draw),
        drained=around.drained,
    )
    return _chunks(around, "control", stage, most=1, alone=True)


def govern_receipts(around: Surroundings) -> Chunks[Any]:
    """The handle of `receipts`."""
    stage = GovernReceipts(plans=PlanBook(around.vault), keys=around.keys)
    return _chunks(around, "receipts", stage)


def expire(
    around: Surroundings, *, scan: Scan, care: LogCare | None = None, intake_segment: float = 600.0
) -> Expire:
    """The expiry loop with the one announcer and every chore; `run()` it as a task beside the engine.

    `care` is the broker's administration (purging is left out without it); `intake_segment` is `segment.ms`
    of the intake topics, in seconds.
    """
    plans = PlanBook(around.vault)
    expiry = Expiry(
        vault=around.vault, plans=plans, herald=around.herald, finding=around.finding, crash=around.crash
    )
    upkeep = Upkeep(
        vault=around.vault,
        plans=plans,
        purge=None if care is None else _purge(around, care, intake_segment),
        expander=Expander(
            vault=around.vault, out=around.out, scan=scan, work=around.work, crash=around.crash
        ),
        checkpoints=Checkpoints(vault=around.vault, scan=scan, key_id=SERVICE, key=around.service_key),
        shuffle=lambda cells: random.SystemRandom().sample(cells, len(cells)),
        work=around.work,
        now=around.seconds,
        mine=Turn(vault=around.vault, owner=around.owner, wall=wall, gone=around.gone, now=around.seconds),
    )
    announcer = _announcer(around)
    return Expire(expiry=expiry, announcer=announcer, upkeep=upkeep, note=around.note)


def tasking(around: Surroundings, mail: Mailer | None) -> Tasking:
    """What time makes of tasks; run it as a task beside the engine of expire."""
    turn = Turn(
        vault=around.vault,
        owner=around.owner,
        wall=wall,
        gone=around.gone,
        now=around.seconds,
        lease="lease/tasks",
    )
    return Tasking(
        vault=around.vault,
        plans=PlanBook(around.vault),
        mail=mail,
        work=around.work,
        mine=turn,
        seconds=around.seconds,
    )


def catch_up(around: Surroundings) -> CatchUp:
    """What makes a restored vault do again what the log says, before anybody is answered."""
    plans = PlanBook(around.vault)
    announcer = _announcer(around)
    return CatchUp(
        vault=around.vault,
        plans=plans,
        judge=_judge(around, plans),
        herald=around.herald,
        announce=announcer.announce,
        finding=around.finding,
    )


def _judge(around: Surroundings, plans: PlanBook) -> ControlJudge:
    return ControlJudge(
        herald=around.herald,
        keys=around.keys,
        plans=plans.within,
        finding=around.finding,
        own_key=SERVICE,
    )


def _announcer(around: Surroundings) -> Announcer:
    return Announcer(
        around.vault,
        around.sink,
        owner=around.owner,
        wall=wall,
        crash=around.crash,
        gone=around.gone,
    )


def _purge(around: Surroundings, care: LogCare, segment: float) -> Purge:
    return Purge(
        care=care,
        sink=around.sink,
        groups={"lapse.tag": GROUPS["tag"], "lapse.govern": GROUPS["govern"][:1]},
        finding=around.finding,
        now=wall,
        work=around.work,
        segment=int(segment * 1_000_000),
        crash=around.crash,
        tick_every=int(min(30.0, max(1.0, segment / 4)) * 1_000_000),
    )


def connect(connector: Handler) -> Connect:
    """The handle of `processor.<name>`; run the connector's own loop (`connector.run()`) beside it."""
    return Connect(connector=connector)
