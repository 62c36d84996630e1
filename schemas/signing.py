"""Signatures of commands and checkpoints: Ed25519 (RFC 8032) over canonical bytes anybody can rebuild.

The bytes are a prefix and one line of JSON: keys sorted, no spaces, bytes as lower-case hex, times in
microseconds, `type` the record's name, `signature` left out. Fields that hold their default are left out too,
so that a field added later does not break signatures given before. Who may sign and whether a command was
seen before is not decided here.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.models import CheckpointSigned, Command, FieldsCorrected, ReceiptGiven

Signed = Command | CheckpointSigned | FieldsCorrected
"""What names the key that signed it."""
S = TypeVar("S", bound=Signed)

SERVICE = "service"
"""Key id under which Lapse itself signs what it applied."""
PREFIX = b"lapse/v1/signed\n"
"""Keeps a signature of ours from meaning anything elsewhere."""


def message(record: Signed | ReceiptGiven) -> bytes:
    """Return the canonical bytes that are signed."""
    values: dict[str, Any] = {"type": type(record).__name__}
    for field in msgspec.structs.fields(record):
        value = getattr(record, field.name)
        if field.name != "signature" and not _is_default(field, value):
            values[field.name] = _plain(value)
    return PREFIX + msgspec.json.encode(values, order="deterministic")


def public_key(private_key: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte private key."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def sign(record: S, private_key: bytes) -> S:
    """Return the record with its signature; `key_id` is covered, so set it before."""
    signature = Ed25519PrivateKey.from_private_bytes(private_key).sign(message(record))
    return msgspec.structs.replace(record, signature=signature)


def verify(record: Signed, public_keys: Mapping[str, bytes]) -> bool:
    """Say whether the key that `key_id` names (32 bytes each) signed exactly this record."""
    key = public_keys.get(record.key_id)
    if key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(record.signature, message(record))
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_default(field: msgspec.structs.FieldInfo, value: object) -> bool:
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return bool(value == field.default)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def sign_receipt(receipt: ReceiptGiven, private_key: bytes) -> ReceiptGiven:
    """Return an operator's receipt, signed; it names no key, so whoever checks tries those it knows."""
    unsigned = msgspec.structs.replace(receipt, signature=None)
    signature = Ed25519PrivateKey.from_private_bytes(private_key).sign(message(unsigned))
    return msgspec.structs.replace(receipt, signature=signature)


def signer(receipt: ReceiptGiven, public_keys: Mapping[str, bytes]) -> str | None:
    """Return the name of the key that signed exactly this receipt, None where none of these did."""
    if receipt.signature is None:
        return None
    for name, key in public_keys.items():
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(receipt.signature, message(receipt))
        except (InvalidSignature, ValueError):
            continue
        return name
    return None
