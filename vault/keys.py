"""Keys and what is derived from them: HKDF-SHA256 (RFC 5869), AES key wrap (RFC 3394), and randomness.

Every info string of the product stands in this file; docs/wire.md says the same to other languages.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives import hashes, hmac
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
INFO_CHECKED = b"lapse/v1/checked"
INFO_SLOT_KEK = b"lapse/v1/keyslot"
INFO_BUCKET = b"lapse/v1/bucket"


random_bytes: Draw = os.urandom
"""The product's source of randomness; pure modules take it as an argument."""


def new_key(draw: Draw = random_bytes) -> bytes:
    """Return a fresh 32-byte key."""
    return draw(KEY_BYTES)


_BLOCK = 64
INNER = bytes(x ^ 0x36 for x in range(256))
"""Translates a key to what HMAC hashes before the text (RFC 2104)."""
OUTER = bytes(x ^ 0x5C for x in range(256))
"""Translates a key to what HMAC hashes before the inner hash."""
INNER_REST, OUTER_REST = b"\x36" * (_BLOCK - KEY_BYTES), b"\x5c" * (_BLOCK - KEY_BYTES)
"""What fills a block behind a translated key of 32 bytes."""


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) under a key used once or twice."""
    return plain_mac(key, text) if _quick is None else _quick(key, text)


def plain_mac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 without our C: two plain hashes cost 0.9 us where setting up OpenSSL's costs 1.4."""
    if len(key) == KEY_BYTES:
        hashed = sha256(key.translate(INNER) + INNER_REST + text).digest()
        return sha256(key.translate(OUTER) + OUTER_REST + hashed).digest()
    inner, outer = hmac_blocks(key)
    return sha256(outer + sha256(inner + text).digest()).digest()


_quick: Callable[..., bytes] | None = None


def take_macs_from(quick: Callable[..., bytes] | None) -> None:
    """Let this work out MACs from now on, of a key and pieces of text; None: plain (`vault.columns.use`)."""
    global _quick
    _quick = quick


def hmac_blocks(key: bytes) -> tuple[bytes, bytes]:
    """Return what HMAC-SHA256 hashes before the text and before the inner hash; for keys used often."""
    if len(key) == KEY_BYTES:
        return key.translate(INNER) + INNER_REST, key.translate(OUTER) + OUTER_REST
    padded = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
    return padded.translate(INNER), padded.translate(OUTER)


class Keyed:
    """HMAC-SHA256 under a key that lives long: begun once and copied for every text (0.5 us), but in C."""

    def __init__(self, key: bytes, label: bytes = b"") -> None:
        self._key, self._label = key, label
        self._begun: hmac.HMAC | None = None

    def digest(self, text: bytes) -> bytes:
        """Return the MAC of the label and this text."""
        if _quick is not None:
            return _quick(self._key, self._label, text)
        if self._begun is None:
            self._begun = hmac.HMAC(self._key, hashes.SHA256())
            self._begun.update(self._label)
        mac = self._begun.copy()
        mac.update(text)
        return mac.finalize()


@lru_cache(maxsize=256)
def keyed(key: bytes, label: bytes) -> Keyed:
    """Return HMAC-SHA256 begun under one of the installation's few secrets, with the label of a use."""
    return Keyed(key, label)


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 section 2.2); an absent salt is 32 zero bytes."""
    return hmac_sha256(salt or bytes(32), ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3), at most 8160 bytes."""
    if length == KEY_BYTES:
        return hmac_sha256(prk, info + b"\x01")
    if not 0 < length <= 255 * 32:
        raise ValueError("HKDF-SHA256 gives 1 to 8160 bytes")
    block = hmac_sha256(prk, info + b"\x01")
    out, n = block, 1
    while len(out) < length:
        n += 1
        block = hmac_sha256(prk, block + info + bytes((n,)))
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


def checked_key(k: bytes) -> bytes:
    """Return the key of what was found out about an address under K(S,p,t)."""
    return hkdf_expand(k, INFO_CHECKED)


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
