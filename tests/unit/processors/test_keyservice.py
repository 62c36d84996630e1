"""The key endpoint over the vault in memory: what opens, what is closed, and every way to ask wrongly."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import jsonschema
import pytest

from lapse.demo.opening import in_question
from lapse.keyservice.app import CALLBACK_BYTES, create_app
from lapse.keyservice.rates import Rates
from schemas.codec import decode_as, schema_id
from schemas.models import ReceiptGiven, RecordDelivered
from tests.unit.processors.asgi import Client
from tests.unit.processors.world import TOKENS, World
from vault.sealing import delivery_header_of, open_delivered
from vault.values import ProcessorState

NAME = ("user.name", {"name": "Canary Person"}, ["answer_request", "marketing_email"])
MAIL = ("user.contact.email", {"email": "canary@example.org"}, ["marketing_email"])


@pytest.fixture
def world() -> World:
    """A fresh world."""
    return World()


@pytest.fixture
def client(world: World) -> Client:
    """The endpoint over it."""
    return Client(create_app(world.vault, world.book.within))


def asked(*deliveries: RecordDelivered) -> dict[str, Any]:
    """What a consumer sends."""
    return {"deliveries": [in_question(delivery) for delivery in deliveries]}


def bearer(name: str = "crm") -> dict[str, str]:
    """A processor's credential."""
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def ask(client: Client, *deliveries: RecordDelivered, who: str = "crm") -> list[dict[str, Any]]:
    """Ask, check the answer against the OpenAPI document, return the results."""
    answer = client.post("/v1/keys", json=asked(*deliveries), headers=bearer(who))
    assert answer.status_code == 200, answer.text
    fits(client, answer.json(), "Keys")
    return list(answer.json()["results"])


def fits(client: Client, body: Any, schema: str) -> None:
    """Check a body against a schema of the document that the endpoint itself serves."""
    document = client.get("/openapi.json").json()
    jsonschema.validate(body, {"$ref": f"#/components/schemas/{schema}", **document})


def codes(result: dict[str, Any]) -> list[str]:
    """Per compartment `open`, or the code that closes it."""
    return [c["closed"]["code"] if "closed" in c else "open" for c in result["compartments"]]


def test_a_key_opens_exactly_its_compartment(world: World, client: Client) -> None:
    """What comes back opens the sealed bytes, in the order asked."""
    ann = world.person("answer_request", "marketing_email")
    deliveries = [world.deliver("crm", ann, [NAME, MAIL], record=f"r{n}") for n in range(3)]
    results = ask(client, *reversed(deliveries))
    for delivery, result in zip(reversed(deliveries), results, strict=True):
        assert result["delivery_id"] == delivery.delivery_id.hex()
        for part in result["compartments"]:
            key = base64.b64decode(part["key"])
            clear = open_delivered(
                delivery_header_of(delivery), part["n"], delivery.compartments[part["n"]], key
            )
            assert clear is not None
            assert json.loads(clear) in ({"name": "Canary Person"}, {"email": "canary@example.org"})


def test_unknown_erased_and_tampered_are_alike(world: World, client: Client) -> None:
    """Code, cause and shape tell nobody which of the three it was."""
    ann = world.person("marketing_email")
    delivery = world.deliver("crm", ann, [MAIL])
    body = asked(delivery)
    variants = []
    for handle in ("00" * 16, delivery.grants[0].handle.hex()[:-2] + "00"):
        changed = json.loads(json.dumps(body))
        changed["deliveries"][0]["compartments"][0]["wraps"][0]["handle"] = handle
        variants.append(client.post("/v1/keys", json=changed, headers=bearer()).json()["results"][0])
    body["deliveries"][0]["delivery_id"] = "11" * 16
    variants.append(client.post("/v1/keys", json=body, headers=bearer()).json()["results"][0])
    body["deliveries"][0]["compartments"][0]["wraps"][0]["period"] += 1
    variants.append(client.post("/v1/keys", json=body, headers=bearer()).json()["results"][0])
    closed = [v["compartments"][0]["closed"] for v in variants]
    assert all(c == {"code": "unknown", "cause": None, "since": None} for c in closed)


def test_a_withdrawn_purpose_leaves_the_other_open(world: World, client: Client) -> None:
    """Only the compartment that no living purpose justifies closes."""
    ann = world.person("answer_request", "marketing_email")
    delivery = world.deliver("crm", ann, [NAME, MAIL])
    world.withdraw(ann, "marketing_email")
    [result] = ask(client, delivery)
    assert codes(result) == ["open", "withdrawn"]
    assert result["compartments"][1]["closed"]["cause"] == "withdrawal"


def test_after_its_due_date_nothing_opens(world: World, client: Client) -> None:
    """Expired from the due instant on, destroyed once the key is gone."""
    ann = world.person("marketing_email")
    delivery = world.deliver("crm", ann, [MAIL])
    world.pass_(30)
    assert codes(ask(client, delivery)[0]) == ["expired"]
    world.expire()
    assert codes(ask(client, delivery)[0])[0] in ("destroyed", "hidden")


def test_another_processors_delivery_is_not_yours(world: World, client: Client) -> None:
    """The credential decides, not the delivery."""
    ann = world.person("marketing_email")
    delivery = world.deliver("crm", ann, [MAIL])
    assert codes(ask(client, delivery, who="mail")[0]) == ["not_yours"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (ProcessorState(name="crm", approved=True, suspended=True), "suspended"),
        (ProcessorState(name="crm", approved=False), "not_approved"),
        (ProcessorState(name="crm", approved=True, assurance_until=1), "assurance_ended"),  # type: ignore[arg-type]
    ],
)
def test_a_barred_processor_opens_nothing(
    world: World, client: Client, state: ProcessorState, code: str
) -> None:
    """Suspension, missing approval and ended assurance close everything at once, and only while they last."""
    ann = world.person("marketing_email")
    delivery = world.deliver("crm", ann, [MAIL])
    with world.vault.transaction() as tx:
        tx.put_processor(state)
    assert codes(ask(client, delivery)[0]) == [code]
    with world.vault.transaction() as tx:
        tx.put_processor(ProcessorState(name="crm", approved=True))
    assert codes(ask(client, delivery)[0]) == ["open"]


def test_a_batch_is_one_read_of_the_vault(world: World, client: Client) -> None:
    """500 deliveries are answered together; 501 are refused as a whole."""
    ann = world.person("marketing_email")
    deliveries = [world.deliver("crm", ann, [MAIL], record=f"r{n}") for n in range(500)]
    assert {code for r in ask(client, *deliveries) for code in codes(r)} == {"open"}
    answer = client.post("/v1/keys", json=asked(*deliveries, deliveries[0]), headers=bearer())
    assert answer.status_code == 413
    fits(client, answer.json(), "Problem")


def test_nothing_asked_is_nothing_answered(client: Client) -> None:
    """An empty batch is not an error."""
    assert client.post("/v1/keys", json={"deliveries": []}, headers=bearer()).json()["results"] == []


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKENS['crm'][:-1]}!"},
        {"Authorization": f"Bearer lk_nobody_{'x' * 43}"},
        {"Authorization": f"Bearer lk__{'x' * 43}"},
        {"Authorization": "Bearer lk_crm_short"},
    ],
)
def test_without_a_valid_token_nothing_is_read(client: Client, header: dict[str, str]) -> None:
    """Every wrong credential gets the same 401, whatever the body."""
    answer = client.post("/v1/keys", content=b"not even json", headers=header)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    fits(client, answer.json(), "Problem")


def _wrong_bodies() -> list[tuple[bytes, str]]:
    wrap = {"purpose": "p", "period": 1, "terms": 1, "handle": "0" * 32, "key": "A" * 54 + "=="}
    part = {"n": 0, "wraps": [wrap]}
    one = {"delivery_id": "0" * 32, "revision": 1, "source": "form/x", "compartments": [part]}

    def body(**change: Any) -> bytes:
        return json.dumps({"deliveries": [one, {**one, **change}]}).encode()

    return [
        (b"", ""),
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"deliveries": {}}', "/deliveries"),
        (b'{"deliveries": [], "more": "canary@example.org"}', ""),
        (body(delivery_id="canary@example.org"), "/deliveries/1/delivery_id"),
        (body(delivery_id="AB" * 16), "/deliveries/1/delivery_id"),
        (body(revision=-1), "/deliveries/1/revision"),
        (body(revision="1"), "/deliveries/1/revision"),
        (body(revision=2**40), "/deliveries/1/revision"),
        (body(source=""), "/deliveries/1/source"),
        (body(surprise="canary@example.org"), "/deliveries/1"),
        (body(compartments=[{**part, "n": -1}]), "/deliveries/1/compartments"),
        (body(compartments=[{**part, "wraps": []}]), "/deliveries/1/compartments"),
        (body(compartments=[{**part, "wraps": [{**wrap, "key": "%%%"}]}]), "/deliveries/1/compartments"),
        (body(compartments=[{**part, "wraps": [{**wrap, "period": 2**70}]}]), "/deliveries/1/compartments"),
        (body(compartments=[{**part, "wraps": [{**wrap, "handle": "zz"}]}]), "/deliveries/1/compartments"),
    ]


@pytest.mark.parametrize(("body", "pointer"), _wrong_bodies())
def test_a_wrong_body_is_refused_by_its_place_alone(client: Client, body: bytes, pointer: str) -> None:
    """400 names where, in our own names, and repeats nothing of what was sent."""
    answer = client.post("/v1/keys", content=body, headers=bearer())
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json().get("pointer", "") == pointer
    assert "canary" not in answer.text
    fits(client, answer.json(), "Problem")


def test_a_huge_body_is_not_read_to_its_end(client: Client) -> None:
    """413 after the limit."""
    answer = client.post("/v1/keys", content=b" " * (8 * 1024 * 1024 + 1), headers=bearer())
    assert answer.status_code == 413


def test_whoever_asks_too_often_waits(world: World) -> None:
    """429 with Retry-After, for that processor alone."""
    rates = Rates(per_second=0.5, burst=2, clock=lambda: 0.0)
    client = Client(create_app(world.vault, world.book.within, rates=rates))
    statuses = [client.post("/v1/keys", json={"deliveries": []}, headers=bearer()) for _ in range(3)]
    assert [a.status_code for a in statuses] == [200, 200, 429]
    assert statuses[2].headers["Retry-After"] == "2"
    assert client.post("/v1/keys", json={"deliveries": []}, headers=bearer("mail")).status_code == 200


def test_receipts_are_durable_when_accepted(world: World, client: Client) -> None:
    """They lie in the outbox, under ids that a repetition keeps."""
    body = {
        "receipts": [
            {"about": "ab" * 16, "outcome": "completed", "at": "2026-11-22T10:00:00Z", "evidence": "cd" * 32},
            {"about": "ab" * 16, "outcome": "manual_required", "code": "ticket_open", "signature": "c2ln"},
        ]
    }
    first = client.post("/v1/receipts", json=body, headers=bearer())
    assert first.status_code == 202
    fits(client, first.json(), "Accepted")
    assert client.post("/v1/receipts", json=body, headers=bearer()).json() == first.json()
    with world.vault.transaction(write=False) as tx:
        rows = [decode_as(ReceiptGiven, r.value) for r in tx.outbox(10) if r.topic == "receipts"]
    assert [(r.processor, r.outcome, r.code) for r in rows[:2]] == [
        ("crm", "completed", None),
        ("crm", "manual_required", "ticket_open"),
    ]
    assert [r.receipt_id.hex() for r in rows[:2]] == first.json()["receipt_ids"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"outcome": "done"}, "/receipts/0/outcome"),
        ({"about": "x"}, "/receipts/0/about"),
        ({"at": "yesterday"}, "/receipts/0/at"),
        ({"at": "2026-11-22T10:00:00"}, "/receipts/0/at"),
        ({"signature": "%"}, "/receipts/0/signature"),
        ({"code": "Has Spaces"}, "/receipts/0/code"),
    ],
)
def test_a_wrong_receipt_is_refused(
    world: World, client: Client, change: dict[str, str], pointer: str
) -> None:
    """400 by its place, and nothing is kept."""
    body = {"receipts": [{"about": "ab" * 16, "outcome": "completed", **change}]}
    answer = client.post("/v1/receipts", json=body, headers=bearer())
    assert (answer.status_code, answer.json()["pointer"]) == (400, pointer)
    with world.vault.transaction(write=False) as tx:
        assert not [r for r in tx.outbox(10) if r.topic == "receipts"]


def test_schemas_are_served_as_a_registry_would(client: Client) -> None:
    """`{schema: text}` by id, 404 with Confluent's error for what is not there."""
    found = client.get(f"/schemas/ids/{schema_id(RecordDelivered)}")
    assert json.loads(found.json()["schema"])["name"] == "RecordDelivered"
    for missing in ("999999", "x"):
        answer = client.get(f"/schemas/ids/{missing}")
        assert (answer.status_code, answer.json()["error_code"]) == (404, 40403)


def test_health_says_whether_the_vault_answers(client: Client) -> None:
    """200 while it does."""
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_callback_is_small_until_its_sender_is_known(client: Client) -> None:
    """Whoever reaches the port can start one: its body is cut off long before that of a processor."""
    answer = client.post("/v1/callbacks/crm/00", content=b"x" * (CALLBACK_BYTES + 1))
    assert answer.status_code == 413


async def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stalls holds its connection no longer than the limit."""
    monkeypatch.setattr("lapse.keyservice.http.BODY_SECONDS", 0.05)
    world, sent = World(), []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    token = bearer()["Authorization"].encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/keys", "query_string": b"", "http_version": "1.1"}
    scope |= {"headers": [(b"authorization", token)]}
    async with asyncio.timeout(5):
        await create_app(world.vault, world.book.within)(scope, receive, send)
    assert sent[0]["status"] == 400
