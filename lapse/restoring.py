"""Before any role starts: was this vault restored from a backup? Then it catches up with the log, closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from lapse.broker.principals import group
from lapse.cli.output import say
from lapse.initialise import signing_key
from lapse.main import Installation
from lapse.sending import ClientSink
from lapse.subscriptions import horizons
from schemas import codec
from schemas.errors import Rejected, Unavailable
from schemas.models import Depersonalized
from schemas.plan import Plans
from streams import building
from streams.agents import GROUPS
from streams.ports import Inbound
from streams.restoring import Caught
from streams.scan import scan
from streams.surroundings import Surroundings
from streams.topic_ids import BrokerTopicIds
from vault.restored import adopt, is_behind, is_closed, knows

ROLE = "expire"
"""As whom the log is read and what is owed is written."""
CONTROL, LIFECYCLE = "control", "lifecycle"
REWIND_SECONDS = 20.0
log = structlog.get_logger("restore")


def catch_up_if_restored(here: Installation) -> Caught | None:
    """Let a restored vault do again what the log says was destroyed; None where it is as the log knows it.

    The log's own offsets tell: consumer groups and `lifecycle` never run ahead of the vault they were
    written with.
    """
    if not {CONTROL, LIFECYCLE} <= here.admin("admin").topics().keys():
        return None
    with here.vault.transaction(write=False) as tx:
        known = knows(tx)
    lapses, places = _lapses(here, known), _places(here)
    committed = {(place.topic_id, place.partition): place.offset for place in places}
    with here.vault.transaction(write=False) as tx:
        behind = is_closed(tx) or is_behind(tx, lapses, committed)
    if not behind:
        with here.vault.transaction() as tx:
            adopt(tx, lapses)
        return None
    say("this vault is older than the log: doing again what was destroyed since …")
    began = time.monotonic()
    caught = asyncio.run(_catch_up(here, lapses))
    _rewind(here, places)
    seconds = round(time.monotonic() - began, 1)
    log.warning("restored", seconds=seconds, **asdict(caught))
    say(
        f"caught up in {seconds} s: {caught.commands} commands, {caught.buckets} keys of periods, "
        f"{caught.people} of people; {caught.nobody} of people newer than the backup"
    )
    return caught


async def _catch_up(here: Installation, lapses: list[Depersonalized]) -> Caught:
    ids, _ = await BrokerTopicIds(here.librdkafka("admin")).look_up([CONTROL])
    control_id = ids[CONTROL].hex()
    with here.vault.transaction(write=False) as tx:
        start = tx.progress(control_id, 0) or 0
    around = Surroundings(
        vault=here.vault,
        sink=ClientSink(here.librdkafka(ROLE)),
        partitions=here.runtime.partitions_of,
        service_key=signing_key(here.layout.service_key),
        operators=here.operators(),
    )
    return await building.catch_up(around).run(_commands(here, start), control_id, lapses)


def _commands(here: Installation, start: int) -> list[Inbound]:
    found = scan(here.librdkafka(ROLE), [CONTROL], start={(CONTROL, 0): start})
    return [record for batch in found for record in batch.records]


def _lapses(here: Installation, known: int | None) -> list[Depersonalized]:
    """What `lifecycle` says beyond what the vault knows of it."""
    found = []
    for batch in scan(here.librdkafka(ROLE), [LIFECYCLE]):
        for record in batch.records:
            try:
                lapse = codec.decode(record.value) if record.value is not None else None
            except Rejected:
                continue
            if isinstance(lapse, Depersonalized) and lapse.reaches > (known or 0):
                found.append(lapse)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One partition that a group of ours reads, and how far that group has committed."""

    group: str
    topic: str
    topic_id: str
    partition: int
    offset: int


def _places(here: Installation) -> list[Place]:
    """Where the groups are whose fence is the vault's progress."""
    groups = {group(name): topics for name, topics in _read_by(here.plans).items()}
    offsets = here.admin("admin").committed(list(groups))
    topics = {topic for named in groups.values() for topic in named}
    ids, _ = asyncio.run(BrokerTopicIds(here.librdkafka("admin")).look_up(topics))
    return [
        Place(group=name, topic=topic, topic_id=ids[topic].hex(), partition=partition, offset=offset)
        for name, named in groups.items()
        for (topic, partition), offset in offsets.get(name, {}).items()
        if topic in named and topic in ids
    ]


def _read_by(plans: Plans) -> dict[str, tuple[str, ...]]:
    return {**GROUPS, "route": tuple(horizons(plans))}


def _rewind(here: Installation, places: Sequence[Place]) -> None:
    """Let every group begin again where the vault is: what the log still holds since is done again."""
    with here.vault.transaction(write=False) as tx:
        wanted = {place: tx.progress(place.topic_id, place.partition) or 0 for place in places}
    requests = [
        ConsumerGroupTopicPartitions(
            name, [TopicPartition(p.topic, p.partition, wanted[p]) for p in places if p.group == name]
        )
        for name in sorted({place.group for place in places})
    ]
    client = AdminClient({**here.librdkafka("admin"), "log_level": 2})
    for request in requests:
        try:
            client.alter_consumer_group_offsets([request])[request.group_id].result(REWIND_SECONDS)
        except (KafkaException, TimeoutError) as error:
            what, do = "the group's offsets were not set back", "stop whatever still reads in it, start again"
            raise Unavailable("broker", what, request.group_id, do) from error
