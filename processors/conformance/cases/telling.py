"""What is told, and whether it is known."""

from __future__ import annotations

from collections.abc import Mapping

from processors.conformance.bench import Bench
from processors.conformance.oracle import GONE
from processors.conformance.stage import Stage
from processors.conformance.values import Broken, NotApplicable
from processors.manifest import Deletion
from schemas.models import Cause

_ABSENT = frozenset({"already_absent"})
BEST: Mapping[Deletion, frozenset[str]] = {
    "gone": frozenset({"completed"}) | _ABSENT,
    "gone_later": frozenset({"completed", "accepted_async", "overwritten_only"}) | _ABSENT,
    "overwritten": frozenset({"overwritten_only", "manual_required"}) | _ABSENT,
    "by_hand": frozenset({"manual_required"}) | _ABSENT,
    "nothing_kept": frozenset({"not_applicable"}) | _ABSENT,
}
"""What an erasure or a recall may be told to have come to, by the strongest end the manifest offers."""
SOFTER = frozenset({"overwritten_only"})
"""What weaker causes may come to besides: a withdrawal may leave a suppressed address."""
CAUSES: tuple[Cause, ...] = ("retention", "withdrawal", "objection", "erasure", "recall")


async def receipts(stage: Stage) -> None:
    """Receipts say no more than is known, by what the manifest says is possible."""
    for cause in CAUSES:
        async with stage.run(cause) as played:
            await _receipts(played, cause)
    async with stage.run("of somebody who was never there") as played:
        lapse = played.ends("mail", cause="erasure")
        await played.lapse(lapse)
        await played.settle()
        if (outcome := played.answered(lapse)) not in _ABSENT | {"not_applicable"}:
            raise Broken(f"nobody was there, and the receipt says {outcome}")


async def _receipts(played: Bench, cause: Cause) -> None:
    one = played.give("d1", played.all_for("mail"))
    await played.deliver(one)
    await played.settle()
    await played.visit_all()
    told = played.outcomes(one.record.delivery_id)
    if told not in (["delivered"], ["accepted_async"]):
        raise Broken(f"d1 stands there, and its receipts say: {', '.join(told) or 'nothing'}")
    lapse = played.ends("mail", cause=cause, period=1 if cause == "retention" else None)
    await played.lapse(lapse)
    await played.settle()
    await played.judge()
    softer = frozenset() if cause in ("erasure", "recall") else SOFTER
    possible = BEST[played.party.manifest.deletion] | softer
    told = played.outcomes(lapse.id)
    for outcome in (*(each for each in told[:-1] if each != "accepted_async"), *told[-1:]):
        if outcome not in possible:
            offered = played.party.manifest.deletion
            raise Broken(f"its manifest offers `{offered}`, and a receipt says {outcome}")
    await played.finish()


async def claims_deletion(stage: Stage) -> None:
    """A vendor that claims a deletion and still returns the object is caught."""
    if not stage.party.manifest.readable:
        raise NotApplicable("what stands there cannot be read")
    async with stage.run() as played:
        await played.deliver(played.give("d1", played.all_for("mail")))
        await played.settle()
        for key, name in played.recipient.known.items():
            await played.recipient.present(key, name)
        played.tap.stale = dict(played.tap.reads)
        played.trace.say("from now on reads return what they returned before")
        lapse = played.ends("mail", cause="erasure")
        await played.lapse(lapse)
        for wait in (5.0, 60.0, 900.0):
            await played.tick(wait)
        if GONE & set(played.outcomes(lapse.id)):
            raise Broken("the receipt says that it is gone, while it can still be read there")
        played.tap.stale = None
        played.trace.say("reads return what stands there")
        await played.finish()


async def forgotten(stage: Stage) -> None:
    """An address the vendor never takes back is told so once, and not asked for ever."""
    if not stage.party.manifest.blocks_readding:
        raise NotApplicable("what was erased can be written again")
    async with stage.run() as played:
        one = played.give("d1", played.all_for("mail"))
        await played.deliver(one)
        await played.settle()
        await played.lapse(played.ends("mail", cause="erasure"))
        await played.finish()
        two = played.give("d2", played.all_for("mail"), like=one)
        await played.deliver(two)
        await played.settle()
        told = played.outcomes(two.record.delivery_id)
        if told != ["refused_by_vendor"]:
            raise Broken(
                f"it is never taken back, and the receipts of d2 say: {', '.join(told) or 'nothing'}"
            )
        asked = len(played.tap.seen)
        await played.tick(25 * 3600.0)
        if len(played.tap.seen) != asked:
            raise Broken("it is still asked for what it never takes back")
