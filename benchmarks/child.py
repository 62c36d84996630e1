"""A server under measurement, in a process of its own that says how much CPU it has used."""

from __future__ import annotations

import multiprocessing as mp
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from benchmarks.hot import cpu

START_SECONDS, STOP_SECONDS = 120.0, 20.0


class Parent:
    """The measured process's side: say that it is ready, then answer how much CPU was used."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def ready(self, said: object = None) -> None:
        """Hand something over and answer from now on, on a thread that sleeps while nobody asks."""
        self._pipe.send(said)
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                self._pipe.recv()
            except EOFError:
                return
            self._pipe.send(cpu())


class Child:
    """Runs `target(parent, *arguments)` in a fresh interpreter until the block is left (SIGTERM)."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._pipe, theirs = mp.Pipe()
        self._process = mp.get_context("spawn").Process(
            target=_play, args=(target, theirs, arguments), daemon=True
        )
        self._theirs = theirs
        self.said: Any = None

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        if not self._pipe.poll(START_SECONDS):
            self._process.kill()
            raise TimeoutError("the measured process does not become ready")
        self.said = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(STOP_SECONDS)
        self._process.kill()
        self._process.join()

    def cpu(self) -> float:
        """CPU seconds it has used so far."""
        self._pipe.send(None)
        used: float = self._pipe.recv()
        return used


def _play(target: Callable[..., None], pipe: Connection, arguments: tuple[object, ...]) -> None:
    target(Parent(pipe), *arguments)
