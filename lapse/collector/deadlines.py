"""Deadlines for many waits under one timer: a timer for each costs as much as a small request."""

import asyncio

TICK_SECONDS = 0.1


class Deadlines:
    """Ends waits that take too long, at most `TICK_SECONDS` late; used by one event loop."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, task: "asyncio.Task[object]", at: float) -> None:
        """Cancel the task at this time of the loop, unless it is taken back before."""
        self._due[task] = at
        if self._timer is None:
            self._timer = task.get_loop().call_later(TICK_SECONDS, self._look)

    def take_back(self, task: "asyncio.Task[object]") -> bool:
        """Forget the task; true if it was cancelled here and by nobody else, which is taken back too."""
        self._due.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        return task.uncancel() == 0

    def _look(self) -> None:
        self._timer = None
        for task, at in list(self._due.items()):
            now = task.get_loop().time()
            if at <= now:
                del self._due[task]
                self._late.add(task)
                task.cancel()
            elif self._timer is None:
                self._timer = task.get_loop().call_later(TICK_SECONDS, self._look)
