"""A collector process: uvicorn on uvloop around the application, started and stopped in the right order."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable

import uvloop

from lapse.collector.app import CollectorApp, create_app
from lapse.collector.delivery import Delivery
from lapse.collector.direct import DirectProtocol
from lapse.collector.edge import Edge, SiteCredentials
from lapse.collector.opens import Sources
from lapse.collector.producer import KafkaProducer, Producer
from lapse.collector.protocol import WithoutPayload, allow_files
from lapse.collector.settings import CollectorSettings
from lapse.collector.spool import Spool
from lapse.serving import Server, configured
from schemas.plan import Plans
from streams.collecting import collect_less
from vault.faults import Crash, never
from vault.tokens import PixelKeys

_LOOK_SECONDS = 0.5
_REFRESH_SECONDS = 60.0
_BACKLOG = 2048


class Collector:
    """One running collector on the current event loop; `producer` stands in for Kafka's where it is given."""

    def __init__(
        self,
        settings: CollectorSettings,
        *,
        plans: Callable[[], Plans],
        credentials: SiteCredentials,
        pixel_keys: PixelKeys,
        producer: Producer | None = None,
        crash: Crash = never,
    ) -> None:
        self.settings = settings
        sources = Sources.load(settings.apple_egress, settings.google_networks, settings.scanners)
        self.edge = Edge(
            settings=settings,
            plans=plans,
            delivery=Delivery(
                producer or KafkaProducer(settings.kafka),
                Spool(settings.spool, crash=crash),
                settings.kafka,
                crash,
            ),
            site_credentials=credentials,
            pixel_keys=pixel_keys,
            sources=sources,
        )
        self.app: CollectorApp = create_app(self.edge)
        self.port = 0
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Open the spool, listen, and return the port once requests are answered; OSError if it is taken."""
        logging.getLogger("uvicorn.error").addFilter(WithoutPayload())
        listener = _listen(self.settings.host, self.settings.port)
        self.port = int(listener.getsockname()[1])
        await self.edge.delivery.start()
        finish = max(1, round(self.settings.finish_seconds))
        config = configured(self.app, finish_seconds=finish, http=DirectProtocol, timeout_keep_alive=10)
        self._server = Server(config)
        self._tasks = [
            asyncio.create_task(self._server.serve([listener]), name="http"),
            asyncio.create_task(self._refresh(), name="refresh"),
        ]
        await self._server.listening.wait()
        return self.port

    async def stop(self) -> None:
        """Fail readiness, finish what is under way, flush; what Kafka does not take stays in the spool."""
        self.edge.draining = True
        await asyncio.sleep(self.settings.drain_seconds)
        if self._server is not None:
            self._server.should_exit = True
            await self._tasks[0]
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        await self.edge.delivery.close(self.settings.flush_seconds)
        self.edge.delivery.close_spool()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await asyncio.to_thread(self.edge.sources.refresh)


async def _watch(collector: Collector, on_waiting: Callable[[str | None], None]) -> None:
    """Say, whenever it changes, whether events have to wait for Kafka."""
    while True:
        spooling = collector.edge.delivery.spooling
        on_waiting("Kafka; events are kept in the spool" if spooling else None)
        await asyncio.sleep(_LOOK_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def serve(
    settings: CollectorSettings,
    *,
    plans: Callable[[], Plans],
    credentials: SiteCredentials,
    pixel_keys: PixelKeys,
    on_ready: Callable[[int], None] = lambda _port: None,
    crash: Crash = never,
    on_waiting: Callable[[str | None], None] = lambda _for: None,
) -> int:
    """Run a collector until SIGTERM or SIGINT and return its exit code.

    `on_ready` gets the port, and `on_waiting` what is waited for while events are spooled, None afterwards.

    `plans` is asked at every request: hand in something that follows published policies.
    """

    allow_files()

    async def run() -> int:
        collector = Collector(
            settings, plans=plans, credentials=credentials, pixel_keys=pixel_keys, crash=crash
        )
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        port = await collector.start()
        collect_less()
        on_ready(port)
        watch = asyncio.create_task(_watch(collector, on_waiting), name="waiting")
        await stop.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await collector.stop()
        return 0

    return uvloop.run(run())
