"""How a vault is opened: by an address that names its store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from schemas.errors import BadInput
from schemas.ids import Micros
from vault.epochs import MemoryEpochKeys
from vault.faults import Crash, never
from vault.memory import MemoryStore
from vault.port import EpochKeys, Vault
from vault.sqlite import SqliteStore
from vault.store import Store
from vault.vaults import ClockMode, StoreVault


def open_vault(
    url: str,
    epoch_keys: EpochKeys,
    *,
    clock: ClockMode | None = None,
    start: Micros | None = None,
    password: str | None = None,
    crash: Crash = never,
    catching_up: bool = False,
) -> Vault:
    """Open the vault at `memory:`, `sqlite:///absolute/path` or `postgresql://user@host/database`.

    Its tables are made on first use and migrated when they are of an earlier release; a database must exist.

    `clock` is stamped into a new vault (default: the host's; a manual one begins at `start`) and must fit an
    old one. A restored vault that is `catching_up` may be used before it knows what the log says.

    `BadInput` for an address nobody serves, `Refused` where vault, keys and clock do not fit.
    """
    store = _store(url, password)
    return StoreVault(store, epoch_keys, mode=clock, start=start, crash=crash, catching_up=catching_up)


def memory_vault(start: Micros | None = None) -> Vault:
    """Open a vault that is gone with the process and whose clock stands still: for tests and dry runs."""
    return StoreVault(MemoryStore(), MemoryEpochKeys(), mode="manual", start=start)


def _store(url: str, password: str | None) -> Store:
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/"):
        return SqliteStore(Path(unquote(parts.path)))
    if parts.scheme == "postgresql":
        from vault.postgres import PostgresStore  # the driver is loaded where there is a server to talk to

        return PostgresStore(url, password=password)
    do = "use sqlite:///absolute/path, postgresql://user@host/database or memory:"
    raise BadInput("bad_argument", "no such kind of vault", "vault", do)
