"""Sealing many records alike, byte for byte as `vault.sealing` does one.

Records of one policy version, source and set of purposes, whose fields fall into the same compartments and
whose periods are the same, share everything but ids, handles, keys and clear bytes. A mould holds what they
share, laid out once; what is left per compartment is two MACs, one encryption and the wraps.
"""

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.models import RecordTagged
from vault.handles import packed
from vault.keys import (
    INFO_CONTENT,
    INFO_K,
    INFO_WRAP,
    KEY_BYTES,
    Draw,
    Keyed,
    delivery_root,
    hkdf_expand,
    hmac_blocks,
    record_kek,
    unwrap,
    wrap,
)
from vault.sealing import COMMIT_BYTES, COMMIT_LABEL, NONCE_BYTES, bucket_bytes, unseal


class LinkKey:
    """K(S,p,t) of one link, with what is derived from it kept while a chunk is sealed."""

    __slots__ = ("_kek", "_roots", "inner", "k", "outer")

    def __init__(self, k: bytes) -> None:
        self.k = k
        self.inner, self.outer = hmac_blocks(k)
        self._kek: bytes | None = None
        self._roots: dict[str, tuple[bytes, bytes]] = {}

    @property
    def kek(self) -> bytes:
        """The key that wraps content keys under this link."""
        if self._kek is None:
            self._kek = record_kek(self.k)
        return self._kek

    def root(self, processor: str) -> tuple[bytes, bytes]:
        """What K becomes for one processor, as the blocks its MACs begin with."""
        found = self._roots.get(processor)
        if found is None:
            found = self._roots[processor] = hmac_blocks(delivery_root(self.k, processor))
        return found


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

    def open(
        self,
        record: RecordTagged,
        keys: Sequence[LinkKey | None],
        wanted: Collection[int],
    ) -> list[bytes | None]:
        """Return the clear bytes of the wanted compartments of a record of this kind; None for those not
        wanted, and where none of the keys opens one. `keys` are those of its links that may be used.
        """
        links = b"".join(
            [
                part
                for pair in zip(self._links, record.links, strict=True)
                for part in (pair[0], pair[1].handle)
            ]
        )
        begin, info = b"lapse/v1/record" + record.record_id, INFO_CONTENT + record.record_id
        opened: list[bytes | None] = [None] * len(self._parts)
        for n in wanted:
            part, box = self._parts[n], record.compartments[n]
            aad = begin + part.middle + links
            for each in box.wraps:
                k = keys[each.link]
                if k is None:
                    continue
                if each.key:
                    key = unwrap(k.kek, each.key)
                else:
                    key = sha256(k.outer + sha256(k.inner + info + part.info).digest()).digest()
                opened[n] = None if key is None else unseal(key, box.sealed, aad)
                if opened[n] is not None:
                    break
        return opened


class DeliveryMouldGrant(NamedTuple):
    """One grant of a delivery mould, as `schemas.models.Grant` has it but for the handle."""

    purpose: str
    period: int
    terms: int
    decided: int
    use_until: int


class _DeliveredPart(NamedTuple):
    middle: bytes
    info: bytes
    grants: Sequence[int]


class DeliveryMould:
    """What deliveries of one kind to one processor share when they are sealed."""

    def __init__(
        self,
        *,
        processor: str,
        revision: int,
        source: str,
        grants: Sequence[DeliveryMouldGrant],
        parts: Sequence[tuple[str, Sequence[int]]],
    ) -> None:
        self._processor = processor
        self._before = [packed(g.purpose) + bucket_bytes(g.period, g.terms) for g in grants]
        self._after = [
            g.decided.to_bytes(8, "big") + g.use_until.to_bytes(8, "big", signed=True) for g in grants
        ]
        number = revision.to_bytes(4, "big")
        self._parts = []
        for n, (category, opens) in enumerate(parts):
            place = n.to_bytes(2, "big")
            middle = number + packed(source) + place + b"\x00\x01" + packed(category)
            middle += len(grants).to_bytes(2, "big")
            self._parts.append(
                _DeliveredPart(middle, number + place + category.encode() + b"\x01", tuple(opens))
            )

    def seal(
        self,
        delivery_id: bytes,
        handles: Sequence[bytes],
        keys: Sequence[LinkKey],
        clear: Sequence[bytes],
        draw: Draw,
    ) -> list[tuple[bytes, list[bytes]]]:
        """Return per compartment its sealed bytes and the wrap of every grant it is given for."""
        bound = b"".join(
            [part for three in zip(self._before, handles, self._after, strict=True) for part in three]
        )
        begin, info = b"lapse/v1/delivery" + delivery_id, INFO_WRAP + delivery_id
        roots = [key.root(self._processor) for key in keys]
        drawn, at = draw((KEY_BYTES + NONCE_BYTES) * len(clear)), 0
        sealed = []
        for part, text in zip(self._parts, clear, strict=True):
            key = drawn[at : at + KEY_BYTES]
            nonce = drawn[at + KEY_BYTES : at + KEY_BYTES + NONCE_BYTES]
            at += KEY_BYTES + NONCE_BYTES
            place = info + part.info
            wraps = []
            for grant in part.grants:
                inner, outer = roots[grant]
                wraps.append(wrap(sha256(outer + sha256(inner + place).digest()).digest(), key))
            inner, outer = hmac_blocks(key)
            commitment = sha256(outer + sha256(inner + COMMIT_LABEL + nonce).digest()).digest()[:COMMIT_BYTES]
            body = AESGCM(key).encrypt(nonce, text, begin + part.middle + bound)
            sealed.append((commitment + nonce + body, wraps))
        return sealed
