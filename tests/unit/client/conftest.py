"""A real collector in a thread of its own, for publishers that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.unit.collector.harness import Running, running


class InThread:
    """A collector on its own loop; `edge` is used from the test's thread for reading."""

    def __init__(self, folder: object) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._run)
        self.edge: Running

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.edge = self._loop.run_until_complete(
            self._stack.enter_async_context(running(self._folder))  # type: ignore[arg-type]  # a Path
        )
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()

    def start(self) -> Running:
        """Run it."""
        self._thread.start()
        assert self._ready.wait(20)
        return self.edge

    def stop(self) -> None:
        """Stop it in order."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The module's collector."""
    it = InThread(tmp_path_factory.mktemp("collector"))
    yield it.start()
    it.stop()


@pytest.fixture
def edge(shared: Running) -> Running:
    """The module's collector, with nothing sent yet."""
    shared.producer.sent.clear()
    shared.producer.away = False
    return shared


@pytest.fixture
def url(edge: Running) -> str:
    """Its address."""
    return f"http://127.0.0.1:{edge.collector.port}"
