"""An address is checked before it reaches e-mail marketing: two vendors' connectors on one vault, by HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from processors.addresscheck import AddressChecks
from processors.backoff import Backoff, seconds
from processors.build import Around, connector
from processors.connector import Connector, Limits
from processors.fakes import kickbox, mailchimp
from processors.fakes.serving import Running
from processors.mailchimp_api import member_id
from processors.values import Timing
from schemas.codec import decode_as, encode
from schemas.models import Depersonalized, RecordDelivered
from streams.ports import Chunk, Inbound
from tests.unit.processors.kit import outcomes
from tests.unit.processors.world import World

AUDIENCE = "a1b2c3d4e5"
TIMING = Timing(
    call=seconds(5),
    lease=seconds(6),
    closed=seconds(0.02),
    backoff=Backoff(first=seconds(0.02), longest=seconds(0.05), least=seconds(0.01)),
)


def policy(text: str) -> str:
    """Let `crm` check addresses and `mail` wait for what it finds."""
    checks = "connector: kickbox\n    settings: {base_url: 'fake:'}"
    mails = (
        f"connector: mailchimp\n    settings: {{base_url: 'fake:', audience: {AUDIENCE}, verified_by: crm}}"
    )
    text = text.replace("connector: pull", checks, 1).replace("connector: pull", mails, 1)
    return text.replace("lapse: per_delivery", "lapse: bucket", 1)


@dataclass
class Two:
    """Both connectors, as the connect role builds them."""

    world: World
    fakes: dict[str, Running]
    connectors: dict[str, Connector] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)

    async def take(self, name: str, *values: bytes) -> None:
        """Hand a connector one chunk, then let it work off what waits."""
        start = self.offsets.get(name, 0)
        self.offsets[name] = start + len(values)
        records = [Inbound(offset=start + n, timestamp_ms=0, key=None, value=v) for n, v in enumerate(values)]
        chunk = Chunk(
            topic=f"processor.{name}", topic_id=name.ljust(16).encode(), partition=0, records=records
        )
        await self.connectors[name].handle(chunk)
        await self.pause(name)

    async def pause(self, name: str) -> None:
        """Give it a few turns."""
        for _ in range(8):
            await self.connectors[name].tick()
            await asyncio.sleep(0.02)

    async def deliver(self, name: str, number: Any, address: str, **more: Any) -> RecordDelivered:
        """Deliver an address, as route would."""
        purpose = {"crm": "answer_request", "mail": "marketing_email"}[name]
        fields = [("user.contact.email", {"email": address}, [purpose])]
        delivery = self.world.deliver(name, number, fields, record=f"{name}{address}", **more)
        await self.take(name, encode(delivery))
        return delivery

    async def lapses(self, name: str) -> list[Depersonalized]:
        """Hand over what the vault owes a recipient."""
        values = list(dict.fromkeys(value for _, value in self.world.owed(name)))
        await self.take(name, *values)
        return [decode_as(Depersonalized, value) for value in values]

    def members(self) -> dict[str, str]:
        """Return status by member at Mailchimp."""
        held = self.fakes["mail"].state.held()
        return {one["id"].rpartition("/")[2]: one["status"] for one in held}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """Run both."""
    login = {"crm": ("kickbox", {"api_key": "test_k"}), "mail": ("mailchimp", {"api_key": "k-us1"})}
    fakes = {
        "crm": await kickbox.start(credentials=login["crm"][1]),
        "mail": await mailchimp.start(credentials=login["mail"][1]),
    }
    for name, (kind, secrets) in login.items():
        (tmp_path / f"{name}.{kind}.fake").write_text(json.dumps(secrets))
    one = Two(world=World(edit=policy), fakes=fakes)
    around = Around(
        vault=one.world.vault,
        plans=one.world.book.within,
        secrets_dir=tmp_path,
        kafka={},
        fake_urls={name: running.url for name, running in fakes.items()},
        timing=TIMING,
        limits=Limits(poll=0.01, look_again=seconds(0.05)),
    )
    for name in login:
        made = connector(one.world.plan.processor(name), around)
        assert isinstance(made, Connector)
        one.connectors[name] = made
    yield one
    for made in one.connectors.values():
        await made.close()
    for running in fakes.values():
        await running.stop()


async def test_an_address_reaches_e_mail_marketing_only_after_it_was_found_to_work(two: Two) -> None:
    """Before the verdict it waits, sealed; afterwards it goes, in whatever spelling."""
    ann = two.world.person("marketing_email", "answer_request")
    mailed = await two.deliver("mail", ann, "Ann@example.org")
    assert two.members() == {}
    assert outcomes(two.world.vault, mailed.delivery_id) == []
    checked = await two.deliver("crm", ann, "ann@example.org")
    assert outcomes(two.world.vault, checked.delivery_id) == ["delivered"]
    await two.pause("mail")
    assert two.members() == {member_id("ann@example.org"): "subscribed"}
    assert outcomes(two.world.vault, mailed.delivery_id) == ["delivered"]


async def test_an_address_that_does_not_work_is_never_handed_out(two: Two) -> None:
    """The delivery is told why, and forgotten; another address of the same person is judged by itself."""
    ann = two.world.person("marketing_email", "answer_request")
    await two.deliver("crm", ann, "undeliverable@example.org")
    mailed = await two.deliver("mail", ann, "undeliverable@example.org")
    assert two.members() == {}
    assert outcomes(two.world.vault, mailed.delivery_id) == ["not_opened"]
    other = await two.deliver("mail", ann, "ann@example.org")
    assert outcomes(two.world.vault, other.delivery_id) == []
    await two.deliver("crm", ann, "ann@example.org")
    await two.pause("mail")
    assert list(two.members()) == [member_id("ann@example.org")]


async def test_somebody_elses_verdict_does_not_count(two: Two) -> None:
    """A verdict stands in the row of the person for whom it was found out."""
    ann, ben = (two.world.person("marketing_email", "answer_request") for _ in range(2))
    await two.deliver("crm", ben, "ann@example.org")
    await two.deliver("mail", ann, "ann@example.org")
    assert two.members() == {}


async def test_a_verdict_ends_with_the_purpose_it_was_found_out_for(two: Two) -> None:
    """What is there stays and is taken back as ever; a new delivery waits for a new verdict."""
    ann = two.world.person("marketing_email", "answer_request")
    await two.deliver("crm", ann, "ann@example.org")
    await two.deliver("mail", ann, "ann@example.org")
    assert len(two.members()) == 1
    two.world.withdraw(ann, "answer_request")
    later = two.world.deliver(
        "mail", ann, [("user.contact.email", {"email": "ann@example.org"}, ["marketing_email"])], record="new"
    )
    await two.take("mail", encode(later))
    assert outcomes(two.world.vault, later.delivery_id) == []
    two.world.withdraw(ann, "marketing_email")
    await two.lapses("mail")
    assert list(two.members().values()) == ["unsubscribed"]
    assert outcomes(two.world.vault, later.delivery_id) == ["not_opened"]


async def test_a_verification_leaves_nothing_to_take_back(two: Two) -> None:
    """The lapse of a checked address calls nobody, and no second check is paid for."""
    ann = two.world.person("answer_request")
    await two.deliver("crm", ann, "ann@example.org")
    with two.world.vault.transaction(write=False) as tx:
        assert tx.objects_of_processor("crm") == []
    two.world.withdraw(ann, "answer_request")
    [lapse] = await two.lapses("crm")
    assert outcomes(two.world.vault, lapse.lapse_id) == ["not_applicable"]
    assert two.fakes["crm"].state.counts["verified"] == 1


async def test_what_cannot_be_judged_is_held_back(two: Two) -> None:
    """A delivery of a source that today's policy does not know; what has no address is not its matter."""
    ann = two.world.person("marketing_email")
    delivery = two.world.deliver("mail", ann, [("user.name", {"name": "Ann"}, ["marketing_email"])])
    checks = AddressChecks(processor="mail", plans=two.world.book.within, alias=two.world.vault.secrets.alias)
    with two.world.vault.transaction() as tx:
        assert checks.held_back(tx, delivery, [{"name": "Ann"}]) is None
        assert checks.held_back(tx, delivery, ["withdrawn"]) is None
        strange = RecordDelivered(
            delivery_id=delivery.delivery_id,
            subject_ref=delivery.subject_ref,
            revision=1,
            source="form/of-old",
            schema_id=1,
            compartments=delivery.compartments,
            grants=delivery.grants,
        )
        assert checks.held_back(tx, strange, [{"email": "ann@example.org"}]) == "unverified"
        assert checks.held_back(tx, delivery, [{"email": "   "}]) == "unverified"
