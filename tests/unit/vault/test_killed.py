"""SIGKILL of the process, or the PostgreSQL server, at any statement: the vault opens and keeps its word."""

import itertools
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from schemas.errors import Unavailable
from tests.support.postgres import Server
from tests.unit.vault import life
from vault.postgres import PostgresStore
from vault.sqlite import SqliteStore
from vault.store import Store

Deadly = Callable[[], None]
PRIME = 23
"""Every so many statements is a place to die in the short run; the long one visits all."""


class Fuse:
    """Calls `die` before the n-th statement from now."""

    def __init__(self) -> None:
        """Nothing is lit."""
        self.left: int | None = None
        self.done = 0
        self.die: Deadly = lambda: None

    def light(self, n: int, die: Deadly) -> None:
        """Die before the n-th statement."""
        self.left, self.die = n, die

    def burn(self) -> None:
        """Count one statement."""
        self.done += 1
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            self.die()


FUSE = Fuse()


class DyingFile(sqlite3.Connection):
    """SQLite's connection, with the fuse before each statement."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Burn, then run."""
        FUSE.burn()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """Burn, then run."""
        FUSE.burn()
        return super().executemany(*arguments)


class DyingCursor(psycopg.Cursor[tuple[Any, ...]]):
    """psycopg's cursor, with the fuse before each statement."""

    def execute(self, *arguments: Any, **more: Any) -> "DyingCursor":
        """Burn, then run."""
        FUSE.burn()
        super().execute(*arguments, **more)
        return self


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    """Both drivers, with the fuse."""
    connect_file, connect_server = sqlite3.connect, psycopg.connect

    def dying(*arguments: Any, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        return connect_server(*arguments, **more, cursor_factory=DyingCursor)

    monkeypatch.setattr(
        "vault.sqlite.sqlite3.connect", lambda *a, **k: connect_file(*a, **k, factory=DyingFile)
    )
    monkeypatch.setattr("vault.postgres.psycopg.connect", dying)
    FUSE.left, FUSE.done = None, 0
    return FUSE


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that may be killed: it waits for its log, as a real one does."""
    made = Server()
    made.start()
    yield made
    made.remove()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing the kernel has."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="lapse-life-", dir=memory if os.access(memory, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


_NUMBERS = itertools.count()


def fresh(server: Server) -> str:
    """A new database's address."""
    name = f"life{next(_NUMBERS)}"
    with psycopg.connect(server.url(), autocommit=True) as making:
        making.execute(f"CREATE DATABASE {name}".encode())
    return server.url(name)


def makers(kind: str, folder: Path, server: Server | None) -> Callable[[int], Callable[[], Store]]:
    """For the n-th life, what opens its store."""

    def of(n: int) -> Callable[[], Store]:
        if server is None:
            return lambda: SqliteStore(folder / str(n) / "vault" / "vault.db")
        url = fresh(server)
        return lambda: PostgresStore(url, patience=3.0)

    return of


def places(whole: int, every: int) -> list[int]:
    """Statements to die at."""
    return list(range(0, whole, every))


def one_life(make: Callable[[], Store], folder: Path) -> None:
    """Open the vault and live, to the end or until killed."""
    store = make()
    try:
        life.live(life.opened(store, folder))
    finally:
        store.close()


def whole_life(make: Callable[[], Store], folder: Path, fuse: Fuse) -> int:
    """Live undisturbed; returns how many statements that takes."""
    folder.mkdir()
    fuse.done = 0
    one_life(make, folder)
    return fuse.done


def resumed(make: Callable[[], Store], folder: Path) -> None:
    """After a death: what is there holds, and what is left can be done."""
    store = make()
    try:
        world = life.opened(store, folder)
        life.holds_midway(world)
        life.live(world)
        life.holds_at_last(world)
    finally:
        store.close()


def killed_process(make: Callable[[], Store], folder: Path, at: int) -> bool:
    """Live in a child that is killed before its n-th statement; whether it came to that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            FUSE.light(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            one_life(make, folder)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def every_death(kind: str, folder: Path, server: Server | None, fuse: Fuse, every: int) -> int:
    """Kill the process at each place of a life of its own; returns how many died."""
    of, deaths = makers(kind, folder, server), 0
    whole = whole_life(of(-1), folder / "whole", fuse)
    assert whole > 150
    for n in places(whole, every):
        mine = folder / str(n)
        mine.mkdir()
        make = of(n)
        deaths += killed_process(make, mine, n)
        resumed(make, mine)
        shutil.rmtree(mine)
    return deaths


def test_a_process_killed_at_any_statement_leaves_a_vault_in_a_file(folder: Path, fused: Fuse) -> None:
    """Invariants 4, 5 and 11 hold at once, and in the end as if it had never died."""
    assert every_death("sqlite", folder, None, fused, PRIME) > 10


def test_a_process_killed_at_any_statement_leaves_a_vault_on_a_server(
    folder: Path, server: Server, fused: Fuse
) -> None:
    """The same on PostgreSQL, which rolls back what the dead process had begun."""
    assert every_death("postgresql", folder, server, fused, 2 * PRIME) > 5


def server_deaths(folder: Path, server: Server, fuse: Fuse, every: int) -> int:
    """Kill the server at each place of a life; the process sees it as away, waits, and goes on."""
    of, deaths = makers("postgresql", folder, server), 0
    whole = whole_life(of(-1), folder / "whole", fuse)
    for n in places(whole, every):
        mine = folder / str(n)
        mine.mkdir()
        make = of(n)
        fuse.light(n, server.kill)
        with pytest.raises(Unavailable):
            one_life(make, mine)
        deaths += 1
        server.start()
        resumed(make, mine)
        shutil.rmtree(mine)
    return deaths


def test_a_server_killed_at_any_statement_comes_back_with_the_vault(
    folder: Path, server: Server, fused: Fuse
) -> None:
    """After its recovery the vault opens, and everything acknowledged is there."""
    assert server_deaths(folder, server, fused, 5 * PRIME) > 2


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_statement_is_a_place_to_die(kind: str, folder: Path, server: Server, fused: Fuse) -> None:
    """The long run: no statement is left out."""
    assert every_death(kind, folder, server if kind == "postgresql" else None, fused, 1) > 150


@pytest.mark.soak
def test_every_statement_is_a_place_for_the_server_to_die(folder: Path, server: Server, fused: Fuse) -> None:
    """The long run of the server's deaths."""
    assert server_deaths(folder, server, fused, 2) > 75
