"""JivoChat asks and is shown: what its webhooks say, what they are answered, and an end done by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lapse.collector.producer import MemoryProducer
from lapse.keyservice.app import create_app
from lapse.keyservice.build import listened
from lapse.keyservice.publishing import Signals
from processors.answers import Done
from processors.build import Around, connector
from processors.calls import Erase, Write
from processors.connector import Connector, Limits
from processors.fakes.jivochat import Jivochat as Fake
from processors.fakes.jivochat import start
from processors.fakes.serving import serve
from processors.jivochat import MANIFEST, Jivochat
from processors.recipient import Edited, Heard, Hears, Post
from schemas.codec import decode_as, encode
from schemas.errors import BadInput, LapseError
from schemas.ids import Micros
from schemas.models import Depersonalized, ProcessorNotified, SignalReceived
from streams.ports import Chunk, Inbound
from tests.unit.processors.asgi import Client
from tests.unit.processors.kit import outcomes
from tests.unit.processors.world import World

NOW = Micros(1_790_000_000_000_000)
TOKEN = "0123456789abcdef" * 2
FIELDS = {**MANIFEST.fields, "company": "custom.Company", "phone": "phone"}
PLAIN = {"result": "ok"}


def chat(**said: str) -> Jivochat:
    """Return a connector."""
    settings = Jivochat.settings(said, {"hook_secret": "canary secret"})
    return Jivochat(processor="chat", settings=settings, fields=FIELDS, wall=lambda: NOW)


def post(event: Any, *, secret: str = "canary secret", peer: str = "192.0.2.7") -> Post:  # noqa: S107  # made up
    """Return a webhook as it comes in."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Post(headers={}, query={"secret": secret}, body=body, peer=peer)


def event(name: str, **more: Any) -> dict[str, Any]:
    """Return an event about our visitor."""
    return {"event_name": name, "user_token": TOKEN, "client_id": 7, **more}


def test_the_events_of_a_chat_ask_for_the_fields_and_others_do_not() -> None:
    """By the pseudonym the widget was given; a visitor without one has nothing to be shown."""
    one = chat()
    assert isinstance(one, Hears)
    for name in ("chat_accepted", "chat_updated"):
        assert one.heard(post(event(name)), NOW) == Heard(wants=TOKEN)
    for name in ("chat_finished", "offline_message", "call_event", "what_comes_next"):
        assert one.heard(post(event(name)), NOW) == Heard()
    for token in (None, "", 7, "ann@example.org", TOKEN.upper()):
        assert one.heard(post(event("chat_accepted") | {"user_token": token}), NOW) == Heard()


def test_the_answer_carries_mapped_fields_or_nothing() -> None:
    """`contact_info` has three places, custom fields have titles; without fields it is a bare yes."""
    one, heard = chat(), Heard(wants=TOKEN)
    fields = {"name": "Ann", "email": "ann@example.org", "company": "Acme", "message": "secret"}
    assert json.loads(one.answer(heard, fields)) == {
        "result": "ok",
        "contact_info": {"name": "Ann", "email": "ann@example.org"},
        "custom_data": [{"title": "Company", "content": "Acme"}],
    }
    assert json.loads(one.answer(heard, {})) == PLAIN
    assert json.loads(one.answer(heard, {"message": "secret"})) == PLAIN


@pytest.mark.parametrize(
    ("visitor", "emptied"),
    [
        ({"name": "", "email": None, "phone": " "}, True),
        ({"name": "-", "email": "-", "phone": "-"}, True),
        ({"name": "Visitor 4711", "email": "", "phone": ""}, True),
        ({"name": "Client #12", "email": "", "phone": ""}, True),
        ({"name": "Ann", "email": "", "phone": ""}, False),
        ({"name": "", "email": "ann@example.org", "phone": ""}, False),
        ({"name": "", "email": ""}, False),
        ({"name": "", "email": "", "phone": 7}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_card_counts_as_emptied_only_where_nothing_of_ours_is_left(visitor: Any, emptied: bool) -> None:
    """What it does not show may still be there."""
    said = chat().heard(post(event("client_updated", visitor=visitor)), NOW).said
    assert said == (Edited(vendor_id=TOKEN, at=NOW, emptied=emptied),)


def test_a_webhook_from_anybody_else_says_nothing() -> None:
    """The secret in the address, and where it is stated, the address it comes from."""
    with pytest.raises(LapseError, match="vendor_login"):
        chat().heard(post(event("chat_accepted"), secret=""), NOW)
    listed = chat(allow_from="192.0.2.0/28, 2001:db8::1")
    assert listed.heard(post(event("chat_accepted")), NOW).wants == TOKEN
    assert listed.heard(post(event("chat_accepted"), peer="2001:db8::1"), NOW).wants == TOKEN
    for peer in ("192.0.2.99", "", "testclient"):
        with pytest.raises(LapseError, match="vendor_login"):
            listed.heard(post(event("chat_accepted"), peer=peer), NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """Without repeating it."""
    with pytest.raises(BadInput):
        chat().heard(post(body), NOW)


async def test_an_end_is_a_task_for_somebody_in_the_app() -> None:
    """No interface changes or deletes a card; nothing claims otherwise."""
    one = chat()
    erased = await one.call(Erase(key=TOKEN, vendor_id=None, version=1, cause="erasure"))
    assert erased == Done(outcome="manual_required", request=TOKEN)
    fewer = Write(key=TOKEN, vendor_id=None, version=1, set={}, blank=("phone",), purposes=())
    assert await one.call(fewer) == Done(outcome="manual_required")
    assert await one.present(TOKEN, None) is None
    await one.check()


@pytest.mark.parametrize(
    ("said", "secrets"), [({}, {}), ({"allow_from": "everywhere"}, {"hook_secret": "s"})]
)
def test_settings_that_cannot_be_are_named(said: dict[str, str], secrets: dict[str, str]) -> None:
    """A missing secret would let anybody ask."""
    with pytest.raises(BadInput):
        Jivochat.settings(said, secrets)
    assert "canary" not in repr(Jivochat.settings({}, {"hook_secret": "canary"}))


# ---- the whole way: sealed deliveries, the endpoint, the stand-in ------------------------------------------
@dataclass
class Desk:
    """A world whose CRM is played by JivoChat, its connector, the key endpoint and the stand-in."""

    world: World
    connector: Connector
    client: Client
    broker: MemoryProducer
    fake: Fake
    offset: int = 0

    async def take(self, *values: bytes) -> None:
        """Hand the connector a chunk."""
        records = [
            Inbound(offset=self.offset + n, timestamp_ms=0, key=None, value=v) for n, v in enumerate(values)
        ]
        self.offset += len(values)
        await self.connector.handle(
            Chunk(topic="processor.crm", topic_id=b"t" * 16, partition=0, records=records)
        )

    async def lapse(self, number: Any) -> Depersonalized:
        """End what Ann has at the recipient; return the lapse that says so."""
        self.world.withdraw(number, "answer_request")
        [value] = dict.fromkeys(value for _, value in self.world.owed("crm"))
        await self.take(value)
        return decode_as(Depersonalized, value)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Put them together as the roles do."""
    world = World(edit=lambda t: t.replace("connector: pull", "connector: jivochat", 1))
    (tmp_path / "crm.jivochat").write_text(json.dumps({"hook_secret": "s3cret"}))
    around = Around(
        vault=world.vault,
        plans=world.book.within,
        secrets_dir=tmp_path,
        kafka={},
        limits=Limits(poll=0.01),
    )
    made, broker = connector(world.plan.processor("crm"), around), MemoryProducer()
    assert isinstance(made, Connector)
    client = Client(
        create_app(
            world.vault,
            world.book.within,
            ears=lambda plan: listened(around, plan),
            publish=Signals(lambda: broker),
        )
    )
    bridge, running = await serve(_bridge(client), host="127.0.0.1", port=0, state=None), await start()
    running.state.hook = f"{bridge.url}/in/crm?secret=s3cret"
    yield Desk(world=world, connector=made, client=client, broker=broker, fake=running.state)
    await running.stop()
    await bridge.stop()
    await made.close()


def _bridge(client: Client) -> web.Application:
    """Serve the endpoint on a port."""

    async def hand_on(request: web.Request) -> web.Response:
        body = await request.read()
        answer = await asyncio.to_thread(client.post, request.path_qs, content=body)
        return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

    app = web.Application()
    app.router.add_post("/in/{name}", hand_on)
    return app


async def test_a_chat_shows_what_lives_and_after_an_erasure_nothing(desk: Desk) -> None:
    """The copy is entered as it is shown; its end is a task that the emptied card closes, with evidence."""
    ann = desk.world.person("answer_request")
    fields = [("user.contact.email", {"email": "ann@example.org"}, ["answer_request"])]
    delivery = desk.world.deliver("crm", ann, fields)
    token = delivery.subject_ref.hex()
    assert await desk.fake.act("chat_accepted", token) == 200
    assert desk.fake.cards[token] == {}
    await desk.take(encode(delivery))
    assert desk.fake.counts["shown"] == 0
    assert await desk.fake.act("chat_accepted", token) == 200
    assert desk.fake.cards[token] == {"email": "ann@example.org"}
    assert outcomes(desk.world.vault, delivery.delivery_id) == ["delivered"]

    lapse = await desk.lapse(ann)
    assert outcomes(desk.world.vault, lapse.lapse_id) == ["manual_required"]
    assert await desk.fake.act("chat_updated", token) == 200
    assert desk.fake.counts["shown"] == 1
    assert await desk.fake.act("client_updated", token, {"email": "ann@example.org", "name": "A"}) == 200
    assert outcomes(desk.world.vault, lapse.lapse_id) == ["manual_required"]
    assert await desk.fake.act("client_updated", token, {"email": None, "name": "-"}) == 200
    assert outcomes(desk.world.vault, lapse.lapse_id) == ["manual_required", "completed"]
    signals = [decode_as(SignalReceived, value) for value in [sent.value for sent in desk.broker.sent]]
    assert [type(signal.body) for signal in signals] == [ProcessorNotified, ProcessorNotified]


async def test_who_never_chatted_leaves_no_task_behind(desk: Desk) -> None:
    """Nothing was shown, so nothing has to be removed by anybody."""
    ann = desk.world.person("answer_request")
    fields = [("user.contact.email", {"email": "ann@example.org"}, ["answer_request"])]
    await desk.take(encode(desk.world.deliver("crm", ann, fields)))
    lapse = await desk.lapse(ann)
    assert outcomes(desk.world.vault, lapse.lapse_id) == ["not_applicable"]
    assert desk.fake.held() == []
