"""Sealing many records alike, byte for byte as `vault.sealing` does one.

Records of one policy version, source and set of purposes, whose fields fall into the same compartments and
whose periods are the same, share everything but ids, handles, keys and clear bytes. A mould holds what they
share, laid out once; the rest goes through it in columns (`vault.columns`).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from vault.columns import used
from vault.columns_plain import Column
from vault.handles import packed
from vault.keys import INFO_CONTENT, INFO_K, INFO_WRAP, Keyed, hkdf_expand
from vault.sealing import COMMIT_LABEL, NONCE_BYTES, bucket_bytes

_BEGIN = b"lapse/v1/record"
_KEK = INFO_WRAP + b"\x01"


def link_key(bucket: Keyed, subject_key: bytes) -> bytes:
    """Derive K from a bucket's key, given as its begun HMAC, and a subject's key (`vault.keys.derive_k`)."""
    return hkdf_expand(bucket.digest(subject_key), INFO_K)


MouldLink = tuple[int, int, int]
"""Purpose number, period and terms of a link."""
MouldPart = tuple[Sequence[int], Sequence[int]]
"""Category numbers of a compartment, and the numbers of the links that justify it."""


class Bound:
    """What an AAD says of links or grants: pieces, a handle after each, and an end."""

    def __init__(self, pieces: Sequence[bytes], end: bytes) -> None:
        self._pieces, self._end = pieces, end

    def columns(self, handles: Sequence[Sequence[bytes]]) -> Column:
        """Put the handles in, a column for each piece; `ValueError` where there are not as many."""
        woven: list[Column] = []
        for piece, column in zip(self._pieces, handles, strict=True):
            woven += piece, column
        return used().joins([*woven, self._end]) if woven else self._end


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

        self.draws = NONCE_BYTES * len(self._parts)
        """Random bytes one record takes."""

    def seal(
        self,
        ids: Sequence[bytes],
        handles: Sequence[Sequence[bytes]],
        keys: Sequence[Sequence[bytes]],
        clear: Sequence[Sequence[bytes]],
        drawn: bytes,
    ) -> list[list[bytes]]:
        """Seal records of these ids, all that belongs to them in columns.

        For each link the handles and K(S,p,t), for each compartment the clear texts. `drawn` are `draws`
        random bytes for each record, never used before.

        Returns for each compartment a column of its sealed bytes and one of the wraps of every link but the
        first, one after the other.
        """
        do, sealed = used(), []
        bound, keks = self._links.columns(handles), dict[int, list[bytes]]()
        for n, ((middle, place, first, others), texts) in enumerate(zip(self._parts, clear, strict=True)):
            nonces = [
                drawn[i : i + NONCE_BYTES] for i in range(n * NONCE_BYTES, self.draws * len(ids), self.draws)
            ]
            own = do.macs(keys[first], [INFO_CONTENT, ids, place])
            sealed.append(do.seals(COMMIT_LABEL, own, nonces, texts, [_BEGIN, ids, middle, bound]))
            for link in others:
                if link not in keks:
                    keks[link] = do.macs(keys[link], [_KEK])
                sealed.append(do.wraps(keks[link], own))
        return sealed

    def open(
        self,
        ids: Sequence[bytes],
        handles: Sequence[Sequence[bytes]],
        keys: Sequence[Sequence[bytes] | None],
        boxes: Iterable[Boxes],
    ) -> list[list[bytes | None]]:
        """Return the clear bytes of these compartments of records of this kind; None where no key opens one.

        `handles` and `keys` have a column for each link, None for one that may not be used.
        """
        bound = self._links.columns(handles)
        opened: list[list[bytes | None]] = []
        for box in boxes:
            clear: list[bytes | None] = [None] * len(ids)
            left: Sequence[int] = range(len(ids))
            for link, wrapped in box.wraps:
                column = keys[link]
                if column is None or not left:
                    continue
                if len(left) == len(ids):
                    clear = self._opened(box.n, ids, bound, column, box.sealed, wrapped)
                else:
                    some = partial(_rows, wanted=left)
                    key = None if wrapped is None else some(wrapped)
                    found = self._opened(box.n, some(ids), some(bound), some(column), some(box.sealed), key)
                    for i, text in zip(left, found, strict=True):
                        clear[i] = text
                left = [i for i in left if clear[i] is None]
            opened.append(clear)
        return opened

    def _opened(
        self, n: int, ids: Column, bound: Column, keys: Column, sealed: Column, wrapped: Column | None
    ) -> list[bytes | None]:
        """Open one compartment of some records by one of its links."""
        do, (middle, place, _, _) = used(), self._parts[n]
        if wrapped is None:
            own: Sequence[bytes | None] = do.macs(keys, [INFO_CONTENT, ids, place])
        else:
            own = do.unwraps(do.macs(keys, [_KEK]), wrapped)
        return do.opens(COMMIT_LABEL, own, sealed, [_BEGIN, ids, middle, bound])


def _rows(column: Column, wanted: Sequence[int]) -> Column:
    return column if isinstance(column, bytes) else [column[i] for i in wanted]
