"""Lapses before, between and after deliveries."""

from __future__ import annotations

from processors.conformance.stage import Stage
from processors.conformance.values import Broken


async def lapse_before(stage: Stage) -> None:
    """A lapse that comes before its delivery keeps it from ever leaving."""
    for cause in ("withdrawal", "erasure"):
        async with stage.run(cause) as played:
            one = played.give("d1", played.all_for("mail"))
            await played.lapse(played.ends("mail", cause=cause))
            await played.deliver(one)
            await played.settle()
            if played.leaving.sent & set(one.marks.values()):
                raise Broken("d1 has left, although its lapse came first")
            await played.deliver(played.give("d2", played.all_for("mail")))
            await played.finish()


async def lapse_between(stage: Stage) -> None:
    """A lapse between deliveries ends what was before it, and nothing after it."""
    for together in (False, True):
        async with stage.run("one chunk" if together else "three chunks") as played:
            one = played.give("d1", played.all_for("mail"))
            if not together:
                await played.deliver(one)
                await played.settle()
            lapse = played.ends("mail", cause="retention", period=1)
            two = played.give("d2", played.all_for("mail"), period=2)
            if together:
                await played.handle(played.chunk(one, lapse, two))
            else:
                await played.lapse(lapse)
                await played.deliver(two)
            await played.finish()


async def lapse_after(stage: Stage) -> None:
    """A lapse of one purpose leaves what another still justifies, the last leaves nothing."""
    async with stage.run() as played:
        first, *rest = played.fields
        one = played.give("d1", {first: ("mail", "stats"), **dict.fromkeys(rest, ("stats",))})
        await played.deliver(one, played.give("d1", played.all_for("mail"), person="ben"))
        await played.settle()
        await played.judge()
        await played.lapse(played.ends("stats"))
        await played.settle()
        await played.judge()
        await played.lapse(played.ends("mail", cause="erasure"))
        await played.finish()


async def periods(stage: Stage) -> None:
    """January's lapse leaves June's data."""
    for june_first in (False, True):
        async with stage.run("June comes first" if june_first else "January comes first") as played:
            first, *_ = played.fields
            january = played.give("january", played.all_for("mail"), period=1)
            june = played.give("june", {first: ("mail",)}, period=6)
            for each in (june, january) if june_first else (january, june):
                await played.deliver(each)
            await played.settle()
            await played.lapse(played.ends("mail", cause="retention", period=1))
            await played.settle()
            await played.judge()
            await played.lapse(played.ends("mail", cause="retention", period=6))
            await played.finish()
