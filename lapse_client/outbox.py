"""A bounded queue and the thread that empties it: batches, retries, flushing, forking.

A forked process starts with an empty queue of its own: what the parent had queued is the parent's to send.
"""

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from lapse_client.errors import QueueFull, Turned, Undelivered
from lapse_client.records import Publishable
from lapse_client.transport import Result, Transport

_log = logging.getLogger("lapse_client")
WhenFull = Literal["raise", "block", "drop_oldest"]
Callback = Callable[[Publishable, Exception | None], None]
"""Told of every event once: None when it is durable, else why it is not. Runs on the sending thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the queue behaves; times in seconds."""

    queue: int = 10_000
    when_full: WhenFull = "raise"
    batch: int = 100
    linger: float = 0.5
    retries: int = 3
    backoff: float = 0.2
    longest_backoff: float = 10.0


@dataclass(slots=True)
class _Queued:
    event: Publishable
    callback: Callback | None


class Outbox:
    """Takes events from any thread and sends them from one, started with the first event of each process."""

    def __init__(self, transport: Callable[[], Transport], rules: Rules) -> None:
        self._make = transport
        self._rules = rules
        self._start_anew()
        _living.add(self)
        _register()

    def _start_anew(self) -> None:
        # Re-entrant, because a signal handler that flushes may interrupt `put` in the same thread.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[_Queued] = deque()
        self._under_way = 0
        self._urgent = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._waiting) + self._under_way

    # ---- for callers ---------------------------------------------------------------------------------------
    def put(self, event: Publishable, callback: Callback | None) -> None:
        """Queue an event; QueueFull where the rules say so, or after `close`."""
        dropped: _Queued | None = None
        with self._changed:
            if self._rules.when_full == "block":
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._rules.queue)
            if self._closed:
                raise QueueFull("the publisher is closed")
            if len(self._waiting) >= self._rules.queue:
                if self._rules.when_full == "raise":
                    raise QueueFull(f"{self._rules.queue} events wait already")
                dropped = self._waiting.popleft()
            self._waiting.append(_Queued(event, callback))
            self._ensure_thread()
            self._changed.notify_all()
        if dropped is not None:
            _tell(dropped, QueueFull("dropped for newer events"))

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="lapse-publisher", daemon=True)
            self._thread.start()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued so far is settled; false if the time was too short."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not len(self), timeout)

    def close(self, timeout: float | None) -> bool:
        """Take no more, flush, end the thread; what could not be sent in time is told to its callbacks."""
        with self._changed:
            self._closed = True
        done = self.flush(timeout)
        left: list[_Queued] = []
        with self._changed:
            left.extend(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            thread = self._thread
        for each in left:
            _tell(each, Undelivered("the publisher was closed before it could be sent"))
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0 if done else 0.0)
        return done

    # ---- the sending thread --------------------------------------------------------------------------------
    def _run(self) -> None:
        with _connecting:
            transport = self._make()
        try:
            while batch := self._next():
                self._deliver(transport, batch)
                self._settled()
        finally:
            # Whatever ends the thread, nobody waits for it for ever; the next event starts another.
            self._settled()
            transport.close()

    def _settled(self) -> None:
        with self._changed:
            self._under_way = 0
            self._changed.notify_all()

    def _next(self) -> list[_Queued]:
        """The next batch: full, or as old as the linger, or asked for; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            full = self._rules.batch
            self._changed.wait_for(
                lambda: len(self._waiting) >= full or self._urgent or self._closed, self._rules.linger
            )
            batch = [self._waiting.popleft() for _ in range(min(full, len(self._waiting)))]
            self._under_way = len(batch)
            self._urgent = self._urgent and bool(self._waiting)
            self._changed.notify_all()
            return batch

    def _deliver(self, transport: Transport, batch: Sequence[_Queued]) -> None:
        left = list(batch)
        for attempt in range(self._rules.retries + 1):
            results = transport.send([each.event for each in left])
            again: list[tuple[_Queued, Undelivered]] = []
            for each, result in zip(left, results, strict=True):
                if result is None or isinstance(result, Turned):
                    _tell(each, result)
                else:
                    again.append((each, result))
            if not again:
                return
            if attempt == self._rules.retries:
                for each, error in again:
                    _tell(each, error)
                return
            self._pause(attempt, max(error.retry_after for _, error in again))
            left = [each for each, _ in again]

    def _pause(self, attempt: int, asked: float) -> None:
        """Wait before the next attempt: longer each time, and as long as the service asks."""
        backoff = self._rules.backoff * 2**attempt
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - keeps a fleet apart, guards nothing
        time.sleep(min(self._rules.longest_backoff, max(jittered, asked)))


def _tell(queued: _Queued, result: Result | QueueFull) -> None:
    if queued.callback is not None:
        queued.callback(queued.event, result)
    elif result is not None:
        _log.error("an event was not delivered: %s", result.code or type(result).__name__)


_living: "weakref.WeakSet[Outbox]" = weakref.WeakSet()
_connecting = threading.Lock()
"""Held while a transport is made: a fork amid OpenSSL's start would leave its locks taken in the child."""


def _in_child() -> None:
    _connecting.release()
    for outbox in list(_living):
        outbox._start_anew()  # noqa: SLF001 - the class's own business, in the child


def _at_exit() -> None:
    for outbox in list(_living):
        outbox.close(5.0)


@cache
def _register() -> None:
    os.register_at_fork(
        before=_connecting.acquire, after_in_parent=_connecting.release, after_in_child=_in_child
    )
    atexit.register(_at_exit)
