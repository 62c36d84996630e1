"""Signatures of commands: what they cover, who may check them, and that they outlive new fields."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas import signing
from schemas.ids import CommandId, Micros
from schemas.models import CheckpointSigned, Command, HoldPlaced, ProcessorSuspended

KEY = bytes(range(32))
KEYS = {"operator": signing.public_key(KEY)}


def suspension(**changes: object) -> ProcessorSuspended:
    """Return an unsigned command."""
    command = ProcessorSuspended(
        command_id=CommandId(b"c" * 16),
        ordered_by="ann",
        at=Micros(1_700_000_000_000_000),
        key_id="operator",
        signature=b"",
        processor="crm",
        reason="äudit",
    )
    return msgspec.structs.replace(command, **changes)


def test_the_canonical_bytes_are_these() -> None:
    """Anybody can rebuild them: sorted keys, hex bytes, no defaults, no signature."""
    assert signing.message(suspension()) == (
        b'lapse/v1/signed\n{"at":1700000000000000,"command_id":"' + b"63" * 16 + b'","key_id":"operator",'
        b'"ordered_by":"ann","processor":"crm","reason":"'
        + "äudit".encode()
        + b'","type":"ProcessorSuspended"}'
    )


def test_lists_of_bytes_are_lists_of_hex() -> None:
    """Bytes inside lists are written like bytes outside."""
    values = {f: getattr(suspension(), f) for f in Command.__struct_fields__}
    hold = HoldPlaced(
        **values, hold_id=b"\x01" * 16, alias_hashes=[b"\xab"], purposes=["billing"], reason="r"
    )
    assert b'"alias_hashes":["ab"]' in signing.message(hold)


def test_rfc_8032_vector() -> None:
    """Keys are RFC 8032's: its first test vector's private key has its public key."""
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signing.public_key(private).hex() == public


def test_what_was_signed_verifies_and_nothing_else() -> None:
    """Any changed field, another key, an unknown key or no signature is false."""
    signed = signing.sign(suspension(), KEY)
    assert signing.verify(signed, KEYS)
    Ed25519PublicKey.from_public_bytes(KEYS["operator"]).verify(signed.signature, signing.message(signed))
    for changes in (
        {"processor": "mail"},
        {"recall": True},
        {"approved_by": "bob"},
        {"at": 1},
        {"command_id": b"d" * 16},
        {"signature": b""},
        {"signature": bytes(64)},
    ):
        assert not signing.verify(msgspec.structs.replace(signed, **changes), KEYS)
    assert not signing.verify(signed, {})
    assert not signing.verify(signed, {"operator": signing.public_key(bytes(32))})
    assert not signing.verify(signed, {"operator": b"no key"})


def test_two_kinds_of_commands_never_share_bytes() -> None:
    """A signature for one kind of record means nothing for another with the same fields."""
    checkpoint = CheckpointSigned(size=1, root=b"r" * 32, at=Micros(1), key_id="service", signature=b"")
    signed = signing.sign(checkpoint, KEY)
    assert signing.verify(signed, {"service": signing.public_key(KEY)})
    assert b'"type":"CheckpointSigned"' in signing.message(checkpoint)


class ProcessorSuspendedLater(Command, frozen=True, kw_only=True):
    """The command as a later version may have it: with more optional fields."""

    processor: str
    reason: str
    recall: bool = False
    until: Micros | None = None
    tags: list[str] = msgspec.field(default_factory=list)


def test_a_later_optional_field_breaks_no_old_signature() -> None:
    """Defaults are not signed, so a command from the log verifies under the models of later releases."""
    signed = signing.sign(suspension(), KEY)
    values = {f: getattr(signed, f) for f in ProcessorSuspended.__struct_fields__}
    old = signing.message(signed)
    later = signing.message(ProcessorSuspendedLater(**values))
    assert later.replace(b"ProcessorSuspendedLater", b"ProcessorSuspended") == old
    changed = signing.message(ProcessorSuspendedLater(**values, tags=["x"]))
    assert b'"tags":["x"]' in changed


def test_a_private_key_has_32_bytes() -> None:
    """Anything else is no key."""
    with pytest.raises(ValueError, match="32 bytes"):
        signing.public_key(b"short")
