"""What every part of a policy is, and the checks of single values."""

import base64
import binascii

from pydantic import BaseModel, ConfigDict

from schemas.policy_words import FAKE
from schemas.retention import complaint


class Part(BaseModel):
    """Any part of a policy: frozen, exact about types, refusing unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def origin(value: str) -> str:
    """Check a web origin as browsers send it: scheme, host and port, exactly."""
    scheme, _, host = value.partition("://")
    local = host.split(":")[0] in {"localhost", "127.0.0.1"}
    plain = host and not set(host) & set("/?#@*") and host == host.lower() and host.isascii()
    if not plain or (scheme != "https" and not (scheme == "http" and local)):
        raise complaint(
            "this is not an exact origin", "write https://host or https://host:port, without a path or *"
        )
    return value


def address(value: str) -> str:
    """Check the address of a page people are sent to."""
    if not value.startswith(("https://", "http://localhost", "http://127.0.0.1", "/")) or value.startswith(
        "//"
    ):
        raise complaint("this address is neither https nor a path of the site", "write https://… or /thanks")
    return value


def endpoint(value: str) -> str:
    """Check the address a recipient is reached at; `fake:partner` is the stand-in that ships."""
    if value == f"{FAKE}partner":
        return value
    host = value.partition("://")[2].split("/")[0]
    local = host.split(":")[0] in {"localhost", "127.0.0.1"}
    if (
        "@" in host
        or not host
        or not (value.startswith("https://") or (value.startswith("http://") and local))
    ):
        raise complaint(
            "this is not an https address", "write https://host/path, without a name or password in it"
        )
    return value


def public_key(value: str) -> str:
    """Check an Ed25519 public key in base64."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise complaint(
            "this is not an Ed25519 public key", "write its 32 bytes in base64, as `lapse init` prints them"
        )
    return value


def one_or_many(value: object) -> str:
    """Tell a single word from anything longer: the tag of a union's branch."""
    return "#one" if isinstance(value, str) else "#many"
