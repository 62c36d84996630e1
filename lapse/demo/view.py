"""How a spectator is shown what happens: a full screen that changes in place, or plain lines."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.live import Live

from lapse.demo.drawing import draw
from lapse.demo.scene import Scene
from lapse.visible import visible


class View(Protocol):
    """Shows scenes and says lines."""

    def show(self, scene: Scene) -> None:
        """The present state."""

    def close(self) -> None:
        """Leave the screen."""


class Lines:
    """Plain lines, for a terminal that is none: one every few seconds, and every piece of news."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._next, self._told = every, 0.0, 0

    def show(self, scene: Scene) -> None:
        """A line now and then."""
        for news in scene.news[self._told :]:
            self._say(f"{news.at:4.0f} s  * {news.text}")
        self._told = len(scene.news)
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        counts = ", ".join(f"{count} {name}" for name, count in scene.counts.items())
        shelves = ", ".join(f"{shelf.name} {shelf.held} of {shelf.received}" for shelf in scene.shelves)
        keys = f"{len(scene.living)} alive, {scene.destroyed} destroyed"
        self._say(f"{scene.elapsed:4.0f} s    {counts} | keys {keys} | readable at {shelves}")

    def close(self) -> None:
        """Nothing to leave."""

    def _say(self, line: str) -> None:
        sys.stdout.write(visible(line) + "\n")
        sys.stdout.flush()


class LiveScreen:
    """A full screen that changes in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, screen=True, transient=True)
        self._live.start()

    def show(self, scene: Scene) -> None:
        """Draw it."""
        self._live.update(draw(scene))

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()
