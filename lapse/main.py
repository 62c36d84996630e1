"""The composition root: the only place that reads the environment and builds clients."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lapse import faults
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.initialise import Marker, read_marker
from lapse.layout import Layout, read_json
from lapse.runtime import Runtime
from lapse.settings import Settings
from lapse.vaults import VaultAddress, address
from schemas import codec
from schemas.errors import BadInput, NotFound, Unavailable
from schemas.plan import Plans
from schemas.registry import Registry
from vault import columns, open_vault
from vault.epochs import FileEpochKeys
from vault.faults import Crash, never
from vault.port import Vault
from vault.tokens import PixelKeys

if TYPE_CHECKING:
    from lapse.broker.admin import Admin

REACH_SECONDS = 5.0
"""How long a connection to the broker may take before a command gives up."""


def settings() -> Settings:
    """Read the environment; `BadInput` names the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "LAPSE_" + "_".join(str(part) for part in first["loc"]).upper()
        what = str(first["msg"]).removeprefix("Value error, ")
        raise BadInput(
            "bad_setting",
            what,
            name.rstrip("_") if first["loc"] else "LAPSE_*",
            "see docs/operating.md, Settings",
        ) from None


def data_folder(given: Path | None) -> Path:
    """The data folder of a command: `--data`, which Typer also takes from LAPSE_DATA."""
    if given is None:
        raise BadInput("usage", "no data folder named", "--data", "give --data DIR or set LAPSE_DATA")
    return given.resolve()


def shipped_policy(name: str) -> Path:
    """A policy that comes with Lapse: company or demo."""
    return Path(str(files("policies") / f"{name}.yaml"))


def certificate_hosts(host: str) -> tuple[str, ...]:
    """The names and addresses the server certificate is for."""
    extra = () if host in ("127.0.0.1", "0.0.0.0", "::") else (host,)  # noqa: S104 - compared, not bound
    return ("localhost", "127.0.0.1", "::1", *extra)


def login(layout: Layout, kind: str, name: str) -> Credentials:
    """A Kafka user of this installation."""
    document = read_json(layout.credentials(kind, name))
    return Credentials(username=document["username"], password=document["password"])


@dataclass
class Installation:
    """One data folder, opened: what commands and roles work with. Clients are made when first asked for."""

    layout: Layout
    marker: Marker
    settings: Settings
    catching_up: bool = False
    """Whether the vault may be used before it has caught up with the log, as only `up` does."""
    _closing: ExitStack = field(default_factory=ExitStack, repr=False)

    @cached_property
    def runtime(self) -> Runtime:
        """The addresses of the run that is or was last up; `Unavailable` where there was none yet."""
        try:
            return Runtime.load(self.layout)
        except FileNotFoundError:
            where, do = str(self.layout.root), "start it: lapse up --data DIR"
            raise Unavailable("not_running", "this installation has never been up", where, do) from None

    @cached_property
    def vault(self) -> Vault:
        """The vault, opened where it is; `Unavailable` while it is closed after a restore."""
        opened = open_installed_vault(
            self.layout, self.marker, self.vault_address, self.crash, catching_up=self.catching_up
        )
        self._closing.callback(opened.close)
        with opened.transaction(write=False):
            return opened  # a closed one is refused here, before anything else is made ready

    @cached_property
    def vault_address(self) -> VaultAddress:
        """Where the vault is."""
        return address(self.layout, self.marker, self.settings)

    @cached_property
    def plans(self) -> Plans:
        """Every published policy, compiled; read once, as commands are short."""
        from schemas.policy import compile_plan, load  # with pydantic's models: half of a verb's start

        with self.vault.transaction(write=False) as tx:
            rows = tx.policies()
        return Plans(compile_plan(load(row.body, where=f"policy {row.version}")) for row in rows)

    @cached_property
    def crash(self) -> Crash:
        """Dies at the points `LAPSE_FAULT` names, on test data alone."""
        return faults.armed(self.settings.fault if self.marker.test else None, self.layout)

    @property
    def address(self) -> BrokerAddress:
        """The cluster."""
        return self.runtime.address

    def user(self, role: str) -> Credentials | None:
        """Who `role` is on Kafka; nobody on a cluster without authentication."""
        return login(self.layout, "roles", role) if self.address.secured else None

    def librdkafka(self, role: str) -> dict[str, str]:
        """The configuration of a confluent-kafka client of this role."""
        return self.address.librdkafka(self.user(role))

    def reach_broker(self) -> None:
        """Raise `Unavailable` at once where nobody listens; a client would try for half a minute."""
        for place in self.runtime.bootstrap.split(","):
            host, _, port = place.strip().rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
            except OSError:
                continue
            return
        raise Unavailable(
            "not_running", "no broker listens", self.runtime.bootstrap, "start it: lapse up --data DIR"
        )

    def admin(self, role: str = "keys") -> Admin:
        """An administrator's connection; `keys` may look at lags, `admin` may do everything."""
        from lapse.broker.admin import Admin  # with kafka-python, which few verbs need

        if role not in self._admins:
            self.reach_broker()
            self._admins[role] = self._closing.enter_context(Admin(self.address, self.user(role)))
        return self._admins[role]

    @cached_property
    def _admins(self) -> dict[str, Admin]:
        return {}

    @cached_property
    def pixel_keys(self) -> PixelKeys:
        """The live signing keys of pixel tokens."""
        return PixelKeys.from_json(self.layout.pixel_keys.read_text())

    def operators(self) -> dict[str, bytes]:
        """This folder's own public keys: their signatures count beside those of the policy's operators."""
        with self.vault.transaction(write=False) as tx:
            own = json.loads(tx.meta("operators") or b"{}")
        return {name: base64.b64decode(key) for name, key in own.items()}

    def spooled(self) -> int:
        """Bytes the collector keeps because Kafka is away."""
        return (
            sum(path.stat().st_size for path in self.layout.spool.glob("*.seg"))
            if self.layout.spool.exists()
            else 0
        )

    def close(self) -> None:
        """Close every client that was made."""
        self._closing.close()


@contextmanager
def installation(folder: Path, *, catching_up: bool = False) -> Iterator[Installation]:
    """Open a data folder for one command; `NotFound` where there is none."""
    layout, chosen = Layout(folder), settings()
    here = Installation(layout, read_marker(layout), chosen, catching_up)
    columns.use(native=chosen.native)
    use_registry(_registry(layout, chosen))
    try:
        yield here
    finally:
        here.close()


def open_installed_vault(
    layout: Layout,
    marker: Marker,
    place: VaultAddress,
    crash: Crash = never,
    *,
    catching_up: bool = False,
) -> Vault:
    """Open the vault of a data folder under its epoch keys and its clock."""
    if not layout.keys.exists():
        raise NotFound(
            "no_keys", "the folder of keys is gone", str(layout.keys), "restore it; without it nothing opens"
        )
    if place.kind == "sqlite":
        if not layout.vault_file.exists() and any(layout.epochs.glob("*.key")):
            # Opening would make a new, empty vault beside the old one's keys: nothing would open, and all
            # that is closed for an erased person would be forgotten.
            where, do = layout.vault_file.name, "put it back; the system goes on by itself"
            raise Unavailable("unavailable", "the vault's file is gone", where, do)
        layout.vault_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = FileEpochKeys(layout.epochs, layout.epoch_backups, crash=crash)
    return open_vault(
        place.url,
        keys,
        clock=marker.clock,
        password=place.password,
        crash=crash,
        catching_up=catching_up,
    )


def _registry(layout: Layout, chosen: Settings) -> str | None:
    """Where the ids on this data's log come from: what `up` was told counts, not a command's environment."""
    try:
        return Runtime.load(layout).registry
    except FileNotFoundError:
        return chosen.registry


def use_registry(url: str | None, *, register: bool = False) -> None:
    """Take schema ids from the registry, where there is one; set-up registers every version there first."""
    if url:
        registry = Registry(url)
        if register:
            registry.register()
        codec.use(registry)


def environment() -> dict[str, str]:
    """The environment, for child processes and for finding Java and jars."""
    return dict(os.environ)
