"""A connector that dies at every step and is made anew on the same vault."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Literal

from processors.conformance.bench import Bench
from processors.conformance.stage import Stage, usual
from processors.conformance.tap import Act
from processors.conformance.values import Chunk, Died
from processors.faults import ANSWERED, CALLED, CLAIMED, DONE, ENTERED, FINISHED, MARKED

POINTS = (ENTERED, MARKED, CLAIMED, CALLED, ANSWERED, FINISHED, DONE)
"""Where a connector that calls can be told to die."""


async def restart(stage: Stage) -> None:
    """A connector that dies at any step, and is made anew, loses and doubles nothing."""
    for point, turn in stage.some([(point, turn) for point in POINTS for turn in (1, 2, 3)]):
        async with stage.run(f"it dies at {point}, the time of number {turn}") as played:
            _arm(played, point, turn)
            await usual(played)
            await played.finish()
    async with stage.run("it is made anew between any two steps") as played:
        await _between(played)
    count = await stage.requests(usual)
    sides: tuple[Literal["hold", "hold_answer"], ...] = ("hold", "hold_answer")
    for number, where in stage.some([(n, side) for n in range(count) for side in sides]):
        async with stage.run(f"it is killed in request {number + 1} ({where})") as played:
            await _killed(played, number, where)


def _arm(played: Bench, point: str, turn: int) -> None:
    left = turn

    def crash(here: str) -> None:
        nonlocal left
        if here == point:
            left -= 1
            if left == 0:
                raise Died(point)

    played.crash = crash


async def _between(played: Bench) -> None:
    steps = (("d1", "mail"), ("d2", "stats"))
    for name, purpose in steps:
        await played.deliver(played.give(name, played.all_for(purpose)))
        await played.renew()
    for purpose in ("stats", "mail"):
        await played.lapse(played.ends(purpose, cause="erasure" if purpose == "mail" else "withdrawal"))
        await played.renew()
        await played.settle()
        await played.judge()
    await played.finish()


async def _killed(played: Bench, number: int, where: Literal["hold", "hold_answer"]) -> None:
    """Kill the worker while a request is under way; whoever holds the request lets it go on afterwards."""
    go_on, plain = asyncio.Event(), played.handle
    slow = Act(what=where, until=go_on)
    played.tap.rule = lambda seen: slow if seen.number == number else None

    async def handle(chunk: Chunk) -> None:
        await _unless_held(played, plain(chunk), go_on)
        await plain(chunk)

    played.handle = handle  # type: ignore[method-assign]  # every chunk of the script is done by a mortal worker
    await usual(played)
    go_on.set()
    await played.finish()


async def _unless_held(played: Bench, work: Coroutine[None, None, None], go_on: asyncio.Event) -> None:
    working = asyncio.create_task(work)
    holding = asyncio.create_task(played.tap.held.wait())
    await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
    holding.cancel()
    if not working.done() and not go_on.is_set():
        played.trace.say("the worker is killed, and another takes over")
        working.cancel()
        await asyncio.wait({working})
        go_on.set()
        await played.renew()
        return
    await working
