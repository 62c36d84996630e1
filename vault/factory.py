"""How a vault is opened: by an address that names its store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from schemas.errors import BadInput
from schemas.ids import Micros
from vault.epochs import MemoryEpochKeys
from vault.memory import MemoryStore
from vault.port import EpochKeys, Vault
from vault.sqlite import SqliteStore
from vault.store import Store
from vault.vaults import ClockMode, StoreVault


def open_vault(
    url: str, epoch_keys: EpochKeys, *, clock: ClockMode | None = None, start: Micros | None = None
) -> Vault:
    """Open the vault at `memory:` or `sqlite:///absolute/path`, made on first use.

    `clock` is stamped into a new vault (default: the host's; a manual one begins at `start`) and must fit an
    old one. `BadInput` for an address nobody serves, `Refused` where vault, keys and clock do not fit.
    """
    return StoreVault(_store(url), epoch_keys, mode=clock, start=start)


def memory_vault(start: Micros | None = None) -> Vault:
    """Open a vault that is gone with the process and whose clock stands still: for tests and dry runs."""
    return StoreVault(MemoryStore(), MemoryEpochKeys(), mode="manual", start=start)


def _store(url: str) -> Store:
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/"):
        return SqliteStore(Path(unquote(parts.path)))
    raise BadInput("bad_argument", "no such kind of vault", "vault", "use sqlite:///absolute/path or memory:")
