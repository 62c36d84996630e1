"""What a delivery costs the connect role: opened late, signed, sent to a webhook, answered, entered.

    python -m benchmarks.connect [-o json]

The deliveries are made by the tag and route stages from forms of as many people. The partner answers 200 from
a process of its own on this machine; its cost is not counted. The vault is SQLite.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiohttp import web

from benchmarks.child import Child, Parent
from benchmarks.figures import Figure, Meter, run
from benchmarks.hot import Bench
from processors.build import Around, connector
from processors.credentials import webhook_secret_file
from processors.tokens import make_secret
from streams.planbook import PlanBook
from streams.ports import Chunk, Outbound

PROCESSOR = "partner"
DELIVERIES, ROUNDS = 1_000, 5


def receive(parent: Parent) -> None:
    """Play the partner: take everything."""

    async def serve() -> None:
        async def take(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(status=200)

        app = web.Application()
        app.router.add_post("/events", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        parent.ready(f"http://127.0.0.1:{runner.addresses[0][1]}/events")
        await asyncio.Event().wait()

    asyncio.run(serve())


def deliveries(bench: Bench, first: int) -> list[Chunk]:
    """Chunks of the partner's topic, from forms of people nobody knew before."""
    bench.tag(bench.events("form", range(first, first + DELIVERIES)))
    for (topic, partition), records in bench.sink.take().items():
        if topic.startswith("records."):
            bench.route(bench.inbound(topic, partition, records))
    sent: list[tuple[int, list[Outbound]]] = [
        (partition, records)
        for (topic, partition), records in bench.sink.take().items()
        if topic == f"processor.{PROCESSOR}"
    ]
    return [
        chunk
        for partition, records in sent
        for chunk in bench.inbound(f"processor.{PROCESSOR}", partition, records)
    ]


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name, Child(receive) as child:
        return list(_measured(Path(name), child.said))


def _measured(folder: Path, url: str) -> Iterator[Figure]:
    bench = Bench(folder)
    webhook_secret_file(folder, PROCESSOR).write_text(make_secret() + "\n")
    rounds = [deliveries(bench, number * DELIVERIES) for number in range(ROUNDS)]
    meter = asyncio.run(_delivered(bench, folder, url, rounds))
    yield Figure(
        of="connect",
        what="deliveries per CPU second through the webhook",
        figure=meter.rate,
        unit="/s",
        goal=1_000,
    )


async def _delivered(bench: Bench, folder: Path, url: str, rounds: Sequence[Sequence[Chunk]]) -> Meter:
    around = Around(
        vault=bench.vault,
        plans=PlanBook(bench.vault).within,
        secrets_dir=folder,
        kafka={},
        fake_urls={PROCESSOR: url},
    )
    with bench.vault.transaction(write=False) as tx:
        plan = around.plans(tx).latest
    made = connector(plan.processors[plan.processor_numbers[PROCESSOR]], around)
    meter = Meter()
    for chunks in rounds:
        count = sum(map(len, chunks))
        assert count == DELIVERIES, "every form must be delivered"
        with meter.round(count):
            for chunk in chunks:
                assert await made.handle(chunk) is None
        assert made.waiting() == 0, "the partner must have taken everything"
    await made.close()
    return meter


if __name__ == "__main__":
    run(measure, __doc__)
