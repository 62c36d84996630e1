"""Any order of deliveries, ends, lost answers and refusals leaves Mailchimp what lives, Kickbox nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.backoff import Backoff, seconds
from processors.connector import Connector, Limits, Surroundings
from processors.fakes import kickbox, mailchimp
from processors.fakes.faults import Fault
from processors.kickbox import Kickbox
from processors.ledger import Ledger
from processors.mailchimp import Mailchimp
from processors.recipient import Recipient
from processors.values import Timing
from schemas.codec import encode
from schemas.models import Depersonalized, RecordDelivered
from streams.ports import Chunk, Inbound
from tests.unit.processors.kit import NAME, SECRET, Keys, Wall, delivery, lapse, new_vault, of_subject
from vault.port import Vault

AUDIENCE = "a1b2c3d4e5"
TIMING = Timing(backoff=Backoff(first=seconds(1), longest=seconds(2), least=seconds(1)))
STEP = st.one_of(
    st.tuples(st.just("deliver"), st.integers(0, 2), st.booleans()),
    st.tuples(st.sampled_from(["lost_answer", "429", "5xx", "html"]), st.integers(1, 4), st.just(False)),
    st.tuples(
        st.sampled_from(["withdrawal", "objection", "retention", "erasure"]), st.just(0), st.just(False)
    ),
    st.tuples(st.just("later"), st.just(0), st.just(False)),
)


@dataclass
class Life:
    """One person at one recipient, and what should be there of them."""

    recipient: Recipient
    faults: Any
    vault: Vault = field(default_factory=new_vault)
    keys: Keys = field(default_factory=Keys)
    wall: Wall = field(default_factory=Wall)
    offset: int = 0
    born: int = 0
    """How often an end has deleted: an address deleted there never comes back, so others are used then."""
    living: dict[str, str] = field(default_factory=dict)
    sent: list[RecordDelivered] = field(default_factory=list)
    suppressed: bool = False

    def __post_init__(self) -> None:
        ledger = Ledger(
            processor=NAME,
            recipient=self.recipient,
            opener=self.keys,
            secret=SECRET,
            receipt_partitions=1,
            timing=TIMING,
        )
        self.connector = Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.recipient,
            ledger=ledger,
            around=Surroundings(wall=self.wall),
            call_deadline=seconds(10),
            limits=Limits(in_flight=4, poll=0.001),
        )

    async def take(self, record: RecordDelivered | Depersonalized) -> None:
        """Hand the connector a record."""
        one = Inbound(offset=self.offset, timestamp_ms=0, key=None, value=encode(record))
        self.offset += 1
        await self.connector.handle(Chunk(topic="t", topic_id=b"t" * 16, partition=0, records=[one]))

    async def deliver(self, number: int, named: bool) -> None:
        """Deliver one of three addresses, with a name or without."""
        fields = {"email": f"a{self.born}{number}@example.org"} | (
            {"name": f"n{self.offset}"} if named else {}
        )
        with self.vault.transaction() as tx:
            decided = int(tx.seq)
        record = delivery(f"d{self.offset}", parts=[(fields, ["p"])], decided=decided)
        self.sent.append(record)
        self.living |= fields
        await self.take(record)

    async def end(self, cause: Any) -> None:
        """End everything there is."""
        with self.vault.transaction() as tx:
            reaches = int(tx.seq)
        self.keys.dead |= {(record.delivery_id, "p") for record in self.sent}
        if cause in ("erasure", "retention"):
            self.born, self.suppressed = self.born + 1, False
        else:
            self.suppressed |= bool(self.living)
        self.living = {}
        await self.take(lapse(f"l{self.offset}", of_subject("ann", "p"), reaches=reaches, cause=cause))

    async def step(self, what: str, number: int, flag: bool) -> None:
        """Do one thing."""
        match what:
            case "deliver":
                await self.deliver(number, flag)
            case "later":
                await self.later()
            case "withdrawal" | "objection" | "retention" | "erasure":
                await self.end(what)
            case _:
                self.faults.order(Fault(kind=what, times=number))  # type: ignore[arg-type]  # one of the kinds

    async def later(self) -> None:
        """Let time pass and the loop look."""
        self.wall.pass_(1000)
        self.connector.gate.enable()
        await self.connector.tick()

    async def settle(self) -> None:
        """Nothing goes wrong any more; everything is worked off."""
        self.faults.order(Fault(kind="5xx", times=0))
        for _ in range(50):
            await self.later()
            if not self.connector.waiting():
                return
        raise AssertionError("never settles")


async def _mailchimp(steps: list[tuple[str, int, bool]]) -> None:
    running = await mailchimp.start(credentials={"api_key": "k-us1"})
    said: dict[str, str | int | bool] = {"audience": AUDIENCE, "base_url": running.url, "allow_private": True}
    made = Mailchimp(
        processor="mail",
        settings=Mailchimp.settings(said, {"api_key": "k-us1"}),
        fields={"email": "email_address", "name": "FNAME"},
        wall=lambda: life.wall(),
    )
    life = Life(recipient=made, faults=running.state.faults)
    try:
        for step in steps:
            await life.step(*step)
        await life.settle()
        _check(life, running.state.held())
        await life.end("erasure")
        await life.settle()
        assert running.state.held() == [], "after an erasure nothing is left, under no address"
    finally:
        await made.close()
        await running.stop()


def _check(life: Life, held: list[dict[str, Any]]) -> None:
    if life.living:
        [one] = held
        wanted = {"email_address": life.living["email"], "FNAME": life.living.get("name")}
        assert one["fields"] == {tag: value for tag, value in wanted.items() if value}
        assert one["status"] == "subscribed"
    else:
        assert all(one["status"] == "unsubscribed" for one in held)
        assert all(set(one["fields"]) == {"email_address"} for one in held)
        assert life.suppressed or not held


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=10))
def test_mailchimp_holds_what_lives(steps: list[tuple[str, int, bool]]) -> None:
    """One member at most, under the latest address, with the latest values; suppressed after a withdrawal."""
    asyncio.run(_mailchimp(steps))


async def _kickbox(steps: list[tuple[str, int, bool]]) -> None:
    running = await kickbox.start(credentials={"api_key": "test_k"})
    made = Kickbox(
        processor="check",
        settings=Kickbox.settings({"base_url": running.url, "allow_private": True}, {"api_key": "test_k"}),
        fields={"email": "email"},
        wall=lambda: life.wall(),
    )
    life = Life(recipient=made, faults=running.state.faults)
    try:
        for step in steps:
            await life.step(*step)
        await life.settle()
        with life.vault.transaction(write=False) as tx:
            assert tx.objects_of_processor(NAME) == [], "nothing is kept there, so nothing is remembered"
    finally:
        await made.close()
        await running.stop()


@settings(max_examples=10, deadline=None)
@given(st.lists(STEP, max_size=10))
def test_kickbox_leaves_nothing_to_remember(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever was lost or refused on the way."""
    asyncio.run(_kickbox(steps))
