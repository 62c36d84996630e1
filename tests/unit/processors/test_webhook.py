"""The webhook connector, whole: sealed deliveries from a real vault, real HTTP to the partner that ships."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lapse.keyservice.app import create_app
from processors import fakes
from processors.backoff import Backoff, seconds
from processors.build import Around, connector
from processors.connector import Connector, Limits
from processors.credentials import webhook_secret_file
from processors.fakes import partner
from processors.fakes.partner import Partner
from processors.fakes.serving import Running, serve
from processors.messages import Secrets
from processors.tokens import make_secret
from processors.values import Timing
from processors.webhook import load_secrets
from schemas.codec import decode_as, encode
from schemas.errors import BadInput
from schemas.models import Depersonalized, RecordDelivered
from schemas.plan_parts import WebhookPlan
from streams.ports import Chunk, Inbound
from tests.unit.processors.asgi import Client
from tests.unit.processors.kit import outcomes
from tests.unit.processors.world import World
from vault.values import ProcessorState

NAME = ("user.name", {"name": "Ann Canary"}, ["answer_request"])
MAIL = ("user.contact.email", {"email": "ann@example.org"}, ["answer_request"])
QUICK = Timing(
    call=seconds(2),
    lease=seconds(3),
    closed=seconds(0.1),
    shut=seconds(0.1),
    backoff=Backoff(first=seconds(0.02), longest=seconds(0.05), least=seconds(0.01)),
)


@dataclass
class Set:
    """A world, a partner, and the connector between them."""

    world: World
    running: Running
    connector: Connector
    offset: int = 0

    @property
    def partner(self) -> Partner:
        """The fake itself."""
        assert isinstance(self.running.state, Partner)
        return self.running.state

    async def take(self, *values: bytes) -> int | None:
        """Hand the connector one chunk of partition 0."""
        records = [
            Inbound(offset=self.offset + n, timestamp_ms=0, key=None, value=v) for n, v in enumerate(values)
        ]
        self.offset += len(values)
        return await self.connector.handle(
            Chunk(topic="processor.partner", topic_id=b"t" * 16, partition=0, records=records)
        )

    async def deliver(self, number: Any, fields: Any, **more: Any) -> RecordDelivered:
        """Seal and hand over."""
        delivery = self.world.deliver("partner", number, fields, **more)
        await self.take(encode(delivery))
        return delivery

    async def lapses(self) -> list[Depersonalized]:
        """Hand over every lapse that the vault owes the partner, from one partition only; return them."""
        values = list(dict.fromkeys(value for _, value in self.world.owed("partner")))
        lapses = [decode_as(Depersonalized, value) for value in values]
        if values:
            await self.take(*values)
        return lapses

    async def settle(self, times: int = 100) -> None:
        """Run the loop until nothing waits."""
        for _ in range(times):
            if not self.connector.waiting():
                return
            await self.connector.tick()
            await asyncio.sleep(0.02)
        raise AssertionError("never settles")

    async def held(self) -> list[dict[str, Any]]:
        """Ask the partner what it holds."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.running.url}/_held") as answer:
            return list((await answer.json())["objects"])

    async def fault(self, kind: str, times: int = 1, **more: Any) -> None:
        """Let the partner misbehave."""
        body = json.dumps({"kind": kind, "times": times, **more}).encode()
        async with (
            aiohttp.ClientSession() as http,
            http.put(f"{self.running.url}/_fault", data=body) as answer,
        ):
            assert answer.status == 200


def test_a_stand_in_opens_this_host_to_no_other_recipient(tmp_path: Path) -> None:
    """One recipient played on loopback leaves the addresses of all others checked."""
    world = World()
    webhook_secret_file(tmp_path, "partner").write_text(make_secret() + "\n")
    plan = world.plan.processor("partner")
    private = replace(
        plan, webhook=WebhookPlan(url="http://169.254.169.254/", erasure_url=None, allow_private=False)
    )
    around = Around(
        vault=world.vault,
        plans=world.book.within,
        secrets_dir=tmp_path,
        kafka={},
        fake_urls={"other": "http://127.0.0.1:20000/events"},
    )
    with pytest.raises(BadInput) as caught:
        connector(private, around)
    assert caught.value.code == "address_refused"


def build(world: World, running: Running, secrets_dir: Path, **more: Any) -> Connector:
    """Build it as the connect role does."""
    made = connector(
        world.plan.processor("partner"),
        Around(
            vault=world.vault,
            plans=world.book.within,
            secrets_dir=secrets_dir,
            kafka={},
            fake_urls={"partner": running.url + fakes.EVENTS},
            timing=QUICK,
            limits=Limits(poll=0.01, look_again=seconds(0.05)),
            **more,
        ),
    )
    assert isinstance(made, Connector)
    return made


@pytest.fixture
async def set_up(tmp_path: Path) -> AsyncIterator[Set]:
    """Everything, on free ports."""
    secret_file = webhook_secret_file(tmp_path, "partner")
    secret_file.write_text(make_secret() + "\n")
    running = await fakes.start("partner", secret_file=secret_file)
    world = World()
    made = build(world, running, tmp_path)
    made.gate.cool_down = made.gate.longest = seconds(0.05)
    yield Set(world, running, made)
    await made.close()
    await running.stop()


async def test_fields_arrive_and_leave_with_their_retention(set_up: Set) -> None:
    """A delivery is held under the pseudonym; when its bucket dies the object is erased, and told so."""
    ann = set_up.world.person("answer_request")
    delivery = await set_up.deliver(ann, [NAME, MAIL])
    [held] = await set_up.held()
    assert held["id"] == delivery.subject_ref.hex()
    assert held["fields"] == {"name": "Ann Canary", "email": "ann@example.org"}
    assert [p["purpose"] for p in held["purposes"]] == ["answer_request"]
    assert outcomes(set_up.world.vault, delivery.delivery_id) == ["delivered"]
    set_up.world.pass_(30)
    set_up.world.expire()
    [lapse] = await set_up.lapses()
    assert await set_up.held() == []
    assert outcomes(set_up.world.vault, lapse.lapse_id) == ["completed"]


async def test_januarys_lapse_leaves_junes_data(set_up: Set) -> None:
    """Two deliveries of a person on one object: the earlier one's end takes only what nothing later wrote."""
    ann = set_up.world.person("answer_request")
    await set_up.deliver(ann, [NAME, MAIL], record="january")
    set_up.world.pass_(10)
    june = ("user.contact.email", {"email": "new@example.org"}, ["answer_request"])
    await set_up.deliver(ann, [june], record="june")
    set_up.world.pass_(12)
    set_up.world.expire()
    [lapse] = await set_up.lapses()
    [held] = await set_up.held()
    assert held["fields"] == {"email": "new@example.org"}
    assert outcomes(set_up.world.vault, lapse.lapse_id) == ["completed"]
    set_up.world.pass_(12)
    set_up.world.expire()
    await set_up.lapses()
    assert await set_up.held() == []


async def test_a_withdrawal_before_the_delivery_is_read_opens_nothing(set_up: Set) -> None:
    """What lapsed on its way is never sent: told as not opened, and the lapse finds nothing to remove."""
    ann = set_up.world.person("answer_request")
    delivery = set_up.world.deliver("partner", ann, [NAME])
    set_up.world.pass_(30)
    set_up.world.expire()
    await set_up.take(encode(delivery))
    [lapse] = await set_up.lapses()
    assert set_up.partner.counts["events"] == 0
    assert outcomes(set_up.world.vault, delivery.delivery_id) == ["not_opened"]
    assert outcomes(set_up.world.vault, lapse.lapse_id) == ["not_applicable"]


@pytest.mark.parametrize("kind", ["429", "5xx", "lost_answer", "html"])
async def test_a_misbehaving_partner_still_ends_with_exactly_what_it_may_have(set_up: Set, kind: str) -> None:
    """Deliveries and their lapse through a storm of faults: nothing is lost, nothing stays."""
    people = [set_up.world.person("answer_request") for _ in range(5)]
    await set_up.fault(kind, times=7, seed=7)
    for number, person in enumerate(people):
        await set_up.deliver(person, [NAME], record=f"r{number}")
    await set_up.settle()
    assert len(await set_up.held()) == 5
    await set_up.fault(kind, times=7, seed=8)
    set_up.world.pass_(30)
    set_up.world.expire()
    [lapse] = await set_up.lapses()
    await set_up.settle()
    assert await set_up.held() == []
    assert outcomes(set_up.world.vault, lapse.lapse_id) == ["completed"]


async def test_an_answer_lost_after_the_work_counts_as_a_copy(set_up: Set) -> None:
    """The lapse of a delivery whose answer never came erases it all the same."""
    ann = set_up.world.person("answer_request")
    await set_up.fault("lost_answer")
    await set_up.deliver(ann, [NAME])
    assert len(await set_up.held()) == 1
    set_up.world.pass_(30)
    set_up.world.expire()
    await set_up.lapses()
    await set_up.settle()
    assert await set_up.held() == []


async def test_a_slow_object_does_not_hold_up_the_others(set_up: Set) -> None:
    """One call hangs until its deadline; the rest of the chunk is delivered meanwhile."""
    people = [set_up.world.person("answer_request") for _ in range(4)]
    deliveries = [set_up.world.deliver("partner", p, [NAME], record=f"r{n}") for n, p in enumerate(people)]
    await set_up.fault("slow", seconds=0.9)
    task = asyncio.create_task(set_up.take(*(encode(d) for d in deliveries)))
    await asyncio.sleep(0.4)
    assert len(await set_up.held()) == 3
    await task
    assert len(await set_up.held()) == 4


async def test_suspension_stops_opening_and_not_lapsing(set_up: Set) -> None:
    """While suspended nothing new is sent, but a lapse still erases; resumed, what lives is sent at once."""
    ann, ben = set_up.world.person("answer_request"), set_up.world.person("answer_request")
    await set_up.deliver(ann, [NAME], record="before")
    with set_up.world.vault.transaction() as tx:
        tx.put_processor(ProcessorState(name="partner", approved=True, suspended=True))
    late = await set_up.deliver(ben, [NAME], record="during")
    assert [h["id"] for h in await set_up.held()] != [late.subject_ref.hex()]
    assert len(await set_up.held()) == 1
    assert set_up.connector.waiting() == 0  # asleep: not counted as lag
    await set_up.connector.tick()
    assert len(await set_up.held()) == 1
    set_up.world.withdraw(ann, "answer_request")
    await set_up.lapses()
    await set_up.settle()
    assert await set_up.held() == []
    with set_up.world.vault.transaction() as tx:
        tx.put_processor(ProcessorState(name="partner", approved=True))
    await asyncio.sleep(0.15)
    await set_up.connector.tick()
    assert [h["id"] for h in await set_up.held()] == [late.subject_ref.hex()]


async def test_a_partner_that_closes_its_endpoint_is_left_alone(set_up: Set) -> None:
    """410 disables the connector until somebody enables it again."""
    ann = set_up.world.person("answer_request")
    await set_up.fault("410")
    await set_up.deliver(ann, [NAME])
    assert set_up.connector.gate.disabled
    await asyncio.sleep(0.1)
    await set_up.connector.tick()
    assert set_up.partner.counts["events"] == 0
    set_up.connector.gate.enable()
    await set_up.settle()
    assert len(await set_up.held()) == 1


async def test_a_redirect_is_never_followed(set_up: Set) -> None:
    """A redirect pauses the connector; nothing is sent anywhere else."""
    ann = set_up.world.person("answer_request")
    await set_up.fault("redirect")
    await set_up.deliver(ann, [NAME])
    assert set_up.connector.gate.code == "vendor_redirect"
    assert await set_up.held() == []


async def test_a_redelivered_chunk_is_not_sent_again(set_up: Set) -> None:
    """The vault's progress lets a zombie's chunk pass without effect."""
    ann = set_up.world.person("answer_request")
    delivery = set_up.world.deliver("partner", ann, [NAME])
    await set_up.take(encode(delivery))
    set_up.offset = 0
    assert await set_up.take(encode(delivery)) is None
    assert set_up.partner.counts["events"] == 1


async def test_ticks_are_skipped(set_up: Set) -> None:
    """A null value only rolls a segment."""
    records = [Inbound(offset=0, timestamp_ms=0, key=None, value=None, headers=(("lapse-tick", b""),))]
    chunk = Chunk(topic="processor.partner", topic_id=b"t" * 16, partition=0, records=records)
    assert await set_up.connector.handle(chunk) is None


async def test_an_asynchronous_erasure_ends_with_a_signed_callback(tmp_path: Path) -> None:
    """201 is told as accepted; the partner's signed callback to the key endpoint as completed, once."""
    world, secret = World(), make_secret()
    webhook_secret_file(tmp_path, "partner").write_text(secret)
    endpoint = Client(
        create_app(
            world.vault,
            world.book.within,
            partners=lambda name: load_secrets(webhook_secret_file(tmp_path, name)),
        )
    )
    calls: list[tuple[str, bytes, dict[str, str]]] = []

    async def forward(request: web.Request) -> web.Response:
        calls.append((request.path, await request.read(), dict(request.headers)))
        answer = await asyncio.to_thread(
            endpoint.post, request.path, content=calls[-1][1], headers=calls[-1][2]
        )
        return web.Response(status=answer.status_code)

    app = web.Application()
    app.router.add_post("/{tail:.*}", forward)
    front = await serve(app, host="127.0.0.1", port=0, state=None)
    running = await partner.start(secret, asynchronous=True)
    made = build(world, running, tmp_path, callback_url=f"{front.url}/v1/callbacks")
    both = Set(world, running, made)
    ann = world.person("answer_request")
    await both.deliver(ann, [NAME])
    world.pass_(30)
    world.expire()
    [lapse] = await both.lapses()
    assert outcomes(world.vault, lapse.lapse_id) == ["accepted_async"]
    for _ in range(100):
        if calls and outcomes(world.vault, lapse.lapse_id) != ["accepted_async"]:
            break
        await asyncio.sleep(0.05)
    assert outcomes(world.vault, lapse.lapse_id) == ["accepted_async", "completed"]
    assert await both.held() == []
    path, body, headers = calls[-1]
    again = await asyncio.to_thread(endpoint.post, path, content=body, headers=headers)
    assert again.status_code == 404
    forged = await asyncio.to_thread(endpoint.post, path, content=body + b" ", headers=headers)
    assert forged.status_code == 403
    assert outcomes(world.vault, lapse.lapse_id) == ["accepted_async", "completed"]
    for each in (made, running, front):
        await (each.close() if isinstance(each, Connector) else each.stop())


@pytest.mark.parametrize("text", ["", "hunter2", "whsec_*", "whsec_!!!!", "whsec_" + "QUJD" * 2])
def test_a_secret_file_that_is_not_one_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    (tmp_path / "s").write_text(text)
    with pytest.raises(BadInput) as refused:
        load_secrets(tmp_path / "s")
    assert str(tmp_path) in str(refused.value)
    assert not text or text not in str(refused.value)


def test_both_secrets_of_a_rotation_sign_and_verify() -> None:
    """During a rotation either side may be ahead of the other."""
    old, new = make_secret(), make_secret()
    both = Secrets.parse(f"# rotation\n{new}\n{old}\n", where="s")
    assert both.keys == (new, old)
