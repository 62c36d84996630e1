"""Columns of values under keys in plain Python: the twin of `_columns.c`, and what runs where that does not.

`vault.columns` says what each function does. Keys that come again in a column are prepared once.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from hmac import compare_digest
from itertools import repeat

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.keys import KEY_BYTES, hmac_blocks, plain_mac, unwrap, wrap

Column = bytes | Sequence[bytes]

_COMMIT, _NONCE, _TAG = 16, 12, 16
_BODY = _COMMIT + _NONCE


def joins(pieces: Sequence[Column], /) -> list[bytes]:
    """Join the pieces of every row."""
    form = b"".join([each.replace(b"%", b"%%") if isinstance(each, bytes) else b"%b" for each in pieces])
    columns = [each for each in pieces if not isinstance(each, bytes)]
    _count(columns)
    return [form % row for row in zip(*columns, strict=True)]


def mac(key: bytes, /, *pieces: bytes) -> bytes:
    """HMAC-SHA256 of one text."""
    inner, outer = hmac_blocks(key)
    return sha256(outer + sha256(b"".join((inner, *pieces))).digest()).digest()


def macs(keys: Column, pieces: Sequence[Column], /) -> list[bytes]:
    """HMAC-SHA256 of every row's pieces."""
    _count([keys, *pieces])
    fixed = [each for each in pieces if isinstance(each, bytes)]
    if isinstance(keys, bytes):
        inner, outer = hmac_blocks(keys)
        return [sha256(outer + sha256(inner + text).digest()).digest() for text in joins(pieces)]
    if len(fixed) == len(pieces):
        text = b"".join(fixed)
        known = {key: plain_mac(key, text) for key in set(keys)}
        return [known[key] for key in keys]
    blocks = {key: hmac_blocks(key) for key in set(keys)}
    begun = zip(map(blocks.__getitem__, keys), joins(pieces), strict=True)
    return [sha256(outer + sha256(inner + text).digest()).digest() for (inner, outer), text in begun]


def wraps(over: Column, keys: Column, /) -> list[bytes]:
    """AES key wrap of every row."""
    _sized(over, KEY_BYTES)
    _sized(keys, KEY_BYTES)
    return [wrap(kek, key) for kek, key in _rows(over, keys)]


def unwraps(over: Column, wrapped: Column, /) -> list[bytes | None]:
    """Undo `wraps`."""
    _sized(over, KEY_BYTES)
    return [unwrap(kek, each) for kek, each in _rows(over, wrapped)]


def seals(label: bytes, keys: Column, nonces: Column, texts: Column, aad: Sequence[Column], /) -> list[bytes]:
    """Seal every row."""
    _sized(keys, KEY_BYTES)
    _sized(nonces, _NONCE)
    return [
        plain_mac(key, label + nonce)[:_COMMIT] + nonce + AESGCM(key).encrypt(nonce, text, bound)
        for key, nonce, text, bound in _rows(keys, nonces, texts, _bound(aad))
    ]


def opens(
    label: bytes, keys: Sequence[bytes | None], sealed: Column, aad: Sequence[Column], /
) -> list[bytes | None]:
    """Undo `seals`."""
    _sized([key for key in keys if key is not None], KEY_BYTES)
    rows = _rows([key or b"" for key in keys], sealed, _bound(aad))
    return [_opened(label, key, each, bound) if key else None for key, each, bound in rows]


def _opened(label: bytes, key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    if len(sealed) < _BODY + _TAG:
        return None
    nonce = sealed[_COMMIT:_BODY]
    if not compare_digest(plain_mac(key, label + nonce)[:_COMMIT], sealed[:_COMMIT]):
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed[_BODY:], aad)
    except InvalidTag:
        return None


def _bound(aad: Sequence[Column]) -> Column:
    fixed = [each for each in aad if isinstance(each, bytes)]
    return b"".join(fixed) if len(fixed) == len(aad) else joins(aad)


def _count(columns: Sequence[Column]) -> int:
    lengths = {len(each) for each in columns if not isinstance(each, bytes)}
    if len(lengths) != 1:
        raise ValueError("columns of different lengths" if lengths else "one column at least")
    return lengths.pop()


def _rows(*columns: Column) -> Iterator[tuple[bytes, ...]]:
    n = _count(columns)
    return zip(*(repeat(each, n) if isinstance(each, bytes) else each for each in columns), strict=True)


def _sized(column: Column, size: int) -> None:
    if any(len(each) != size for each in ([column] if isinstance(column, bytes) else column)):
        raise ValueError("bytes of a wrong length")
