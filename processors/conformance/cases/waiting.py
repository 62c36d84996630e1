"""What has to wait: deliveries while a processor is suspended, and ends that a vendor has only accepted."""

from __future__ import annotations

import asyncio

from processors.conformance.bench import Bench
from processors.conformance.oracle import GONE
from processors.conformance.stage import Stage, always, at, down
from processors.conformance.tap import Act, as_is
from processors.conformance.values import Broken, Lapse, NotApplicable

DAY = 86_400.0
WITHIN = 30 * DAY
"""How soon these lapses are to be answered."""


async def suspended(stage: Stage) -> None:
    """A suspension keeps back what is on its way, lets ends be carried out, and loses nothing."""
    async with stage.run("between two deliveries") as played:
        await _both(played)
        played.suspend()
        late = played.give("d2", played.all_for("stats"))
        await played.deliver(late)
        await _ended_meanwhile(played)
        if played.leaving.sent & set(late.marks.values()):
            raise Broken("d2 has left, although nothing may open")
        await _resumed(played)
    if stage.party.manifest.pulled:
        return
    async with stage.run("after a write that failed") as played:
        await _both(played)
        played.tap.rule = always(down())
        await played.deliver(played.give("d2", played.all_for("stats")))
        played.tap.rule = as_is
        played.suspend()
        await _ended_meanwhile(played)
        await _resumed(played)
    async with stage.run("while a write is under way") as played:
        await _both(played)
        go_on = asyncio.Event()
        played.tap.rule = at(len(played.tap.seen), Act(what="hold_answer", until=go_on))
        writing = asyncio.create_task(played.deliver(played.give("d2", played.all_for("stats"))))
        await played.tap.held.wait()
        played.suspend()
        go_on.set()
        await writing
        await _ended_meanwhile(played)
        await _resumed(played)


async def _both(played: Bench) -> None:
    for person in ("ann", "ben"):
        await played.deliver(played.give("d1", played.all_for("mail"), person=person))
    await played.settle()
    await played.judge()


async def _ended_meanwhile(played: Bench) -> None:
    """Let somebody's end come: it is carried out, and nothing else is sent however much time passes."""
    ends = played.ends("mail", person="ben", cause="erasure")
    await played.lapse(ends)
    for wait in (1.0, 60.0, 700.0, 3600.0):
        await played.visit_all()
        await played.tick(wait)
    played.answered(ends)


async def _resumed(played: Bench) -> None:
    played.resume()
    await played.settle()
    await played.judge()
    await played.lapse(played.ends("mail", "stats", cause="erasure"))
    await played.finish()


async def ends_later(stage: Stage) -> None:
    """What is only accepted is told so, then that it is late, and as done once it has ended."""
    async with stage.run("it ends in time") as played:
        lapse = await _accepted(played)
        await _ends(played, lapse)
    async with stage.run("nothing is heard until its time is over") as played:
        lapse = await _accepted(played)
        for wait in (WITHIN / 2, WITHIN / 2 + 60.0, DAY):
            await played.tick(wait)
        told = played.outcomes(lapse.id)
        if told != ["accepted_async", "manual_required"]:
            raise Broken(f"its time is over, and its receipts say: {', '.join(told)}")
        await _ends(played, lapse)


async def _accepted(played: Bench) -> Lapse:
    if played.party.later is None:
        raise NotApplicable("what it accepts it has done")
    played.party.later.begin(played.stand)
    await played.deliver(played.give("d1", played.all_for("mail")))
    await played.settle()
    lapse = played.ends("mail", cause="erasure", within=WITHIN)
    await played.lapse(lapse)
    for wait in (0.0, 5.0, 60.0):
        await played.tick(wait)
    told = played.outcomes(lapse.id)
    if set(told) & GONE:
        raise NotApplicable("what it accepts it has done")
    if told != ["accepted_async"]:
        raise Broken(f"it was accepted, and its receipts say: {', '.join(told) or 'nothing'}")
    return lapse


async def _ends(played: Bench, lapse: Lapse) -> None:
    assert played.party.later is not None
    played.trace.say("the vendor does what it had accepted")
    await played.party.later.end(played.stand, played.hook.url)
    await played.finish()
    if played.answered(lapse) not in GONE:
        raise Broken(f"it has ended, and its last receipt says {played.answered(lapse)}")
