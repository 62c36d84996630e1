"""Deliveries that come again, or in another order than they were made."""

from __future__ import annotations

from processors.conformance.stage import Stage
from processors.conformance.values import Broken


async def redelivery(stage: Stage) -> None:
    """The same deliveries again change nothing, and nothing is asked again."""
    async with stage.run() as played:
        one, two = (
            played.give("d1", played.all_for("mail")),
            played.give("d2", played.all_for("mail", "stats")),
        )
        chunk = played.chunk(one, two)
        await played.handle(chunk)
        await played.settle()
        await played.judge()
        before, asked, told = await played.shelf(), len(played.tap.seen), len(played.told)
        await played.handle(chunk)
        if stage.party.manifest.deletion != "nothing_kept":  # of what nobody keeps nothing is remembered
            await played.deliver(two, one, two)
        await played.settle()
        await played.judge()
        if await played.shelf() != before:
            raise Broken("what stands there has changed")
        if len(played.tap.seen) != asked:
            raise Broken(f"it is asked {len(played.tap.seen) - asked} times for what it has already")
        if len(played.told) != told:
            raise Broken("a delivery is told of twice")


async def out_of_order(stage: Stage) -> None:
    """Old revisions and duplicates, whenever they come, never replace what is newer."""
    for order in ((2, 1, 2), (1, 2, 1), (1, 1, 2, 2), (3, 1, 2)):
        for together in (True, False):
            async with stage.run(f"revisions {order}, {'one chunk' if together else 'one by one'}") as played:
                made = {n: played.give("d1", played.all_for("mail"), revision=n) for n in sorted(set(order))}
                await played.deliver(played.give("d0", played.all_for("stats")))
                if together:
                    await played.deliver(*(made[n] for n in order))
                else:
                    for n in order:
                        await played.deliver(made[n])
                        await played.tick()
                await played.settle()
                await played.judge()
                await played.lapse(played.ends("mail", "stats", cause="erasure"))
                await played.finish()
