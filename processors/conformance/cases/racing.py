"""Ends that meet a write still under way: every order of what can happen, wherever it is slow."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Literal, NamedTuple

from processors.conformance.bench import Bench
from processors.conformance.cases.failing import called
from processors.conformance.stage import Stage
from processors.conformance.tap import Act
from processors.conformance.values import Lapse
from schemas.models import Cause

STEPS = ("keys", "lapse", "look", "answer")
"""Keys end, the lapse is read, the loop looks at what waits, the slow request goes on."""
ORDERS = tuple(order for order in permutations(STEPS) if order.index("keys") < order.index("lapse"))


class Variant(NamedTuple):
    """Which request of the write is slow, on which side of its work, and in which order things happen."""

    slow: int
    where: Literal["hold", "hold_answer"]
    order: tuple[str, ...]
    known: bool
    """Whether the person has an object there already."""


async def withdrawal(stage: Stage) -> None:
    """A withdrawal holds in every interleaving with a slow write."""
    await _race(stage, "withdrawal")


async def erasure(stage: Stage) -> None:
    """An erasure holds in every interleaving with a slow write."""
    await _race(stage, "erasure")


async def recall(stage: Stage) -> None:
    """A recall holds in every interleaving with a slow write."""
    await _race(stage, "recall")


async def _race(stage: Stage, cause: Cause) -> None:
    called(stage)
    lengths = [await _length(stage, known=known) for known in (False, True)]
    variants = [
        Variant(slow, where, order, known)
        for known in (False, True)
        for slow in range(lengths[known])
        for where in ("hold", "hold_answer")
        for order in ORDERS
    ]
    for variant in stage.some(variants):
        about = f"request {variant.slow + 1} is slow ({variant.where}); then {', '.join(variant.order)}"
        async with stage.run(about) as played:
            await _play(played, cause, variant)


async def _length(stage: Stage, *, known: bool) -> int:
    """Return how many requests the write makes when nothing is slow."""
    async with stage.run() as played:
        before = await _begun(played, known=known)
        await played.deliver(played.give("d1", played.all_for("mail")))
        await _breath()
        return max(1, len(played.tap.seen) - before)  # one that answers first and writes later writes, too


async def _begun(played: Bench, *, known: bool) -> int:
    if known:
        await played.deliver(played.give("d0", {played.fields[0]: ("care",)}))
        await played.settle()
        await played.visit_all()
    return len(played.tap.seen)


async def _play(played: Bench, cause: Cause, variant: Variant) -> None:
    go_on, act = asyncio.Event(), variant.slow + await _begun(played, known=variant.known)
    one = played.give("d1", played.all_for("mail"))
    slow = Act(what=variant.where, until=go_on)
    played.tap.rule = lambda seen: slow if seen.number == act else None
    writing = asyncio.create_task(played.deliver(one))
    reading: list[asyncio.Task[None]] = []
    try:
        holding = asyncio.create_task(played.tap.held.wait())
        await asyncio.wait({writing, holding}, return_when=asyncio.FIRST_COMPLETED)
        holding.cancel()
        lapse: Lapse | None = None
        for step in variant.order:
            match step:
                case "keys":
                    lapse = played.ends("mail", "care", cause=cause)
                case "lapse":
                    assert lapse is not None
                    reading.append(asyncio.create_task(played.lapse(lapse, partition=1)))
                    await _breath()
                case "look":
                    reading.append(asyncio.create_task(_look(played)))
                    await _breath()
                case _:
                    played.trace.say("the slow request goes on")
                    go_on.set()
                    await writing
        await asyncio.gather(writing, *reading)
    finally:
        go_on.set()
        for task in (writing, *reading):
            task.cancel()
        await asyncio.gather(writing, *reading, return_exceptions=True)
    await played.finish()


async def _look(played: Bench) -> None:
    await played.tick(1.0)


async def _breath() -> None:
    """Let what was started get to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
