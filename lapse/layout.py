"""Where everything lies in a data folder: each path has its one name here."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROLES = ("broker", "collector", "tag", "route", "govern", "expire", "connect", "keys")
"""The processes the supervisor keeps running, in the order they start."""
FAKES = "fakes"
"""The role that plays every recipient whose policy says `fake:`: one process, for each is a small one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one data folder."""

    root: Path

    @property
    def marker(self) -> Path:
        """What makes a folder a data folder: when and for which policy it was made, with which clock."""
        return self.root / "lapse.json"

    @property
    def run_file(self) -> Path:
        """The addresses of the running system, while it is ready (0600)."""
        return self.root / "run.json"

    @property
    def folders(self) -> dict[str, Path]:
        """The folders there are that may lie on disks of their own, by name."""
        named = {
            "data": self.root,
            "broker": self.broker,
            "vault": self.vault_file.parent,
            "spool": self.spool,
            "keys-backup": self.epoch_backups,
        }
        return {name: path for name, path in named.items() if path.exists()}

    @property
    def metrics_file(self) -> Path:
        """Where the roles' metrics are, as Prometheus' `file_sd_configs` reads it."""
        return self.root / "metrics.json"

    @property
    def roles_file(self) -> Path:
        """The process id of every role."""
        return self.root / "roles.json"

    @property
    def workers_file(self) -> Path:
        """How many workers each role is to have."""
        return self.state / "workers.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor: one per data folder."""
        return self.root / "lapse.lock"

    @property
    def state(self) -> Path:
        """One file per role: is it ready, and if not, what does it wait for."""
        return self.root / "state"

    @property
    def policies(self) -> Path:
        """Every published policy version, as `<version>.yaml`."""
        return self.root / "policy"

    @property
    def keys(self) -> Path:
        """Secrets (0700, files 0600)."""
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        """One log file per role."""
        return self.root / "logs"

    @property
    def broker(self) -> Path:
        """The embedded Kafka's folder."""
        return self.root / "broker"

    @property
    def spool(self) -> Path:
        """What the collector keeps while Kafka is away."""
        return self.root / "spool"

    @property
    def vault_file(self) -> Path:
        """The SQLite vault."""
        return self.root / "vault" / "vault.db"

    @property
    def vault_url(self) -> str:
        """The SQLite vault's address for `vault.open_vault`."""
        return f"sqlite:///{self.vault_file}"

    @property
    def vault_password(self) -> Path:
        """The password of a vault that is not SQLite, where it has one."""
        return self.keys / "vault.password"

    @property
    def epochs(self) -> Path:
        """The epoch keys, outside the database."""
        return self.keys / "epoch"

    @property
    def epoch_backups(self) -> Path:
        """The second copy of each epoch key; mount another disk there."""
        return self.root / "keys-backup" / "epoch"

    @property
    def operator_key(self) -> Path:
        """The operator's Ed25519 signing key (raw 32 bytes, base64)."""
        return self.keys / "operator.ed25519"

    @property
    def service_key(self) -> Path:
        """The key under which Lapse itself signs checkpoints and what it applied."""
        return self.keys / "service.ed25519"

    @property
    def ca(self) -> Path:
        """The certificate authority made at init."""
        return self.keys / "ca.pem"

    @property
    def tls_certificate(self) -> Path:
        """The server certificate of key endpoint and admin API."""
        return self.keys / "tls.pem"

    @property
    def tls_key(self) -> Path:
        """The server's private key."""
        return self.keys / "tls.key"

    @property
    def admin_token(self) -> Path:
        """The admin API's bearer token."""
        return self.keys / "admin.token"

    @property
    def pixel_keys(self) -> Path:
        """The two live signing keys of pixel tokens, and the key of their event ids."""
        return self.keys / "pixel.json"

    def credentials(self, kind: str, name: str) -> Path:
        """JSON `{username, password, token?}`; `kind` is roles, sites or processors."""
        return self.keys / kind / f"{name}.json"

    def webhook_secret(self, processor: str) -> Path:
        """The secrets both sides of a webhook sign with, one a line, newest first."""
        return self.keys / "processors" / f"{processor}.webhook"

    def policy(self, version: int) -> Path:
        """The text of one published policy version."""
        return self.policies / f"{version}.yaml"

    def role_state(self, role: str) -> Path:
        """What the role last said of itself."""
        return self.state / f"{role}.json"


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` in one step, so that a reader never sees half a file and nobody else may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically, 0600."""
    write_atomically(path, json.dumps(document, indent=2).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON document; the caller knows its shape."""
    return json.loads(path.read_bytes())
