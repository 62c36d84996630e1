"""What the key endpoint costs: keys opened per CPU second of its process, over real HTTPS on this machine.

    python -m benchmarks.keys [-o json]

The deliveries are made by the tag and route stages from forms of as many people. The server runs as the
`keys` role runs it (uvloop, TLS 1.3, the protocol with its limits), on SQLite.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.child import Child, Parent
from benchmarks.figures import Figure, Meter, percentile, run
from benchmarks.hot import CHUNK, Bench
from benchmarks.load import Server as Target
from benchmarks.load import closed_loop, open_loop, request
from lapse.certificates import issue
from lapse.endpoints import configuration
from lapse.keyservice.app import create_app
from lapse.keyservice.rates import Rates
from lapse.serving import Server
from processors.tokens import SECRET_CHARS, register_token
from schemas.codec import decode_as
from schemas.ids import Micros
from schemas.models import RecordDelivered
from streams.planbook import PlanBook
from vault.deliveries import asked_of
from vault.epochs import FileEpochKeys

PROCESSOR = "crm"
TOKEN = f"lk_{PROCESSOR}_{'t' * SECRET_CHARS}"
PEOPLE, BATCH, ROUNDS = 2_000, 500, 5
REQUESTS = 12
"""Requests a round."""
RATE, SMALL, SECONDS = 1_000, 20, 5
"""Deliveries a second of the open loop, how many a request has there, and how long it goes on."""
DAY = 86_400_000_000


def bench(folder: Path) -> Bench:
    """A vault in this folder that a second process can open, too."""
    return Bench(folder, keys=FileEpochKeys(folder / "keys", folder / "backup"))


def asked(delivery: RecordDelivered) -> dict[str, Any]:
    """A delivery as a consumer asks for it."""
    one = asked_of(delivery)
    return {
        "delivery_id": one.delivery_id.hex(),
        "revision": one.revision,
        "source": delivery.source,
        "compartments": [
            {
                "n": part.n,
                "wraps": [
                    {**w._asdict(), "handle": w.handle.hex(), "key": base64.b64encode(w.key).decode()}
                    for w in part.wraps
                ],
            }
            for part in one.compartments
        ],
    }


def question(deliveries: Sequence[dict[str, Any]]) -> bytes:
    """The whole request."""
    body = json.dumps({"deliveries": deliveries}).encode()
    return request("POST", "/v1/keys", body, f"Authorization: Bearer {TOKEN}")


def serve(parent: Parent, folder: Path, days: int) -> None:
    """Fill a vault, with forms of the last so many days, and play the key endpoint on it."""
    made = bench(folder)
    per_day = PEOPLE // days
    found = []
    for day in range(days):
        made.traffic.now = Micros(made.now - day * DAY)
        made.tag(made.events("form", range(day * per_day, (day + 1) * per_day)))
        tagged = made.sink.take()
        for (topic, partition), records in tagged.items():
            if topic.startswith("records."):
                made.route(made.inbound(topic, partition, records))
        delivered = made.sink.take()
        found.append(
            [
                asked(decode_as(RecordDelivered, record.value or b""))
                for (topic, _), records in sorted(delivered.items())
                if topic == f"processor.{PROCESSOR}"
                for record in records
            ]
        )
    with made.vault.transaction() as tx:
        register_token(tx, PROCESSOR, TOKEN)
    uvloop.run(_serve(parent, made, folder, found))


async def _serve(parent: Parent, made: Bench, folder: Path, found: list[list[dict[str, Any]]]) -> None:
    issued = issue(("127.0.0.1",), dt.datetime.now(dt.UTC))
    for name in ("authority", "certificate", "key"):
        (folder / f"{name}.pem").write_bytes(getattr(issued, name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The limit per processor is not what is measured.
    rates = Rates(per_second=1e9, burst=1e9, clock=time.monotonic)
    app = create_app(made.vault, PlanBook(made.vault).within, rates=rates)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    server = Server(configuration(app, host="127.0.0.1", port=port, certificate=certificate, key=key))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn says so in a plain attribute
        await asyncio.sleep(0.01)
    parent.ready((port, found))
    await serving


def target(child: Child, folder: Path) -> Target:
    """Where the child answers."""
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    return Target(port=child.said[0], context=context)


def keys_in(body: bytes) -> int:
    """How many keys an answer hands out."""
    results = json.loads(body)["results"]
    return sum("key" in part for result in results for part in result["compartments"])


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name, Child(serve, Path(name), 1) as child:
        return list(_measured(child, target(child, Path(name))))


def _measured(child: Child, server: Target) -> Iterator[Figure]:
    deliveries = [each for day in child.said[1] for each in day]
    assert len(deliveries) >= PEOPLE - CHUNK, "every form must be delivered"
    large = [question(deliveries[at : at + BATCH]) for at in range(0, len(deliveries) - BATCH + 1, BATCH)]
    opened = asyncio.run(_once(server, large[0]))
    assert opened >= BATCH, "every delivery must open"
    meter = Meter(child.cpu)
    for _ in range(ROUNDS):
        requests = [large[n % len(large)] for n in range(REQUESTS)]
        with meter.round(REQUESTS * BATCH):
            sent = asyncio.run(closed_loop(server, requests, 4))
        assert sent.statuses == {200: REQUESTS}, sent.statuses
    parts = opened / BATCH
    yield Figure(
        of="keys",
        what=f"keys opened per CPU second, {BATCH} deliveries a request",
        figure=meter.rate * parts,
        unit="keys/s",
        goal=20_000,
    )
    yield Figure(of="keys", what=f"the same in deliveries of {parts:.2g} keys", figure=meter.rate, unit="/s")
    small = [deliveries[at : at + SMALL] for at in range(0, len(deliveries) - SMALL + 1, SMALL)]
    wanted = [question(small[n % len(small)]) for n in range(RATE // SMALL * SECONDS)]
    sent = asyncio.run(open_loop(server, wanted, RATE / SMALL))
    assert set(sent.statuses) == {200}, sent.statuses
    what = f"latency at {RATE:,} deliveries/s, {SMALL} a request"
    for share, goal in ((0.5, None), (0.99, 20)):
        figure = percentile(sent.seconds, share) * 1000
        yield Figure(
            of="keys", what=f"p{share * 100:.0f} {what}", figure=figure, unit="ms", goal=goal, at_most=True
        )


async def _once(server: Target, question: bytes) -> int:
    connection = await server.connect()
    status, body = await connection.ask(question)
    connection.close()
    assert status == 200, status
    return keys_in(body)


if __name__ == "__main__":
    run(measure, __doc__)
