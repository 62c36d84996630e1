"""A real collector on a real socket with Kafka's twin in memory, for tests inside one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lapse.collector import Collector, CollectorSettings, KafkaSettings, Limits, SiteCredential, SpoolSettings
from lapse.collector.framing import Spooled
from lapse.collector.producer import MemoryProducer
from schemas import codec
from schemas.models import Record
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from vault.tokens import PixelKeys, expiry_day, mint

POLICY = Path(__file__).parents[3] / "policies" / "demo.yaml"
KEY = "sk_www_browser"
TOKEN = "st_www_server"
SERVER = {"authorization": f"Bearer {TOKEN}"}
ORIGIN = "https://www.demo.example"
CREDENTIALS = (
    SiteCredential(site="www", key=KEY, token=TOKEN),
    SiteCredential(site="shop", key="sk_shop_browser", token="st_shop_server"),
)
"""Every credential there is; only those of the policy's sites are let in."""
PIXEL_KEYS = PixelKeys.generate(lambda n: bytes(range(n)))


def demo_plans() -> Plans:
    """The demo policy, compiled."""
    return Plans([compile_plan(load(POLICY.read_text(), where="demo.yaml"))])


def token(days: int = 7, message_id: bytes = bytes(16), site: str = "www") -> str:
    """A pixel token of the site."""
    from lapse.collector.edge import wall_clock

    day = expiry_day(wall_clock(), days)
    return mint(PIXEL_KEYS, site=site, message_id=message_id, expires_day=day)


@dataclass
class Running:
    """A running collector, its twin of Kafka and a client that trusts no environment."""

    collector: Collector
    producer: MemoryProducer
    http: httpx.AsyncClient
    folder: Path
    plans: list[Plans] = field(default_factory=list)
    stopped: bool = False

    async def stop(self) -> None:
        """Stop the collector, once."""
        if not self.stopped:
            self.stopped = True
            await self.http.aclose()
            await self.collector.stop()

    @property
    def sent(self) -> list[Spooled]:
        """What reached Kafka's twin."""
        return self.producer.sent

    def records(self) -> list[Record]:
        """What reached Kafka's twin, decoded."""
        return [codec.decode(each.value) for each in self.sent]

    async def form(self, name: str = "request-demo", **members: Any) -> httpx.Response:
        """Post a form as JSON with the browser's key."""
        body = {"fields": {"email": "jo@example.org"}, **members}
        return await self.http.post(f"/f/{name}", params={"k": KEY}, json=body)

    async def raw(self, data: bytes, *, pauses: Sequence[tuple[float, bytes]] = ()) -> bytes:
        """Write bytes to a fresh connection and read until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.collector.port)
        answer = asyncio.create_task(_read_all(reader))
        writer.write(data)
        await writer.drain()
        for seconds, more in pauses:
            done, _ = await asyncio.wait([answer], timeout=seconds)
            if done:
                break
            writer.write(more)
        try:
            return await asyncio.wait_for(answer, 10)
        finally:
            writer.close()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the end or a reset, which a client that goes on writing may see."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65536):
            found += more
    return found


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is a problem document of this status and code, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = msgspec.json.decode(response.content)
    assert isinstance(document, dict)
    assert document["type"] == f"urn:lapse:error:{code}"
    assert document["status"] == status
    assert document["title"] and document["detail"]
    return document


def settings(folder: Path, limits: Limits | None = None, **changes: Any) -> CollectorSettings:
    """Settings for tests: no waiting at the end, a spool under the folder."""
    base = CollectorSettings(
        spool=SpoolSettings(folder=folder / "spool", keys=folder / "keys"),
        kafka=KafkaSettings(connection={}, ack_seconds=1.0, probe_seconds=0.05),
        limits=limits or Limits(),
        drain_seconds=0.0,
        finish_seconds=1.0,
        flush_seconds=1.0,
    )
    return replace(base, **changes)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    away: bool = False,
    with_settings: CollectorSettings | None = None,
    policy: Plans | None = None,
) -> AsyncIterator[Running]:
    """Start a collector, yield it, stop it in order."""
    producer = MemoryProducer()
    producer.away = away
    plans = [policy or demo_plans()]
    collector = Collector(
        with_settings or settings(folder),
        plans=lambda: plans[0],
        credentials=lambda sites: [c for c in CREDENTIALS if c.site in sites],
        pixel_keys=PIXEL_KEYS,
        producer=producer,
    )
    port = await collector.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=15) as http:
        it = Running(collector=collector, producer=producer, http=http, folder=folder, plans=plans)
        try:
            yield it
        finally:
            await it.stop()
