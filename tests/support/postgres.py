"""A real PostgreSQL for tests: one server per run, started when first asked for, and databases to borrow.

`LAPSE_TEST_POSTGRES` names a server that is there already (a superuser's address). Otherwise Debian's
`postgresql` is looked for and started in a folder of its own, without TCP; where it is absent, tests skip.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psycopg
import pytest

from vault.pgsql import CLAIM, COUNTERS, sequence
from vault.postgres import PostgresStore
from vault.tables import TABLES

OWNER = "postgres"
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""For tests that never kill the server."""


def programs() -> Path | None:
    """Where initdb and postgres lie, None where they are not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    found = shutil.which("initdb")
    if found:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if (place / "initdb").exists()), None)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


class Server:
    """One cluster in a folder of its own, reached through a socket there; it dies with this process."""

    def __init__(self, *settings: str, folder: Path | None = None, listen: Sequence[str] = ()) -> None:
        """`settings` are lines of postgresql.conf; a `folder` with a cluster in it is taken as it is."""
        self._programs = programs()
        if self._programs is None:
            pytest.skip("no PostgreSQL here: apt-get install postgresql, or set LAPSE_TEST_POSTGRES")
        self.port = free_port() if listen else 5432
        self._settings = (f"listen_addresses={','.join(listen)}", f"port={self.port}", *settings)
        self._process: subprocess.Popen[bytes] | None = None
        memory = Path("/dev/shm")  # a server that is wiped anyway need not wait for a disk
        base = memory if os.access(memory, os.W_OK) else None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="lapse-pg-", dir=base))
        self.data = self.folder / "data"
        if not self.data.exists():
            self._own(self.folder)
            options = ["-A", "trust", "-N", "--no-instructions", "-E", "UTF8", "--locale=C", "-U", OWNER]
            options.append("--wal-segsize=1")
            subprocess.run(
                self._as_owner("initdb", "-D", str(self.data), *options), check=True, capture_output=True
            )
        atexit.register(self.remove)

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://{OWNER}@/{database}?host={self.folder}&port={self.port}"

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None, "it runs"
        return self._process.pid

    def start(self) -> None:
        """Start, and return once it answers (after recovery, where it was killed)."""
        settings = (f"unix_socket_directories={self.folder}", *self._settings)
        options = [word for each in settings for word in ("-c", each)]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._as_owner("postgres", "-D", str(self.data), *options), stdout=log, stderr=log
        )
        log.close()
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop in good order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with everything it has started: what is not in the log by now is lost."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Stop and wipe it."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        pid, process = self._process.pid, self._process
        self._process = None
        children = (
            [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            if process.poll() is None
            else []
        )
        process.send_signal(how)
        if how == signal.SIGKILL:
            for child in children:
                with _gone():
                    os.kill(child, how)
        process.wait()
        while any(Path(f"/proc/{child}").exists() for child in children):
            time.sleep(0.005)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _as_owner(self, program: str, *arguments: str) -> list[str]:
        assert self._programs is not None
        become = ["--reuid", OWNER, "--regid", OWNER, "--clear-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *become, "--pdeathsig", "INT", str(self._programs / program), *arguments]


class _gone:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, ProcessLookupError)


class Databases:
    """Databases with the vault's tables, borrowed for a test and wiped after it."""

    def __init__(self, url: str) -> None:
        """`url` may make databases."""
        self._url = url
        self._free: list[str] = []
        self._lent: list[str] = []
        self._made = 0
        self._run = os.getpid()
        atexit.register(self.drop)

    def borrow(self) -> str:
        """Return the address of an empty vault's database."""
        name = self._free.pop() if self._free else self._make()
        self._lent.append(name)
        return self._of(name)

    def wipe(self) -> None:
        """Take back what was lent."""
        while self._lent:
            name = self._lent.pop()
            emptied = [f"DELETE FROM {table.name}" for table in reversed(TABLES)]  # noqa: S608 names of ours
            numbers = [f"SELECT setval('{sequence(counter)}', 1, false)" for counter in COUNTERS]
            with psycopg.connect(self._of(name), autocommit=True) as wiping:
                wiping.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                wiping.execute("; ".join([*emptied, f"TRUNCATE {CLAIM}", *numbers]).encode())
            self._free.append(name)

    def drop(self) -> None:
        """Remove every database."""
        with psycopg.connect(self._url, autocommit=True) as dropping:
            for n in range(1, self._made + 1):
                dropping.execute(f"DROP DATABASE IF EXISTS lapse_{self._run}_{n} WITH (FORCE)".encode())

    def _make(self) -> str:
        self._made += 1
        name = f"lapse_{self._run}_{self._made}"
        with psycopg.connect(self._url, autocommit=True) as making:
            making.execute(f"CREATE DATABASE {name}".encode())
        PostgresStore(self._of(name)).close()
        return name

    def _of(self, name: str) -> str:
        return psycopg.conninfo.make_conninfo(self._url, dbname=name)


@cache
def databases() -> Databases:
    """The databases of this run's one server; skips where there is none."""
    given = os.environ.get("LAPSE_TEST_POSTGRES")
    if given:
        return Databases(given)
    server = Server(*FAST)
    server.start()
    return Databases(server.url())
