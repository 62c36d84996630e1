"""Keys and what is derived from them: HKDF-SHA256 (RFC 5869), AES key wrap (RFC 3394), and randomness.

Every info string of the product stands in this file; docs/wire.md says the same to other languages.
"""

import hmac
import os
import threading
from collections.abc import Callable

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

KEY_BYTES = 32
WRAPPED_BYTES = 40
ID_BYTES = 16

Draw = Callable[[int], bytes]
"""A source of randomness: `draw(n)` gives n unpredictable bytes, never the same again."""

INFO_K = b"lapse/v1/k"
INFO_WRAP = b"lapse/v1/wrap"
INFO_CONTENT = b"lapse/v1/content"
INFO_HANDLE = b"lapse/v1/handle"
INFO_DELIVER = b"deliver:"
INFO_QUARANTINE = b"lapse/v1/quarantine"
INFO_SLOT_KEK = b"lapse/v1/keyslot"
INFO_BUCKET = b"lapse/v1/bucket"


class _Pool:
    """Unpredictable bytes bought from the kernel 16 KiB at a time; each is given out once, then cleared."""

    def __init__(self, size: int = 16_384) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._bytes = bytearray()
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # A forked child would otherwise hand out the same bytes as its parent.
        self._lock = threading.Lock()
        self._bytes, self._at = bytearray(), 0

    def draw(self, n: int) -> bytes:
        if n > self._size // 8:
            return os.urandom(n)
        with self._lock:
            start = self._at
            if start + n > len(self._bytes):
                self._bytes = bytearray(os.urandom(self._size))
                start = 0
            self._at = start + n
            out = bytes(self._bytes[start : self._at])
            self._bytes[start : self._at] = bytes(n)
            return out


random_bytes: Draw = _Pool().draw
"""The product's source of randomness; pure modules take it as an argument."""


def new_key(draw: Draw = random_bytes) -> bytes:
    """Return a fresh 32-byte key."""
    return draw(KEY_BYTES)


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 section 2.2); an absent salt is 32 zero bytes."""
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def hkdf_expand(prk: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3), at most 8160 bytes."""
    if not 0 < length <= 255 * 32:
        raise ValueError("HKDF-SHA256 gives 1 to 8160 bytes")
    block = hmac.digest(prk, info + b"\x01", "sha256")
    out, n = block, 1
    while len(out) < length:
        n += 1
        block = hmac.digest(prk, block + info + bytes((n,)), "sha256")
        out += block
    return out[:length]


def derive_k(bucket_key: bytes, subject_key: bytes) -> bytes:
    """K(S,p,t): dies with either parent (bucket key as salt, subject key as input)."""
    return hkdf_expand(hkdf_extract(bucket_key, subject_key), INFO_K)


def record_kek(k: bytes) -> bytes:
    """The key that wraps content keys of records under one link."""
    return hkdf_expand(k, INFO_WRAP)


def record_content_key(k: bytes, record_id: bytes, revision: int, n: int) -> bytes:
    """The content key of compartment `n` where only one purpose justifies it: derived, nothing wrapped."""
    return hkdf_expand(k, INFO_CONTENT + record_id + revision.to_bytes(4, "big") + n.to_bytes(2, "big"))


def delivery_root(k: bytes, processor: str) -> bytes:
    """What K becomes for one processor; nothing derived from it opens another's delivery."""
    return hkdf_expand(k, INFO_DELIVER + processor.encode())


def delivery_kek(root: bytes, delivery_id: bytes, revision: int, n: int, category: str) -> bytes:
    """The key that wraps the content key of one compartment of one delivery, bound to its category."""
    place = delivery_id + revision.to_bytes(4, "big") + n.to_bytes(2, "big")
    return hkdf_expand(root, INFO_WRAP + place + category.encode())


def quarantine_key(bucket_key: bytes, record_id: bytes) -> bytes:
    """The content key of one quarantined input; it has a bucket and no subject."""
    return hkdf_expand(bucket_key, INFO_QUARANTINE + record_id)


def wrap(kek: bytes, key: bytes) -> bytes:
    """AES key wrap (RFC 3394): 32 bytes become 40."""
    return aes_key_wrap(kek, key)


def unwrap(kek: bytes, wrapped: bytes) -> bytes | None:
    """Return the key, or None where `wrapped` was not made under `kek`."""
    if len(wrapped) != WRAPPED_BYTES:
        return None
    try:
        return aes_key_unwrap(kek, wrapped)
    except InvalidUnwrap:
        return None
