"""Stripe and Salesforce as the connect role runs them: sealed deliveries from a real vault to their fakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from msgspec import structs

from lapse.collector.producer import MemoryProducer
from lapse.keyservice.app import create_app
from lapse.keyservice.build import listened
from lapse.keyservice.publishing import Signals
from processors import fakes
from processors.backoff import Backoff, seconds
from processors.build import Around, connector
from processors.connector import Connector, Limits
from processors.credentials import stand_in_file
from processors.values import Timing
from schemas.codec import decode_as, encode
from schemas.models import Depersonalized, ProcessorNotified, SignalReceived
from schemas.plan import ProcessorPlan
from tests.unit.processors.asgi import Client
from tests.unit.processors.kit import outcomes
from tests.unit.processors.test_webhook import Set
from tests.unit.processors.world import World

NAME = ("user.name", {"name": "Ann Canary"}, ["answer_request"])
MAIL = ("user.contact.email", {"email": "ann@example.org"}, ["answer_request"])
SOON = Backoff(first=seconds(0.02), longest=seconds(0.05), least=seconds(0.01))
QUICK = Timing(backoff=SOON, follow=SOON)
ERASES: dict[str, dict[str, str | int | bool]] = {
    "stripe": {"redaction_version": "2026-06-24.preview"},
    "salesforce": {"hard_delete": True},
}
NAMES = {"stripe": {"name", "email", "metadata.lapse"}, "salesforce": {"LastName", "Email", "Subject_Key__c"}}


@dataclass
class Both(Set):
    """A world, a vendor's fake, and the connector between them."""

    plan: ProcessorPlan = field(kw_only=True)
    around: Around = field(kw_only=True)

    async def erased(self) -> Depersonalized:
        """Let one person's data be erased, as by a request of theirs; return the lapse."""
        ann = self.world.person("answer_request")
        await self.deliver(ann, [NAME, MAIL])
        self.world.withdraw(ann, "answer_request")
        [value] = dict.fromkeys(value for _, value in self.world.owed("partner"))
        lapse = structs.replace(decode_as(Depersonalized, value), cause="erasure")
        await self.take(encode(lapse))
        assert await self.held() == []
        assert outcomes(self.world.vault, lapse.lapse_id) == ["accepted_async"]
        return lapse


@pytest.fixture(params=["stripe", "salesforce"])
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    """A world whose partner is one of the two, played by its fake."""
    world, kind = World(), request.param
    said: dict[str, str | int | bool] = {"base_url": "fake:", **ERASES[kind]}
    plan = replace(world.plan.processor("partner"), connector=kind, webhook=None, settings=said)
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
    yield Both(world, running, made, plan=plan, around=around)
    await made.close()
    await running.stop()


@pytest.mark.parametrize("kind", [None, "429", "lost_answer"])
async def test_what_is_delivered_stands_there_until_its_retention_ends(it: Both, kind: str | None) -> None:
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


async def test_januarys_lapse_leaves_junes_data(it: Both) -> None:
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


async def test_an_accepted_erasure_is_asked_about_until_its_end(it: Both) -> None:
    """The job is followed through its states, and the receipt says completed only then."""
    await _followed(it, await it.erased())


async def _followed(it: Both, lapse: Depersonalized) -> None:
    async with asyncio.timeout(30):
        while outcomes(it.world.vault, lapse.lapse_id) == ["accepted_async"]:
            await it.connector.following.tick()
            await asyncio.sleep(0.01)
    assert outcomes(it.world.vault, lapse.lapse_id) == ["accepted_async", "completed"]


@pytest.mark.parametrize("it", ["stripe"], indirect=True)
async def test_stripes_own_event_ends_an_erasure_and_tells_of_edits(it: Both) -> None:
    """Signed by Stripe, through `/in`: a job's end is looked at and then a receipt, an edit a signal."""
    lapse = await it.erased()
    broker, account = MemoryProducer(), it.running.state
    ear = listened(it.around, it.plan)
    app = create_app(
        it.world.vault, it.world.book.within, ears=lambda _: ear, publish=Signals(lambda: broker)
    )
    client = Client(app)

    async def told(kind: str, thing: dict[str, object]) -> int:
        event = {"type": kind, "created": int(time.time()), "data": {"object": thing}}
        body, headers = account.signed(event, int(time.time()))
        answer = await asyncio.to_thread(client.post, "/in/partner", content=body, headers=headers)
        return int(answer.status_code)

    [job] = account.jobs.all
    assert await told("privacy.redaction_job.succeeded", {"id": job}) // 100 == 2
    assert outcomes(it.world.vault, lapse.lapse_id) == ["accepted_async"], "said, but not seen"
    await _followed(it, lapse)
    edited: dict[str, object] = {"id": "cus_1", "email": "x@y.zz", "metadata": {"lapse": "5a" * 16}}
    assert await told("customer.updated", edited) // 100 == 2
    [signal] = [decode_as(SignalReceived, event.value) for event in broker.sent]
    assert isinstance(signal.body, ProcessorNotified)
    assert signal.body.notice == "object_edited"
    forged = await asyncio.to_thread(client.post, "/in/partner", content=b"{}")
    assert forged.status_code // 100 == 4
