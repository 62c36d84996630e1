"""Making a data folder: keys, credentials, certificates, the first policy; once, and then only checking."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from lapse import faults
from lapse.layout import Layout, read_json, write_atomically, write_json
from processors.credentials import stand_in_file
from processors.said import played
from processors.tokens import make_secret
from schemas.errors import BadInput, NotFound, Refused
from vault.tokens import PixelKeys

if TYPE_CHECKING:
    from schemas.plan import PolicyPlan
    from schemas.policy import Policy

PRINCIPALS = ("auditor", "collector", "tag", "route", "govern", "expire", "connect", "keys")
"""The Kafka users of our processes; processors have one each, the super user is the broker's."""
TOKEN_BYTES = 32
"""256 random bits: 43 characters in base64url."""
KEY_BYTES = 32
"""An Ed25519 private key (RFC 8032)."""


class Marker(BaseModel):
    """`lapse.json`: what this data folder is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    installation: str
    created_at: str
    test: bool
    clock: Literal["system", "manual"]
    policy_version: int
    policy_sha256: str
    vault: str | None = None
    """Address of a vault outside the folder, without a password."""


def read_marker(layout: Layout) -> Marker:
    """The folder's marker; `NotFound` where there is none."""
    try:
        return Marker.model_validate(read_json(layout.marker))
    except FileNotFoundError:
        raise NotFound(
            "no_data",
            "this is not a Lapse data folder",
            str(layout.root),
            "make one with: lapse init DIR --policy FILE",
        ) from None


def initialise(
    root: Path,
    policy_file: Path,
    *,
    test: bool,
    clock: Literal["system", "manual"],
    hosts: Sequence[str],
    fault: str | None = None,
) -> Marker:
    """Make the data folder, or complete an interrupted making; a finished one must carry the same policy.

    Raises `Refused` where the folder carries another policy (publish it instead) or holds something else,
    `BadInput` where the policy does not load.
    """
    from schemas.policy import compile_plan

    layout, (text, policy) = Layout(root), read_policy(policy_file)
    crash = faults.armed(fault if test else None, layout)
    digest = hashlib.sha256(text).hexdigest()
    if layout.marker.exists():
        return _check(layout, read_marker(layout), digest, clock)
    if clock == "manual" and not test:
        raise Refused(
            "not_test_data", "a manual clock needs data made for tests", str(root), "lapse init --test DIR"
        )
    if (
        root.exists()
        and any(path.name != "keys" for path in root.iterdir())
        and not (layout.keys / ".making").exists()
    ):
        raise Refused(
            "not_empty", "the folder holds something else", str(root), "name an empty or a new folder"
        )
    layout.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.chmod(0o700)
    (layout.keys / ".making").touch(mode=0o600)
    _make_keys(layout, hosts)
    make_credentials(layout, compile_plan(policy))
    crash(faults.MADE)
    write_atomically(layout.policy(policy.version), text)
    crash(faults.KEPT)
    marker = Marker(
        installation=secrets.token_hex(8),
        created_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        test=test,
        clock=clock,
        policy_version=policy.version,
        policy_sha256=digest,
    )
    write_json(layout.marker, marker.model_dump(exclude_none=True))
    (layout.keys / ".making").unlink()
    return marker


def read_policy(path: Path) -> tuple[bytes, Policy]:
    """The text of a policy file and the policy it holds; `BadInput` or `NotFound`."""
    from processors import fitting
    from schemas.policy import load  # pydantic's models: what only opens a data folder needs none

    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotFound(
            "no_file", "the policy file cannot be read", str(path), "name a readable YAML file"
        ) from error
    try:
        return text, load(text.decode(), where=str(path), also=fitting.faults)
    except UnicodeDecodeError:
        raise BadInput("bad_policy", "the file is not UTF-8", str(path), "save it as plain UTF-8") from None


def _check(layout: Layout, marker: Marker, digest: str, clock: str) -> Marker:
    published = {hashlib.sha256(path.read_bytes()).hexdigest() for path in layout.policies.glob("*.yaml")}
    if digest not in published:
        raise Refused(
            "other_policy",
            "this text was never published here",
            str(layout.root),
            "start with a published one (DATA/policy) or none, then: lapse policy publish FILE",
        )
    if clock == "manual" and not marker.test:
        raise Refused(
            "not_test_data",
            "a manual clock needs data made for tests",
            str(layout.root),
            "lapse init --test DIR",
        )
    return marker


def _make_keys(layout: Layout, hosts: Sequence[str]) -> None:
    for path in (layout.operator_key, layout.service_key):
        if not path.exists():
            write_atomically(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
    if not layout.tls_key.exists():
        from lapse.certificates import issue

        issued = issue(tuple(hosts), dt.datetime.now(dt.UTC))
        write_atomically(layout.ca, issued.authority)
        write_atomically(layout.tls_certificate, issued.certificate)
        write_atomically(layout.tls_key, issued.key)
    if not layout.pixel_keys.exists():
        write_atomically(layout.pixel_keys, PixelKeys.generate(secrets.token_bytes).to_json().encode())
    if not layout.admin_token.exists():
        write_atomically(layout.admin_token, f"la_{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode())


def make_credentials(layout: Layout, plan: PolicyPlan) -> None:
    """Write what is missing: a user per role, site and processor. Published policies call it again."""
    for name in PRINCIPALS:
        _credential(layout.credentials("roles", name), name)
    for site in plan.sites:
        token, key = (
            f"st_{site}_{secrets.token_urlsafe(TOKEN_BYTES)}",
            f"sk_{site}_{secrets.token_urlsafe(16)}",
        )
        _credential(layout.credentials("sites", site), site, token=token, key=key)
    for processor in plan.processors:
        path, token = layout.credentials("processors", processor.name), new_processor_token(processor.name)
        _credential(path, f"processor.{processor.name}", token=token)
        secret = layout.webhook_secret(processor.name)
        if processor.connector == "webhook" and not secret.exists():
            write_atomically(secret, f"{make_secret()}\n".encode())
        stand_in = stand_in_file(layout.keys / "processors", processor)
        if processor.connector != "webhook" and played(processor) and not stand_in.exists():
            from processors import fakes  # with a web server, which no verb needs

            write_json(stand_in, fakes.credentials(processor.connector))


def new_processor_token(name: str) -> str:
    """A bearer token for the key endpoint: `lk_<processor>_<43 characters>`."""
    return f"lk_{name}_{secrets.token_urlsafe(TOKEN_BYTES)}"


def _credential(path: Path, username: str, **extra: str) -> None:
    if not path.exists():
        write_json(path, {"username": username, "password": secrets.token_urlsafe(TOKEN_BYTES), **extra})


def signing_key(path: Path) -> bytes:
    """The 32 bytes of a signing key of the data folder; `BadInput` where the file is not one."""
    try:
        raw = base64.b64decode(path.read_bytes())
    except (OSError, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise BadInput(
            "bad_key_file", "not an Ed25519 key of 32 bytes in base64", str(path), "restore the file"
        )
    return raw
