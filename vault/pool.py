"""Connections lent one at a time: what the stores on SQLite and on PostgreSQL share."""

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from schemas.errors import Unavailable


class Closable(Protocol):
    """All that a pool itself asks of a connection."""

    def close(self) -> None:
        """End it."""
        ...


C = TypeVar("C", bound=Closable)


class Pool(Generic[C]):
    """Keeps idle connections, for any thread; each is in one pair of hands at a time.

    `connect` makes one; `clean` ends what was left open on one that comes back, and raises `broken` where it
    is of no more use.
    """

    def __init__(self, connect: Callable[[], C], clean: Callable[[C], None], broken: type[Exception]) -> None:
        self._connect, self._clean, self._broken = connect, clean, broken
        self._lock = threading.Lock()
        self._idle: list[C] = []
        self._closed = False

    def take(self) -> C:
        """Lend an idle connection, or a new one; `Unavailable` once the pool is closed."""
        with self._lock:
            if self._closed:
                raise Unavailable("unavailable", "the vault is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def anew(self) -> C:
        """Lend a new connection and close those that are idle: one of their kind was dead."""
        self._drop_idle()
        return self._connect()

    def give(self, connection: C) -> None:
        """Take a connection back; one that is broken, or comes after the end, is closed."""
        try:
            self._clean(connection)
        except self._broken:
            connection.close()
            return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are given back."""
        with self._lock:
            self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
