"""What the collector costs: acknowledged events per CPU second beside the least any collector could do.

    python -m benchmarks.collector [-o json]

Both run in processes of their own on one real Kafka, and answer when it has acknowledged. The floor is a bare
ASGI application on the same server (uvicorn, httptools, uvloop) that produces each body as it came with
confluent-kafka. The events are a third each of forms, mail opens and single cookies, one a request; the
floor gets the same requests as POSTs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop
from confluent_kafka import KafkaError, Producer

from benchmarks.child import Child, Parent
from benchmarks.figures import Figure, Meter, percentile, run
from benchmarks.kafka import kafka
from benchmarks.load import Server, closed_loop, open_loop, request
from benchmarks.traffic import POLICY, Traffic
from lapse.collector import CollectorSettings, KafkaSettings, Limits, SiteCredential, SpoolSettings, serve
from schemas import codec
from schemas.ids import Micros
from schemas.models import CookieObserved, EmailOpened, FormSubmitted
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from vault.tokens import PixelKeys

EVENTS, ROUNDS, CONNECTIONS = 6_000, 5, 64
RATE, SECONDS = 1_000, 5
TOKEN = "st_www_bench"  # noqa: S105 - of a throw-away collector
BROWSER = "sk_www_bench"
UNLIMITED = Limits(form_rate=1e9, form_burst=10**9, beacon_rate=1e9, beacon_burst=10**9)
"""The limits per address are not what is measured: here everything comes from one."""


def collect(
    parent: Parent, folder: Path, settings: dict[str, str], pixel_keys: str, ack_seconds: float = 30.0
) -> None:
    """Play the collector."""
    plans = Plans([compile_plan(load(POLICY.read_text(encoding="utf-8"), where=POLICY.name))])
    serve(
        CollectorSettings(
            spool=SpoolSettings(folder=folder / "spool", keys=folder / "keys"),
            kafka=KafkaSettings(connection=settings, ack_seconds=ack_seconds),
            limits=UNLIMITED,
            drain_seconds=0.0,
        ),
        plans=lambda: plans,
        credentials=lambda _: [SiteCredential(site="www", key=BROWSER, token=TOKEN)],
        pixel_keys=PixelKeys.from_json(pixel_keys),
        on_ready=parent.ready,
    )


class Bare:
    """The least there is: read the body, produce it, wait for the acknowledgement, answer 202."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        wanted = {"acks": "all", "enable.idempotence": True, "linger.ms": 1}
        self._producer = Producer({**wanted, **settings})
        self._done: deque[asyncio.Future[None]] = deque()
        self._told = False
        threading.Thread(target=self._poll, daemon=True).start()

    def _poll(self) -> None:
        while True:
            self._producer.poll(0.1)

    def _delivered(self, future: asyncio.Future[None], error: KafkaError | None, _message: object) -> None:
        assert error is None, error
        self._done.append(future)
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._told = False
        while self._done:
            self._done.popleft().set_result(None)

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        future = self._loop.create_future()
        self._producer.produce("intake.form", body, on_delivery=partial(self._delivered, future))
        await future
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def floor(parent: Parent, settings: dict[str, str]) -> None:
    """Play the floor."""

    async def answer() -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            Bare(settings), http="httptools", lifespan="off", access_log=False, log_config=None
        )
        parent.ready(listener.getsockname()[1])
        await uvicorn.Server(config).serve([listener])

    uvloop.run(answer())


def bodies(pixel_keys: PixelKeys, now: Micros) -> Iterator[tuple[str, str, bytes]]:
    """Method, path and body of the three kinds of request, in turn, for ever."""
    traffic, person = Traffic(now, pixel_keys), 0
    while True:
        person += 1
        form = codec.decode_as(FormSubmitted, traffic.event("form", person))
        consents = [{"purpose": each.purpose, "granted": True} for each in form.consents]
        asked = {"fields": form.fields, "consents": consents, "notice": form.notice}
        yield "POST", f"/f/{form.form}?k={BROWSER}", msgspec.json.encode(asked)
        opened = codec.decode_as(EmailOpened, traffic.event("email-open", person))
        yield "GET", f"/o/{opened.token}.gif", b""
        seen = codec.decode_as(CookieObserved, traffic.event("cookie", person))
        one = {
            "name": seen.name,
            "url": seen.url,
            "cookie_id": seen.cookie_id,
            "referrer": seen.referrer,
            "properties": seen.properties,
        }
        yield "POST", f"/e?k={BROWSER}", msgspec.json.encode({"events": [one]})


def requests(pixel_keys: PixelKeys, now: Micros, count: int, *, bare: bool) -> list[bytes]:
    """Whole requests; the bare ones are all POSTs, an open's body being its token."""
    agent = "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0"
    found = bodies(pixel_keys, now)
    if bare:
        return [request("POST", path, body or path.encode(), agent) for _, path, body in _some(found, count)]
    return [request(method, path, body, agent) for method, path, body in _some(found, count)]


def _some(found: Iterator[tuple[str, str, bytes]], count: int) -> Iterator[tuple[str, str, bytes]]:
    return (next(found) for _ in range(count))


def rate(child: Child, wanted: Sequence[bytes]) -> Meter:
    """CPU seconds of the child per request at full speed."""
    meter, server = Meter(child.cpu), Server(port=child.said)
    uvloop.run(closed_loop(server, wanted[:1_000], CONNECTIONS))
    for _ in range(ROUNDS):
        with meter.round(len(wanted)):
            sent = uvloop.run(closed_loop(server, wanted, CONNECTIONS))
        assert set(sent.statuses) <= {200, 202, 204}, sent.statuses
    return meter


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name, kafka(Path(name) / "kafka") as settings:
        return list(_measured(Path(name), settings))


def _measured(folder: Path, settings: dict[str, str]) -> Iterator[Figure]:
    pixels = PixelKeys.generate(os.urandom)
    now = Micros(int(Path(folder).stat().st_mtime * 1e6))
    with Child(floor, settings) as child:
        least = rate(child, requests(pixels, now, EVENTS, bare=True))
    with Child(collect, folder, settings, pixels.to_json()) as child:
        wanted = requests(pixels, now, EVENTS, bare=False)
        found = rate(child, wanted)
        server = Server(port=child.said)
        sent = uvloop.run(open_loop(server, wanted[: RATE * SECONDS], RATE))
        assert set(sent.statuses) <= {200, 202, 204}, sent.statuses
    yield Figure(
        of="collector",
        what="acknowledged events per CPU second",
        figure=found.rate,
        unit="/s",
        goal=15_000,
        peer="bare ASGI and producer",
        peer_figure=least.rate,
    )
    yield Figure(
        of="collector",
        what="the same as a share of the bare one",
        figure=found.rate / least.rate,
        unit="",
        goal=0.5,
    )
    for share, goal in ((0.5, 5), (0.99, 30)):
        yield Figure(
            of="collector",
            what=f"p{share * 100:.0f} at an open-loop {RATE:,}/s",
            figure=percentile(sent.seconds, share) * 1000,
            unit="ms",
            goal=goal,
            at_most=True,
        )


if __name__ == "__main__":
    run(measure, __doc__)
