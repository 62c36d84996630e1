"""A worker process for tests/e2e/test_engine.py: copies its topics to another one, with a fault on request.

Run as `python -m tests.e2e.engine_worker PLAN.json`; the plan's keys are the fields of `Plan`. Health is
appended to `<status>` as one JSON object per line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable
from streams.engine import Engine, KafkaAccess, Tuning
from streams.poison import BugBudget, bisect
from streams.ports import Chunk, Done, Handle, Inbound, Outbound, Outcome, Seek, one_by_one
from streams.worker import run

POISON = b"poison"


@dataclass
class Plan:
    """What this worker is to do; files are switches the test flips."""

    access: dict[str, Any]
    group: str
    topics: list[str]
    out: str
    workdir: str
    status: str
    slow: float = 0.0
    chunk_records: int = 2000
    commit_every: float = 1.0
    vault_away: str | None = None
    seek_once: int | None = None
    quarantine: str | None = None
    oversized: bool = False
    fail_task: bool = False
    stuck: str | None = None
    """A topic whose own agent gets nothing done."""


def _copy(plan: Plan, chunk: Chunk, record: Inbound) -> Outbound:
    origin = f"{chunk.topic}|{record.offset}|{chunk.topic_id.hex()}".encode()
    return Outbound(plan.out, chunk.partition, record.key, record.value, [("origin", origin)])


def _judge(record: Inbound) -> None:
    """Break on poison, with the payload in the exception's text as careless code does."""
    if record.value is not None and record.value.startswith(POISON):
        raise ValueError(f"cannot judge {record.value!r}")


async def _trial(chunk: Chunk) -> Outcome:
    for record in chunk.records:
        _judge(record)
    return Done()


def stage(plan: Plan, engine: Engine) -> Handle:
    """Return the stage of the plan."""
    budget = BugBudget(time.monotonic)

    async def copy(chunk: Chunk) -> Outcome:
        if plan.vault_away and Path(plan.vault_away).exists():  # noqa: ASYNC240 a switch of the test
            raise Unavailable("unavailable", "the vault does not answer", "vault")
        if plan.seek_once is not None:
            offset, plan.seek_once = plan.seek_once, None
            return Seek(offset)
        if plan.slow:
            await engine.work(time.sleep, plan.slow)
        if plan.oversized:
            plan.oversized = False
            await engine.sink.send([Outbound(plan.out, chunk.partition, None, b"x" * 1_000_001)])
        offenders: tuple[Inbound, ...] = ()
        if plan.quarantine:
            offenders = await bisect(_trial, chunk)
            budget.spend(len(offenders))
            await engine.sink.send([Outbound(plan.quarantine, 0, None, b"bug") for _ in offenders])
        else:
            await _trial(chunk)
        await engine.sink.send([_copy(plan, chunk, r) for r in chunk.records if r not in offenders])
        return Done()

    return copy


def build(plan: Plan) -> Engine:
    """Wire the worker."""
    engine = Engine(
        group=plan.group,
        access=KafkaAccess(**plan.access),
        workdir=Path(plan.workdir),
        now=lambda: time.time_ns() // 1000,
        tuning=Tuning(chunk_records=plan.chunk_records, commit_every=plan.commit_every),
    )
    if plan.topics:
        engine.sheaf_agent(*plan.topics, name="copy")(one_by_one(stage(plan, engine)))
    if plan.stuck:
        engine.agent(plan.stuck)(_stuck)
    if plan.fail_task:
        engine.task(_failing)
    return engine


async def _stuck(_: Chunk) -> Outcome:
    raise Unavailable("unavailable", "the recipient takes nothing", "recipient")


async def _failing() -> None:
    await asyncio.sleep(0.5)
    raise RuntimeError("a background task broke")


async def _tell(plan: Plan, engine: Engine) -> None:
    with Path(plan.status).open("a", buffering=1) as status:  # noqa: ASYNC230 a line, in a test
        while True:
            health = engine.health()
            line = {
                "state": health.state,
                "assigned": [list(place) for place in health.assigned],
                "lag": health.total_lag,
                "waiting_for": health.waiting_for,
                "healthy": health.healthy(time.time_ns() // 1000),
            }
            status.write(json.dumps(line) + "\n")
            await asyncio.sleep(0.1)


def main(file: str) -> int:
    """Run the plan in `file`."""
    plan = Plan(**json.loads(Path(file).read_text()))

    def built() -> Engine:
        engine = build(plan)
        # beside Faust, so that health is told before the group is joined
        asyncio.get_event_loop_policy().get_event_loop().create_task(_tell(plan, engine))
        return engine

    return run(built, level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
