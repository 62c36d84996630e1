"""The clear topic on a real broker: two workers on one partition, and no clear record behind its lapse."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from processors.clear import PlainSettings
from processors.plain import MOST_BYTES, Plain
from schemas.codec import decode, encode
from schemas.errors import Unavailable
from schemas.models import Depersonalized, RecordDelivered, RecordOpened
from schemas.topics import TopicPlan
from streams.ports import Chunk, Inbound
from tests.support.broker import Broker
from tests.unit.processors.kit import Keys, delivery, id16, lapse, new_vault, of_subject, outcomes
from vault.port import Vault

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FIELDS = [({"country": "DE"}, ["p"])]


@pytest.fixture
def topic(broker: Broker) -> str:
    """A clear topic of the test's own."""
    name = f"plain.{secrets.token_hex(4)}"
    with broker.connect() as admin:
        plan = TopicPlan(name=name, partitions=2, config={"retention.ms": "86400000"}, holds="clear records")
        admin.create_topics([plan])
    return name


def worker(broker: Broker, vault: Vault, keys: Keys, topic: str, *, avro: bool = False) -> Plain:
    """One worker's connector."""
    client = broker.address.aiokafka(broker.admin)
    return Plain(
        processor=topic.removeprefix("plain."),
        vault=vault,
        opener=keys,
        settings=PlainSettings(topic=topic, avro=avro, client=client),
        receipt_partitions=4,
    )


def chunk(*records: RecordDelivered | Depersonalized | None, start: int = 0) -> Chunk:
    """Records of partition 0 from an offset on."""
    values = [None if r is None else encode(r) for r in records]
    inbound = [Inbound(offset=start + n, timestamp_ms=0, key=None, value=v) for n, v in enumerate(values)]
    return Chunk(topic="processor.x", topic_id=b"t" * 16, partition=0, records=inbound)


def written(broker: Broker, topic: str) -> list[tuple[str, Any]]:
    """(kind, body) of what a consumer of committed records sees on partition 0, in order."""
    consumer = Consumer(
        {
            **broker.address.librdkafka(broker.admin),
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while True:
        message = consumer.poll(20)
        assert message is not None
        if message.error():
            break
        value = message.value()
        body = json.loads(value) if value[:1] == b"{" else decode(value)
        found.append((dict(message.headers())["lapse-type"].decode(), body))
    consumer.close()
    return found


async def test_a_delivery_and_its_lapse_lie_in_this_order(broker: Broker, topic: str) -> None:
    """In clear, exactly the fields that opened, then the lapse; ticks leave nothing; each is told."""
    vault, keys = new_vault(), Keys()
    first, closed = delivery("d1", parts=FIELDS), delivery("d2", parts=FIELDS)
    keys.dead = {(closed.delivery_id, "p")}
    plain = worker(broker, vault, keys, topic)
    assert await plain.handle(chunk(first, None, closed)) is None
    keys.dead.add((first.delivery_id, "p"))
    event = lapse("l1", of_subject("ann", "p"))
    assert await plain.handle(chunk(event, start=3)) is None
    assert await plain.handle(chunk(first, None, closed)) is None  # redelivered: done already
    kinds = written(broker, topic)
    assert [kind for kind, _ in kinds] == ["RecordOpened", "Depersonalized"]
    assert kinds[0][1]["fields"] == {"country": "DE"}
    assert kinds[0][1]["delivery_id"] == first.delivery_id.hex()
    assert kinds[1][1]["scope"]["subject_ref"] == id16("ann").hex()
    assert outcomes(vault, first.delivery_id) == ["delivered"]
    assert outcomes(vault, closed.delivery_id) == ["not_opened"]
    assert outcomes(vault, id16("l1")) == ["accepted_async"]
    await plain.close()


async def test_avro_carries_the_same(broker: Broker, topic: str) -> None:
    """The same records, framed."""
    plain = worker(broker, new_vault(), Keys(), topic, avro=True)
    await plain.handle(chunk(delivery("d1", parts=FIELDS), lapse("l1", of_subject("ann", "p"))))
    (_, opened), (_, event) = written(broker, topic)
    assert isinstance(opened, RecordOpened)
    assert opened.fields == {"country": "DE"}
    assert isinstance(event, Depersonalized)
    await plain.close()


async def test_a_zombie_never_writes_behind_a_lapse(broker: Broker, topic: str) -> None:
    """It opened while the key lived; another worker wrote the lapse meanwhile; its write is fenced off."""
    vault, keys, first = new_vault(), Keys(), delivery("d1", parts=FIELDS)
    event = lapse("l1", of_subject("ann", "p"))
    zombie, heir = worker(broker, vault, keys, topic), worker(broker, vault, keys, topic)
    opened, go_on = asyncio.Event(), asyncio.Event()
    write = zombie._write  # noqa: SLF001  # the one place where it can be stopped between opening and writing

    async def stopped(*args: Any) -> None:
        opened.set()
        await go_on.wait()
        await write(*args)

    zombie._write = stopped  # type: ignore[assignment,method-assign]  # noqa: SLF001
    late = asyncio.create_task(zombie.handle(chunk(first)))
    await opened.wait()
    keys.dead = {(first.delivery_id, "p")}
    assert await heir.handle(chunk(first, event)) is None
    go_on.set()
    assert await late == 2  # sent on to where the heir is
    assert [kind for kind, _ in written(broker, topic)] == ["Depersonalized"]
    zombie._write = write  # type: ignore[method-assign]  # noqa: SLF001
    assert await zombie.handle(chunk(first)) is None
    assert [kind for kind, _ in written(broker, topic)] == ["Depersonalized"]
    await zombie.close()
    await heir.close()


async def test_a_fenced_worker_opens_again_before_it_writes(broker: Broker, topic: str) -> None:
    """Where the other worker died before it moved on, the chunk is done anew, with what opens then."""
    vault, keys, first = new_vault(), Keys(), delivery("d1", parts=FIELDS)
    one, other = worker(broker, vault, keys, topic), worker(broker, vault, keys, topic)
    await one.handle(chunk(None))
    await other.handle(chunk(None))
    with pytest.raises(Unavailable):
        await one.handle(chunk(first, start=1))
    keys.dead = {(first.delivery_id, "p")}
    assert await one.handle(chunk(first, start=1)) is None
    assert written(broker, topic) == []
    assert outcomes(vault, first.delivery_id) == ["not_opened"]
    await one.close()
    await other.close()


async def test_what_is_too_large_is_told_and_the_rest_goes_on(broker: Broker, topic: str) -> None:
    """One record over a megabyte never breaks the producer."""
    vault = new_vault()
    large = delivery("d1", parts=[({"country": "x" * (MOST_BYTES - 250)}, ["p"])])
    plain = worker(broker, vault, Keys(), topic)
    assert await plain.handle(chunk(large, delivery("d2", parts=FIELDS))) is None
    assert len(written(broker, topic)) == 1
    assert outcomes(vault, large.delivery_id) == ["failed_permanent"]
    await plain.close()


async def test_a_broker_that_is_away_is_said_so(broker: Broker) -> None:
    """Unavailable: the chunk is not acknowledged and comes again."""
    settings = PlainSettings(topic="plain.x", avro=False, client={"bootstrap_servers": "127.0.0.1:1"})
    plain = Plain(processor="x", vault=new_vault(), opener=Keys(), settings=settings, receipt_partitions=4)
    with pytest.raises(Unavailable):
        await plain.handle(chunk(delivery("d1", parts=FIELDS)))
