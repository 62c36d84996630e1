"""Sealing many records alike, byte for byte as `vault.sealing` does one.

Records of one policy version, source and set of purposes, whose fields fall into the same compartments and
whose periods are the same, share everything but ids, handles, keys and clear bytes. A mould holds what they
share, laid out once; what is left per compartment is two MACs, one encryption and the wraps.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.handles import packed
from vault.keys import (
    INFO_CONTENT,
    INFO_K,
    INNER,
    INNER_REST,
    OUTER,
    OUTER_REST,
    Draw,
    Keyed,
    delivery_root,
    hkdf_expand,
    hmac_blocks,
    record_kek,
    unwrap,
    wrap,
)
from vault.sealing import (
    COMMIT_BYTES,
    COMMIT_LABEL,
    NONCE_BYTES,
    OVERHEAD,
    bucket_bytes,
)


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


class Bound:
    """What an AAD says of links or grants: pieces, a handle after each, and an end."""

    def __init__(self, pieces: Sequence[bytes], end: bytes) -> None:
        self._form = b"".join(piece.replace(b"%", b"%%") + b"%b" for piece in pieces)
        self._form += end.replace(b"%", b"%%")

    def with_handles(self, handles: Sequence[bytes]) -> bytes:
        """Put the handles in; `TypeError` where there are not as many as pieces."""
        return self._form % tuple(handles)

    def columns(self, handles: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The same for many; `handles` has a column for each piece."""
        form = self._form
        return [form % each for each in zip(*handles, strict=True)]


def commitment(key: bytes, nonce: bytes) -> bytes:
    """Return what `vault.sealing` puts before the nonce, for a key of 32 bytes."""
    inner = sha256(key.translate(INNER) + _INNER_COMMIT + nonce).digest()
    return sha256(key.translate(OUTER) + OUTER_REST + inner).digest()[:COMMIT_BYTES]


_INNER_COMMIT = INNER_REST + COMMIT_LABEL


def _open(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    """`vault.sealing.unseal`, for a key of 32 bytes."""
    if len(sealed) < OVERHEAD:
        return None
    nonce = sealed[COMMIT_BYTES:_BODY]
    if not compare_digest(commitment(key, nonce), sealed[:COMMIT_BYTES]):
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed[_BODY:], aad)
    except InvalidTag:
        return None


_BODY = COMMIT_BYTES + NONCE_BYTES


class _Part(NamedTuple):
    middle: bytes
    info: bytes
    first: int
    others: Sequence[int]


class Boxes(NamedTuple):
    """One compartment of many records alike: its number in the mould, and its sealed bytes.

    For each of its wraps the link and the keys, None where they are empty.
    """

    n: int
    sealed: Sequence[bytes]
    wraps: Sequence[tuple[int, Sequence[bytes] | None]]


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
        self._links = Bound(
            [purpose.to_bytes(2, "big") + bucket_bytes(*bucket) for purpose, *bucket in links], b""
        )
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
    ) -> list[bytes]:
        """Return, per compartment, its sealed bytes and the wraps of every link but the first, in a row."""
        links = self._links.with_handles(handles)
        begin, info = b"lapse/v1/record" + record_id, INFO_CONTENT + record_id
        nonces, at = draw(NONCE_BYTES * len(clear)), 0
        sealed = []
        for (middle, place, first, others), text in zip(self._parts, clear, strict=True):
            nonce = nonces[at : at + NONCE_BYTES]
            at += NONCE_BYTES
            k = keys[first]
            key = sha256(k.outer + sha256(k.inner + info + place).digest()).digest()
            # The commitment, written out: a call for each compartment costs a tenth of sealing it.
            mac = sha256(key.translate(INNER) + _INNER_COMMIT + nonce).digest()
            mac = sha256(key.translate(OUTER) + OUTER_REST + mac).digest()[:COMMIT_BYTES]
            sealed.append(mac + nonce + AESGCM(key).encrypt(nonce, text, begin + middle + links))
            for link in others:
                sealed.append(wrap(keys[link].kek, key))
        return sealed

    def open(
        self,
        ids: Sequence[bytes],
        handles: Sequence[Sequence[bytes]],
        keys: Sequence[Sequence[LinkKey] | None],
        boxes: Iterable[Boxes],
    ) -> list[list[bytes | None]]:
        """Return the clear bytes of these compartments of records of this kind; None where no key opens one.

        `handles` and `keys` have a column for each link, None for one that may not be used.
        """
        links = self._links.columns(handles) if handles else [self._links.with_handles(())] * len(ids)
        begins, infos = [b"lapse/v1/record" + name for name in ids], [INFO_CONTENT + name for name in ids]
        opened: list[list[bytes | None]] = []
        for n, sealed, wraps in boxes:
            middle, place, _, _ = self._parts[n]
            clear: list[bytes | None] = [None] * len(ids)
            left: Sequence[int] = range(len(ids))
            for link, wrapped in wraps:
                column = keys[link]
                if column is None or not left:
                    continue
                for i in left:
                    k = column[i]
                    if wrapped is None:
                        key: bytes | None = sha256(
                            k.outer + sha256(k.inner + infos[i] + place).digest()
                        ).digest()
                    else:
                        key = unwrap(k.kek, wrapped[i])
                    if key is not None:
                        clear[i] = _open(key, sealed[i], begins[i] + middle + links[i])
                left = [i for i in left if clear[i] is None]
            opened.append(clear)
        return opened
