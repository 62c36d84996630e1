"""What each role reads: it follows the policies, also those published while the role runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from lapse.layout import Layout
from lapse.recipients import opened_here
from processors.credentials import changed_at
from schemas.errors import Unavailable
from schemas.plan import Plans, ProcessorPlan

RENEW_SECONDS = 1.0
"""How often a role looks whether it has to read something else."""


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
