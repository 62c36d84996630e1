"""Sealing many records alike, byte for byte as `vault.sealing` does one.

Records of one policy version, source and set of purposes, whose fields fall into the same compartments and
whose periods are the same, share everything but ids, handles, keys and clear bytes. A mould holds what they
share, laid out once; what is left per compartment is two MACs, one encryption and the wraps.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.handles import packed
from vault.keys import (
    INFO_CONTENT,
    INFO_K,
    Draw,
    Keyed,
    hkdf_expand,
    hmac_blocks,
    record_kek,
    wrap,
)
from vault.sealing import COMMIT_BYTES, COMMIT_LABEL, NONCE_BYTES, bucket_bytes


class LinkKey:
    """K(S,p,t) of one link, with what is derived from it kept while a chunk is sealed."""

    __slots__ = ("_kek", "inner", "k", "outer")

    def __init__(self, k: bytes) -> None:
        self.k = k
        self.inner, self.outer = hmac_blocks(k)
        self._kek: bytes | None = None

    @property
    def kek(self) -> bytes:
        """The key that wraps content keys under this link."""
        if self._kek is None:
            self._kek = record_kek(self.k)
        return self._kek


def link_key(bucket: Keyed, subject_key: bytes) -> LinkKey:
    """Derive K from a bucket's key, given as its begun HMAC, and a subject's key (`vault.keys.derive_k`)."""
    return LinkKey(hkdf_expand(bucket.digest(subject_key), INFO_K))


MouldLink = tuple[int, int, int]
"""Purpose number, period and terms of a link."""
MouldPart = tuple[Sequence[int], Sequence[int]]
"""Category numbers of a compartment, and the numbers of the links that justify it."""


class _Part(NamedTuple):
    middle: bytes
    info: bytes
    first: int
    others: Sequence[int]


class RecordMould:
    """What records of one kind share when they are sealed."""

    def __init__(
        self,
        *,
        revision: int,
        source: str,
        policy: int,
        links: Sequence[MouldLink],
        parts: Sequence[MouldPart],
    ) -> None:
        number = revision.to_bytes(4, "big")
        self._links = [purpose.to_bytes(2, "big") + bucket_bytes(*bucket) for purpose, *bucket in links]
        self._parts = []
        for n, (categories, (first, *others)) in enumerate(parts):
            place = n.to_bytes(2, "big")
            middle = number + packed(source) + policy.to_bytes(4, "big") + place
            middle += b"".join(c.to_bytes(2, "big") for c in (len(categories), *categories, len(links)))
            self._parts.append(_Part(middle, number + place + b"\x01", first, others))

    def seal(
        self,
        record_id: bytes,
        handles: Sequence[bytes],
        keys: Sequence[LinkKey],
        clear: Sequence[bytes],
        draw: Draw,
    ) -> list[tuple[bytes, list[bytes]]]:
        """Return per compartment its sealed bytes and the wraps of every link but the first."""
        links = b"".join([part for pair in zip(self._links, handles, strict=True) for part in pair])
        begin, info = b"lapse/v1/record" + record_id, INFO_CONTENT + record_id
        nonces = draw(NONCE_BYTES * len(clear))
        sealed, at = [], 0
        for part, text in zip(self._parts, clear, strict=True):
            nonce = nonces[at : at + NONCE_BYTES]
            at += NONCE_BYTES
            k = keys[part.first]
            key = sha256(k.outer + sha256(k.inner + info + part.info).digest()).digest()
            inner, outer = hmac_blocks(key)
            commitment = sha256(outer + sha256(inner + COMMIT_LABEL + nonce).digest()).digest()[:COMMIT_BYTES]
            body = AESGCM(key).encrypt(nonce, text, begin + part.middle + links)
            wraps = [wrap(keys[link].kek, key) for link in part.others]
            sealed.append((commitment + nonce + body, wraps))
        return sealed
