"""Recipients as an installation calls them: for the connect role, for the key endpoint, and for one look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from lapse.main import Installation
from lapse.recipients import NOT_CONFIGURED, calls
from processors.build import Around, recipient
from processors.credentials import lacking
from processors.fakes import EVENTS
from processors.opening import PlansIn
from processors.registry import opens_here
from schemas.errors import BadInput, Unavailable
from schemas.plan import PolicyPlan
from streams.planbook import PlanBook


def surroundings(
    here: Installation, within: PlansIn, plans: Iterable[PolicyPlan], *, kafka: Mapping[str, Any]
) -> Around:
    """What connectors take from an installation; `kafka` are aiokafka's settings of the connect role."""
    runtime = here.runtime
    # A partner takes events under an address of its own.
    partners = {p.name for plan in plans for p in plan.processors if p.connector == "webhook"}
    return Around(
        vault=here.vault,
        plans=within,
        secrets_dir=here.layout.keys / "processors",
        kafka=dict(kafka),
        receipt_partitions=runtime.partitions,
        fake_urls={name: url + EVENTS * (name in partners) for name, url in runtime.fakes.items()},
        callback_url=f"https://{runtime.host}:{runtime.ports.keys}/v1/callbacks",
        allow_private=runtime.allow_private_webhooks,
        crash=here.crash,
    )


def check(here: Installation, name: str, timeout: float) -> dict[str, Any]:
    """Prove the credentials of a recipient that we call, moving nothing of anybody.

    `BadInput` where something is missing here, `Refused` where the recipient does not take them,
    `Unavailable` where it does not answer in time.
    """
    plan = here.plans.latest.processor(name)
    if not opens_here(plan.connector) or plan.connector == "kafka":
        what, do = "nobody is called here", "its own consumer has credentials: lapse processor onboard"
        raise BadInput("bad_argument", what, f"processors.{name}.connector", do)
    if calls(plan, here.layout) == NOT_CONFIGURED:
        what = lacking(here.layout.keys / "processors", plan) or NOT_CONFIGURED
        raise BadInput("not_configured", what, name, f"see lapse processor show {name}")
    around = surroundings(here, PlanBook(here.vault).within, here.plans, kafka={})

    async def ask() -> None:
        party = recipient(plan, around)
        try:
            async with asyncio.timeout(timeout):
                await party.check()
        except TimeoutError:
            raise Unavailable("timeout", f"it did not answer within {timeout:g} s", name) from None
        finally:
            await party.close()

    asyncio.run(ask())
    return {"processor": name, "connector": plan.connector, "credentials": "hold"}
