"""Cryptography for columns of values, a column in one call: what moulds are made of.

In C over the OpenSSL that Python itself loads (`_columns.c`) where that was built and is there, else in
plain Python (`vault.columns_plain`): the same bytes, the same errors. A column is a list or tuple of bytes,
or bytes every row has; one argument at least is a list. A text or AAD comes in pieces, columns one behind
the other. `ValueError` where columns differ in length or bytes are not as long as they must be: nothing is
returned then.
"""

from collections.abc import Sequence
from typing import Protocol

from vault import columns_plain, keys
from vault.columns_plain import Column

OPENSSL = "libcrypto.so.3"
"""What Linux calls OpenSSL 3. Nothing else is asked for: no other was tried."""


class Columns(Protocol):
    """What both implementations do."""

    def joins(self, pieces: Sequence[Column], /) -> list[bytes]:
        """Join the pieces of every row."""
        ...

    def mac(self, key: bytes, /, *pieces: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104) of one text."""
        ...

    def macs(self, keys: Column, pieces: Sequence[Column], /) -> list[bytes]:
        """HMAC-SHA256 (RFC 2104) of every row's pieces; keys of any length."""
        ...

    def wraps(self, over: Column, keys: Column, /) -> list[bytes]:
        """AES key wrap (RFC 3394) of every row: 32 bytes under 32 become 40."""
        ...

    def unwraps(self, over: Column, wrapped: Column, /) -> list[bytes | None]:
        """Undo `wraps`; None where a row was not made under that key."""
        ...

    def seals(
        self, label: bytes, keys: Column, nonces: Column, texts: Column, aad: Sequence[Column], /
    ) -> list[bytes]:
        """Seal every row as `vault.sealing.seal` does, whose label it is; keys of 32 bytes, nonces of 12."""
        ...

    def opens(
        self, label: bytes, keys: Sequence[bytes | None], sealed: Column, aad: Sequence[Column], /
    ) -> list[bytes | None]:
        """Undo `seals`; None where a row has no key, or one that does not open these bytes with this AAD."""
        ...


def check(columns: Columns) -> None:
    """Hold an implementation against published vectors; `RuntimeError` where it differs."""
    (mac,) = columns.macs([b"Jefe"], [b"what do ya want ", b"for nothing?"])  # RFC 4231, case 2
    key, text = (
        bytes(range(32)),
        bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"),
    )
    (wrapped,) = columns.wraps([key], [text])  # RFC 3394, 4.6
    (back, none) = columns.unwraps([key, text], wrapped)
    right = mac.hex() == _MAC and wrapped.hex() == _WRAPPED and back == text and none is None
    # The GCM specification (McGrew and Viega), case 16; beside the commitment, which is a MAC.
    (sealed,) = columns.seals(b"label", [_KEY], _NONCE, _CLEAR, [_AAD[:9], _AAD[9:]])
    (commitment,) = columns.macs([_KEY], [b"label", _NONCE])
    right = right and sealed == commitment[:16] + _NONCE + _SEALED
    wrong = sealed[:-1] + bytes([sealed[-1] ^ 1])
    opened = columns.opens(b"label", [_KEY, _KEY, key, None], [sealed, wrong, sealed, sealed], [_AAD])
    if not right or opened != [_CLEAR, None, None, None]:
        raise RuntimeError("differs from published vectors")


_MAC = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
_WRAPPED = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308") * 2
_NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_CLEAR = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_SEALED = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
)


def _found() -> tuple[Columns | None, str]:
    """The extension where it is fit for use, and OpenSSL's version, or why it is not."""
    try:
        from vault import _columns
    except ImportError:
        return None, "the extension is not built"
    try:
        version = _columns.load(OPENSSL)
        check(_columns)
    except (OSError, RuntimeError) as error:
        return None, str(error)
    except (AttributeError, TypeError, ValueError):
        return None, "the extension is of another version"
    return _columns, version


_native, _said = _found()
_used: Columns = columns_plain


def use(*, native: bool) -> None:
    """Work in C from now on, where that is fit for use, or in plain Python."""
    global _used
    _used = _native if native and _native else columns_plain
    keys.take_macs_from(_used.mac if _used is _native else None)


def in_use() -> str:
    """Say which implementation works here, for doctor and logs."""
    if _used is _native:
        return f"in C ({_said})"
    return f"in plain Python ({'as set' if _native else _said})"


def native() -> Columns | None:
    """The implementation in C, where it is fit for use."""
    return _native


def used() -> Columns:
    """The implementation that works here."""
    return _used


use(native=True)
