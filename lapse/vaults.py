"""Which vault a data folder has: SQLite inside it, or the PostgreSQL database it was first started on.

The address is stamped into the folder's marker without its password, so that every later command finds the
same vault; the password lies in a file of its own (0600) and stands in no message, process list or run file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from lapse.initialise import Marker
from lapse.layout import Layout, write_atomically, write_json
from lapse.settings import Settings
from schemas.errors import BadInput, NotFound, Refused

_SETTING = "LAPSE_VAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAddress:
    """Where a vault is; `url` may be shown, the password not."""

    url: str
    password: str | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Name of the store: sqlite or postgresql."""
        return self.url.partition(":")[0]


def address(layout: Layout, marker: Marker, settings: Settings) -> VaultAddress:
    """The vault of a data folder; `Refused` where the setting names another one."""
    if settings.vault is None:
        if marker.vault is None:
            return VaultAddress(url=layout.vault_url)
        return VaultAddress(url=marker.vault, password=_password(layout, settings, None))
    named = parse(settings.vault.get_secret_value())
    if named.url != (marker.vault or layout.vault_url):
        do = f"start without {_SETTING}, or make a new data folder for that vault"
        raise Refused("wrong_data_folder", "this data belongs to another vault", _SETTING, do)
    return VaultAddress(url=named.url, password=_password(layout, settings, named.password))


def settle(layout: Layout, marker: Marker, settings: Settings) -> Marker:
    """Before the first start: stamp the vault that the setting names; later, only keep its password."""
    if settings.vault is None:
        return marker
    named = parse(settings.vault.get_secret_value())
    if marker.vault is None and named.url != layout.vault_url and not layout.vault_file.exists():
        marker = marker.model_copy(update={"vault": named.url})
        write_json(layout.marker, marker.model_dump(exclude_none=True))
    found = address(layout, marker, settings)
    if found.password is not None:
        write_atomically(layout.vault_password, found.password.encode() + b"\n")
    return marker


def parse(text: str) -> VaultAddress:
    """Take the password out of an address; `BadInput` where it is none of a vault."""
    parts = urlsplit(text)
    if parts.scheme == "sqlite":
        return VaultAddress(url=text)
    if parts.scheme not in ("postgresql", "postgres"):
        do = "postgresql://user@host:5432/database; without it the vault is SQLite in the data folder"
        raise BadInput("bad_setting", "no address of a vault", _SETTING, do)
    if "password" in parse_qs(parts.query):
        do = "user:password@host, LAPSE_VAULT_PASSWORD_FILE, or ~/.pgpass"
        raise BadInput("bad_setting", "a password does not stand among the parameters", _SETTING, do)
    user, at, place = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    url = urlunsplit(("postgresql", f"{name}{at}{place}", parts.path, parts.query, ""))
    return VaultAddress(url=url, password=unquote(password) if colon else None)


def _password(layout: Layout, settings: Settings, given: str | None) -> str | None:
    """From the address, from the file the setting names, or from the file kept since the first start."""
    if given is not None:
        return given
    if settings.vault_password_file is not None:
        return _read(settings.vault_password_file)
    return _read(layout.vault_password) if layout.vault_password.exists() else None


def _read(path: Path) -> str:
    try:
        return path.read_text().rstrip("\n")
    except OSError:
        raise NotFound("no_file", "the vault's password file cannot be read", str(path), "check it") from None
