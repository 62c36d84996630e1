"""`/in/<processor>` in process: who is listened to, what becomes of what is said, and that it is once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from standardwebhooks import Webhook

from lapse.collector.producer import MemoryProducer
from lapse.keyservice.app import create_app
from lapse.keyservice.inbound import BODY_BYTES, Compose, Ear
from lapse.keyservice.publishing import Signals
from lapse.keyservice.rates import Rates
from processors.messages import Secrets
from processors.partner_events import PartnerEar
from processors.recipient import Edited, Ended, Heard, Post, Said, Withdrawn
from processors.tokens import make_secret
from schemas.codec import decode_as
from schemas.errors import BadInput, Refused
from schemas.ids import Micros
from schemas.models import ConsentStated, ProcessorNotified, SignalReceived
from schemas.plan import ProcessorPlan
from tests.unit.processors.asgi import Client
from tests.unit.processors.world import START, World
from vault.port import Tx

SECRET = make_secret()
LEFT = Withdrawn(kind="email", value="canary@example.org", at=Micros(START + 1))


@dataclass
class Vendor:
    """A vendor whose requests are `right` or not, and say what the test says."""

    said: Sequence[Said] = ()
    wants: str | None = None
    heard_: list[Post] = field(default_factory=list)

    def heard(self, post: Post, now: Micros) -> Heard:
        """Refuse what does not bear the word, stumble over what is not JSON."""
        if post.query.get("word") != "right":
            raise Refused("unauthorized", "canary@example.org is wrong", "secret")
        if post.body == b"broken":
            raise BadInput("malformed", "not an event", "body")
        self.heard_.append(post)
        return Heard(said=tuple(self.said), wants=self.wants)

    def answer(self, heard: Heard, fields: Mapping[str, str]) -> bytes:
        """Show the fields."""
        return json.dumps({"result": "ok", **fields}).encode() if heard.wants else b""


@dataclass
class Desk:
    """The endpoint over a world, with a broker in memory."""

    vendor: Vendor = field(default_factory=Vendor)
    world: World = field(default_factory=World)
    broker: MemoryProducer = field(default_factory=MemoryProducer)
    shown: dict[str, str] = field(default_factory=dict)
    rates: Rates | None = None

    def __post_init__(self) -> None:
        app = create_app(
            self.world.vault,
            self.world.book.within,
            ears=self.ears,
            publish=Signals(lambda: self.broker),
            rates=self.rates,
        )
        self.client = Client(app)

    def ears(self, plan: ProcessorPlan) -> Ear | None:
        """Listen to the CRM and to the partner."""
        if plan.name == "partner":
            return Ear(hears=PartnerEar(Secrets((SECRET,))), asks_again=True)
        return Ear(hears=self.vendor, show=self.show) if plan.name == "crm" else None

    def show(self, tx: Tx, key: str, compose: Compose, wall: Micros) -> bytes:
        """Show what the test says is live."""
        assert tx.seq and key == "token-1" and wall > 0
        return compose(self.shown)

    def post(self, name: str = "crm", *, word: str = "right", body: bytes = b"{}", **more: Any) -> Any:
        """Say something."""
        return self.client.post(f"/in/{name}?word={word}", content=body, **more)

    def event(self, kind: str, data: Any = None, *, name: str = "msg_1", key: str = SECRET) -> Any:
        """Let the partner send a signed event."""
        event = {"specversion": "1.0", "id": name, "source": "partner", "type": kind, "data": data or {}}
        return self.signed(json.dumps(event).encode(), name, key)

    def signed(self, body: bytes, name: str = "msg_1", key: str = SECRET) -> Any:
        """Let the partner send these bytes, signed now."""
        now = dt.datetime.now(dt.UTC)
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(key).sign(name, now, body.decode()),
        }
        return self.client.post("/in/partner", content=body, headers=headers)

    @property
    def signals(self) -> list[SignalReceived]:
        """What lies on `intake.signal`."""
        assert {event.topic for event in self.broker.sent} <= {"intake.signal"}
        return [decode_as(SignalReceived, event.value) for event in self.broker.sent]


@pytest.fixture
def desk() -> Desk:
    """A fresh one."""
    return Desk()


@pytest.mark.parametrize("name", ["nobody", "mail", "..%2f..%2fetc", "CRM"])
def test_only_who_listens_is_there(desk: Desk, name: str) -> None:
    """Unknown recipients, and those that have nothing to say, are alike."""
    assert desk.post(name).status_code == desk.client.get(f"/in/{name}").status_code == 404
    assert desk.client.get("/in/crm").status_code == 200


def test_what_is_not_the_vendors_changes_nothing_and_is_not_repeated(desk: Desk) -> None:
    """Neither the answer's body nor its headers say anything of the request."""
    desk.vendor.said = [LEFT]
    for answer in (desk.post(word="guess"), desk.post(body=b"broken")):
        assert answer.status_code in (400, 403)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "canary" not in answer.text and "guess" not in answer.text
    assert not desk.broker.sent


def test_a_withdrawal_at_a_vendor_is_on_the_log_before_it_is_answered(desk: Desk) -> None:
    """Of everything the recipient has, unless it says which; 503 while the log does not take it."""
    desk.vendor.said = [LEFT]
    desk.broker.away = True
    assert desk.post().status_code == 503
    desk.broker.away = False
    assert desk.post().status_code == 202
    [signal] = desk.signals
    assert (signal.site, signal.via) == ("processor.crm", "processor")
    assert [(i.kind, i.value) for i in signal.identifiers] == [("email", "canary@example.org")]
    assert isinstance(signal.body, ConsentStated)
    granted = {desk.world.plan.purposes[n].name for n in desk.world.plan.processor("crm").grants}
    assert {c.purpose for c in signal.body.consents} == granted
    assert not any(c.granted for c in signal.body.consents)


def test_saying_it_again_is_the_same_event(desk: Desk) -> None:
    """A vendor that repeats itself makes no second event; somebody else, or another time, is one."""
    said = [LEFT, LEFT, Withdrawn(kind="email", value="bob@example.org", at=LEFT.at)]
    for each in said:
        desk.vendor.said = [each]
        desk.post(body=b'{"attempt": 1}')
    first, again, other = desk.signals
    assert first.event_id == again.event_id != other.event_id


def test_an_edit_is_told_without_the_vendors_name_of_the_object(desk: Desk) -> None:
    """What lies on the log leads to the object inside the vault alone."""
    desk.vendor.said = [Edited(vendor_id="cus_canary", at=Micros(START + 1), emptied=True)]
    assert desk.post().status_code == 202
    [body] = [signal.body for signal in desk.signals]
    assert isinstance(body, ProcessorNotified)
    assert (body.notice, body.detail) == ("object_edited", "emptied")
    assert body.object_ref is not None and "canary" not in body.object_ref


def test_a_vendor_is_not_told_of_ends_that_nobody_awaits(desk: Desk) -> None:
    """It would stop calling an address that answers 404."""
    desk.vendor.said = [Ended(request="job-of-somebody-else", outcome="completed")]
    assert desk.post().status_code == 202


def test_an_answer_carries_what_is_live_now(desk: Desk) -> None:
    """Nothing where nothing is; the answer is JSON and no cache keeps it."""
    desk.vendor.wants = "token-1"
    assert desk.post().json() == {"result": "ok"}
    desk.shown["name"] = "Ann"
    answer = desk.post()
    assert answer.json() == {"result": "ok", "name": "Ann"}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


def test_a_request_is_small_and_a_recipient_may_not_ask_for_ever() -> None:
    """Too much is 413 and never read to its end; too often is 429."""
    desk = Desk(rates=Rates(clock=lambda: 0.0, burst=1.0, per_second=1.0))
    assert desk.post(body=b"x" * (BODY_BYTES + 1)).status_code == 413
    assert [desk.post().status_code for _ in range(2)] == [202, 429]


# ---- a business partner ------------------------------------------------------------------------------------
def test_a_partner_says_that_it_can_no_longer_protect(desk: Desk) -> None:
    """Repeated it is the same notice; a second one, in the same words, is another."""
    for name in ("msg_1", "msg_1", "msg_2"):
        body = {"specversion": "1.0", "id": "x", "type": "lapse.v1.assurance.ended"}
        assert desk.signed(json.dumps(body).encode(), name).status_code == 202
    assert {signal.site for signal in desk.signals} == {"processor.partner"}
    bodies = [signal.body for signal in desk.signals]
    assert {b.notice for b in bodies if isinstance(b, ProcessorNotified)} == {"assurance_ended"}
    first, again, second = (signal.event_id for signal in desk.signals)
    assert first == again != second


def test_a_partner_is_known_by_its_signature_alone(desk: Desk) -> None:
    """Another secret, or a body that was changed, is nobody's."""
    assert desk.event("lapse.v1.assurance.ended", key=make_secret()).status_code == 403
    assert desk.client.post("/in/partner", content=b"{}").status_code == 403
    assert not desk.broker.sent


def test_a_partner_passes_a_withdrawal_on(desk: Desk) -> None:
    """With the purposes it names."""
    who = {"identifier": {"kind": "email", "value": "canary@example.org"}, "purposes": ["marketing_email"]}
    assert desk.event("lapse.v1.consent.withdrawn", who).status_code == 202
    [signal] = desk.signals
    assert isinstance(signal.body, ConsentStated)
    assert [c.purpose for c in signal.body.consents] == ["marketing_email"]


@pytest.mark.parametrize(
    "body",
    [
        b"not json canary",
        b'{"specversion": "1.0", "id": "1", "type": "other"}',
        b'{"specversion": "1.0", "id": "1", "type": "lapse.v1.consent.withdrawn", "data": {"canary": 1}}',
        b'{"specversion": "1.0", "id": "1", "type": "lapse.v1.consent.withdrawn", "data": {"identifier": 1}}',
    ],
)
def test_what_a_partner_says_unreadably_is_turned_away(desk: Desk, body: bytes) -> None:
    """Signed or not; nothing of it is repeated."""
    answer = desk.signed(body)
    assert answer.status_code == 400
    assert "canary" not in answer.text


def test_a_partners_receipt_is_asked_for_again_until_it_is_awaited(desk: Desk) -> None:
    """404 until then, and for what has ended already; what goes on is simply heard."""
    status = {"subject_request_id": "6d2b8f2e-0000-4000-8000-000000000000", "request_status": "completed"}
    assert desk.signed(json.dumps(status).encode()).status_code == 404
    pending = {**status, "request_status": "pending"}
    assert desk.signed(json.dumps(pending).encode()).status_code == 202
