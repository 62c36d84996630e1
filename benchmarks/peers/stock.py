"""A peer of the tag and route workers: stock Faust agents that do the same work, one event at a time.

The same is what is read and judged, what is written to the vault, and what to Kafka, each record
acknowledged before its event is: the steps are our own (`streams.stage.Stage`). Around them stands what a
user of Faust would write: a stream of single events, one transaction of the vault for each, `topic.send` for
each record, Faust's own acknowledgement. The peer is let off what guards our chunks (a fence, a kept plan, a
second transaction, a look for new policies), and it gets our event loop and our rare looks for garbage.

The role `copy` is the floor of any such agent: it sends each event's bytes on, and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import faust
import uvloop
from faust.worker import Worker

from benchmarks.hot import PARTITIONS, REFERENCE, cpu, yardstick
from benchmarks.worker import TOPICS
from schemas.plan import Plans
from streams import building
from streams.collecting import collect_less
from streams.engine import KafkaAccess
from streams.ports import Inbound, Outbound, Placed, Sink
from streams.stage import Given, Part, Stage
from streams.surroundings import Surroundings
from vault.epochs import FileEpochKeys
from vault.factory import open_vault
from vault.port import Vault
from vault.tokens import PixelKeys

WARM_UP = 200
"""Events before the first that counts."""
COPIES = "peer.copied"
"""Where the role `copy` sends what it reads."""
Handle = Callable[[str, int, Inbound], Awaitable[None]]
"""Does all there is to do about one record of a topic and partition."""


def copy(sink: Sink) -> Handle:
    """The handle of an event that is only sent on."""

    async def handle(_topic: str, partition: int, record: Inbound) -> None:
        await sink.send([Outbound(COPIES, partition, record.key, record.value)])

    return handle


def plain(around: Surroundings, role: str) -> Handle:
    """The handle of one event: read, judged and counted in one transaction, then sent."""
    stage: Stage[Any] = _stage(around, role)
    vault: Vault = around.vault

    async def handle(topic: str, partition: int, record: Inbound) -> None:
        part = Part(topic, "", partition, [record])
        (read,) = stage.read([part], frozenset())
        with vault.transaction() as tx:
            work = stage.judge(tx, [Given(part, read)], None)
            stage.settle(tx, work)
        await stage.produce(part, work)

    return handle


def _stage(around: Surroundings, role: str) -> Stage[Any]:
    stage: Any = building.tag_stage(around) if role == "tag" else building.route_stage(around)
    plans: Plans = stage.plans()
    held: Stage[Any] = replace(stage, plans=lambda: plans)
    return held


class StockSink:
    """Sends with `topic.send`, and returns once all are acknowledged."""

    def __init__(self, app: Any) -> None:
        self._topic = cache(app.topic)

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Await every future that `topic.send` gives: that alone says that a record is on the broker."""
        sent = [
            await self._topic(record.topic).send(
                key=record.key,
                value=record.value,
                partition=record.partition,
                headers=list(record.headers),
            )
            for record in records
        ]
        return [Placed(each.topic, each.partition, each.offset) for each in await asyncio.gather(*sent)]


def new_app(group: str, access: KafkaAccess, workdir: Path) -> Any:
    """Faust as it comes: its transport, its acknowledgements, its producer; only raw bytes and no tables."""
    settings = access.faust_settings()
    return faust.App(
        group,
        broker=[url.replace("chunk://", "kafka://") for url in settings["broker"]],
        broker_credentials=settings["broker_credentials"],
        datadir=str(workdir / f"{group}.faust"),
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )


class Toll:
    """CPU from the first event that counts to the last; then the result is written and the process is over.

    At once, for nobody needs what it holds: Faust takes its time to stop.
    """

    def __init__(self, file: Path, events: int) -> None:
        self._result, self._last = file.with_suffix(".result"), events
        self._done, self._began, self._slow = 0, 0.0, 0.0

    def done(self) -> None:
        """One more is done."""
        self._done += 1
        if self._done == WARM_UP:
            self._slow, self._began = yardstick(), cpu()
        elif self._done == self._last:
            us = (cpu() - self._began) / (self._last - WARM_UP) * 1e6
            slow = (self._slow + yardstick()) / 2 / REFERENCE
            self._result.write_text(json.dumps({"us": us, "slow": slow}))
            os._exit(0)


def surroundings(folder: Path, sink: Sink) -> Surroundings:
    """The folder's vault, and where records go."""
    return Surroundings(
        vault=open_vault(
            f"sqlite:///{folder / 'vault.db'}", FileEpochKeys(folder / "keys", folder / "backup")
        ),
        sink=sink,
        partitions=lambda _topic: PARTITIONS,
        service_key=bytes(32),
        pixel_keys=PixelKeys.from_json((folder / "pixel.json").read_text()),
    )


def worker(file: Path) -> int:
    """Run one role until `events` records are done; the result is written beside the plan."""
    plan: dict[str, Any] = json.loads(file.read_text())
    folder, role = Path(plan["folder"]), plan["role"]
    logging.basicConfig(level=logging.INFO)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app = new_app(f"stock.{role}", KafkaAccess(**plan["access"]), folder)
    sink, toll = StockSink(app), Toll(file, plan["events"])
    handle = copy(sink) if role == "copy" else plain(surroundings(folder, sink), role)

    @app.agent(app.topic(*TOPICS["route" if role == "route" else "tag"]), name=role)  # type: ignore[untyped-decorator]  # Faust ships no types
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            said = event.message
            stamp, headers = int(said.timestamp * 1000), tuple(said.headers or ())
            await handle(
                said.topic, said.partition, Inbound(said.offset, stamp, said.key, said.value, headers)
            )
            toll.done()

    collect_less()
    process = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    process.spinner = None
    try:
        process.execute_from_commandline()
    except SystemExit as end:  # how Faust's worker always ends
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", type=Path, required=True)
    sys.exit(worker(parser.parse_args().worker))
