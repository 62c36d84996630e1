"""Stripe and Salesforce as the connect role runs them: sealed deliveries from a real vault to their fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from processors import fakes
from processors.backoff import Backoff, seconds
from processors.build import Around, connector
from processors.connector import Connector, Limits
from processors.credentials import stand_in_file
from processors.values import Timing
from tests.unit.processors.kit import outcomes
from tests.unit.processors.test_webhook import Set
from tests.unit.processors.world import World

NAME = ("user.name", {"name": "Ann Canary"}, ["answer_request"])
MAIL = ("user.contact.email", {"email": "ann@example.org"}, ["answer_request"])
QUICK = Timing(backoff=Backoff(first=seconds(0.02), longest=seconds(0.05), least=seconds(0.01)))
NAMES = {"stripe": {"name", "email", "metadata.lapse"}, "salesforce": {"LastName", "Email", "Subject_Key__c"}}


@pytest.fixture(params=["stripe", "salesforce"])
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Set]:
    """A world whose partner is one of the two, played by its fake."""
    world, kind = World(), request.param
    plan = replace(
        world.plan.processor("partner"), connector=kind, webhook=None, settings={"base_url": "fake:"}
    )
    running = await fakes.start(kind, secret_file=stand_in_file(tmp_path, plan))
    around = Around(
        vault=world.vault,
        plans=world.book.within,
        secrets_dir=tmp_path,
        kafka={},
        fake_urls={"partner": running.url},
        timing=QUICK,
        limits=Limits(poll=0.01, look_again=seconds(0.05)),
    )
    made = connector(plan, around)
    assert isinstance(made, Connector)
    made.gate.cool_down = made.gate.longest = seconds(0.02)
    yield Set(world, running, made)
    await made.close()
    await running.stop()


@pytest.mark.parametrize("kind", [None, "429", "5xx", "lost_answer", "html"])
async def test_what_is_delivered_stands_there_until_its_retention_ends(it: Set, kind: str | None) -> None:
    """Five people through a storm of faults, and away again through another."""
    people = [it.world.person("answer_request") for _ in range(5)]
    if kind:
        await it.fault(kind, times=7, seed=7)
    deliveries = [await it.deliver(p, [NAME, MAIL], record=f"r{n}") for n, p in enumerate(people)]
    await it.settle()
    held = await it.held()
    assert len(held) == 5
    assert {name for each in held for name in each["fields"]} == NAMES[type(it.running.state).__module__[17:]]
    assert all(outcomes(it.world.vault, d.delivery_id) == ["delivered"] for d in deliveries)
    if kind:
        await it.fault(kind, times=7, seed=8)
    it.world.pass_(30)
    it.world.expire()
    [lapse] = await it.lapses()
    await it.settle()
    assert await it.held() == []
    assert outcomes(it.world.vault, lapse.lapse_id) in (["completed"], ["already_absent"])


async def test_januarys_lapse_leaves_junes_data(it: Set) -> None:
    """Of two deliveries on one object the first one's end takes only what nothing later wrote."""
    ann = it.world.person("answer_request")
    await it.deliver(ann, [NAME, MAIL], record="january")
    it.world.pass_(10)
    june = ("user.contact.email", {"email": "new@example.org"}, ["answer_request"])
    await it.deliver(ann, [june], record="june")
    it.world.pass_(12)
    it.world.expire()
    await it.lapses()
    [held] = await it.held()
    assert "new@example.org" in held["fields"].values()
    assert "Ann Canary" not in held["fields"].values()
