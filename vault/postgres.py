"""The vault's rows in PostgreSQL, shared by the processes of any number of hosts.

Who writes meets others at the gate, an empty table locked in the first statement, before the snapshot is
taken: readers `ACCESS SHARE`; those beside each other `ROW SHARE`; who is alone `EXCLUSIVE`, which waits for
all who write and keeps new ones out. So a transaction that is alone is serial to every other that writes, as
with SQLite. Beside each other, `judging` runs under snapshot isolation (REPEATABLE READ: the first to change
a row wins, the other gets `Conflict`), `counting` under READ COMMITTED (it adds, and waits for the row).
docs/decisions.md says which pairs that leaves and why each is harmless.

Each transaction has a connection of its own out of a small pool; writes are kept until they are read or the
transaction ends, and then sent table by table, one statement each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
from psycopg import pq, sql
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from schemas.errors import Bug, Conflict, Unavailable
from vault.migrations import migrate
from vault.pgrows import PostgresRows
from vault.pgsql import CLAIM, DIALECT, GATE, furniture
from vault.pool import Pool
from vault.store import Rows, Way

_PATIENCE = 10.0
_FORGET_MS = 1000
_SETTING_UP = 0x6C61707365
"""Number of the advisory lock under which the tables are made or migrated ("lapse")."""

_SETTINGS = {
    "enable_seqscan": "off",  # statistics lag behind a bulk of new rows; every look-up has its index
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",  # planning a look-up anew costs as much as doing it
    "jit": "off",
    "client_min_messages": "warning",
}
_MUST = ("autovacuum", "fsync", "full_page_writes")
_CONNECT = {
    "connect_timeout": "5",
    "application_name": "lapse",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

_MODES: dict[Way | Literal["reading"], tuple[str, str]] = {
    "reading": ("REPEATABLE READ READ ONLY", "ACCESS SHARE"),
    "judging": ("REPEATABLE READ", "ROW SHARE"),
    "counting": ("READ COMMITTED", "ROW SHARE"),
    "alone": ("REPEATABLE READ", "EXCLUSIVE"),
}
_BEGIN = {
    way: f"BEGIN ISOLATION LEVEL {isolation}; LOCK TABLE {GATE} IN {mode} MODE"
    for way, (isolation, mode) in _MODES.items()
}

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresStore:
    """Keeps rows in one PostgreSQL database, in the first schema of its search path."""

    def __init__(self, url: str, *, password: str | None = None, patience: float = _PATIENCE) -> None:
        """`url` as libpq reads it; a `password` of its own never stands in an address that is printed."""
        self.url = url
        self._password = password
        self._patience = patience
        self._pool = Pool(self._connect, _rolled_back, psycopg.Error)
        self._numbers: dict[str, list[int]] = {}
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    @property
    def overwrites(self) -> bool:
        """False: heap pages and the write-ahead log keep what was overwritten for as long as they like."""
        return False

    def weaknesses(self) -> list[str]:
        """Return settings of the server under which a commit may be lost or dead rows pile up."""
        with self.begin(write=False) as rows:
            assert isinstance(rows, PostgresRows)
            asked = "SELECT name FROM pg_settings WHERE setting = 'off' AND name = ANY(%b::text[]) ORDER BY 1"
            return [f"{name} is off" for (name,) in rows.ask(asked, [list(_MUST)])]

    @contextmanager
    def begin(self, *, write: bool, way: Way = "alone") -> Iterator[Rows]:
        """Open a transaction; `Unavailable` where the server is away, or others keep it waiting for 10 s."""
        connection = self._begun(_BEGIN[way if write else "reading"])
        try:
            rows = PostgresRows(connection, self._numbers, write=write, way=way, run=translated)
            yield rows
            with translated():
                rows.flush()
                if connection.info.transaction_status == pq.TransactionStatus.INERROR:
                    raise Bug("bug", "a transaction goes on after a statement of it failed", "vault")
                connection.execute("COMMIT", prepare=False)
        finally:
            self._pool.give(connection)

    def forget(self) -> bool:
        """Wait until nobody sees older rows, then clear the dead ones; False while somebody reads for long.

        What the pages and the log still hold of them is wrapped under an epoch's key, and ends with it.
        """
        connection = self._begun("BEGIN")
        try:
            # Others queue behind this while it waits for readers, so it waits less long than they do.
            connection.execute(f"SET LOCAL lock_timeout = {_FORGET_MS}")
            connection.execute(f"LOCK TABLE {GATE} IN ACCESS EXCLUSIVE MODE")
            connection.execute(f"TRUNCATE {CLAIM}")
            connection.execute("COMMIT", prepare=False)
            connection.execute("VACUUM keyslot")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
            return False
        except psycopg.Error as error:
            raise _unavailable(error) from None
        finally:
            self._pool.give(connection)
        return True

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are given back."""
        self._pool.close()

    def _set_up(self) -> None:
        connection = self._begun("BEGIN")
        try:
            with translated():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETTING_UP])
                for statement in furniture():
                    connection.execute(statement.encode())
                connection.execute(f"LOCK TABLE {GATE} IN EXCLUSIVE MODE")
                migrate(_Execute(connection), DIALECT)
                connection.execute("COMMIT", prepare=False)
        finally:
            self._pool.give(connection)

    def _begun(self, text: str) -> Connection:
        """Take a connection and begin on it; one that died while it was idle is thrown away with its kind."""
        with translated():
            connection = self._pool.take()
            try:
                connection.execute(text.encode(), prepare=False)
            except psycopg.OperationalError:
                if not connection.closed:
                    self._pool.give(connection)
                    raise
                connection = self._pool.anew()
                connection.execute(text.encode(), prepare=False)
        return connection

    def _connect(self) -> Connection:
        options = {**_CONNECT} if self._password is None else {**_CONNECT, "password": self._password}
        connection = psycopg.connect(self.url, autocommit=True, **options)  # type: ignore[arg-type]
        # One type for every number, so that a statement is prepared once and not once per width.
        for dumper in (Int8Dumper, Int8BinaryDumper):
            connection.adapters.register_dumper(int, dumper)
        connection.prepare_threshold = 2
        wait = int(self._patience * 1000)
        # A process that froze inside a transaction must not keep the gate for ever; one that only waits for
        # its processor while it judges a chunk must not lose its work.
        frozen = {"idle_in_transaction_session_timeout": f"{6 * wait}ms"}
        chosen = {**_SETTINGS, **frozen, "lock_timeout": f"{wait}ms"}
        for name, value in chosen.items():
            connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        # Both a commit that destroys and one that makes a key durable must survive a power cut.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        return connection


def _rolled_back(connection: Connection) -> None:
    if connection.info.transaction_status != pq.TransactionStatus.IDLE:
        connection.execute("ROLLBACK", prepare=False)


class _Execute:
    """What a migration needs of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, text: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(text.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours; its texts quote values and addresses and go no further."""
    try:
        yield
    except (
        psycopg.errors.SerializationFailure,
        psycopg.errors.DeadlockDetected,
        psycopg.errors.UniqueViolation,
    ):
        raise Conflict("conflict", "another transaction changed a row first", "vault") from None
    except (psycopg.IntegrityError, psycopg.DataError):
        raise Bug("bug", "another row needs this one, or refers to nothing, or lacks a value") from None
    except psycopg.Error as error:
        raise _unavailable(error) from None


def _unavailable(error: psycopg.Error) -> Unavailable:
    return Unavailable(
        "unavailable", "the vault does not answer", error.sqlstate or type(error).__name__, "try again"
    )
