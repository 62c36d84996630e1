"""How fields become sealed bytes and back: AES-256-GCM under a fresh key, with a commitment (docs/wire.md).

Sealed bytes are commitment (16) | nonce (12) | ciphertext and tag. Pure: keys and randomness are arguments.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.ids import DeliveryId, Micros, Period, RecordId, Terms
from schemas.models import (
    Compartment,
    DeliveredCompartment,
    DeliveredWrap,
    Grant,
    Link,
    RecordDelivered,
    RecordTagged,
    Wrap,
)
from vault.handles import packed
from vault.keys import (
    Draw,
    delivery_kek,
    delivery_root,
    hmac_sha256,
    new_key,
    quarantine_key,
    record_content_key,
    record_kek,
    unwrap,
    wrap,
)

COMMIT_BYTES = 16
NONCE_BYTES = 12
COMMIT_LABEL = b"lapse/v1/commit"
OVERHEAD = COMMIT_BYTES + NONCE_BYTES + 16
"""Bytes a sealed text is longer than its clear text."""

Clear = str | int | None | Mapping[str, str]
"""What a field of a record may be: text, a time in micros, absent, or a map of texts (`properties`)."""

_fields = msgspec.msgpack.Decoder(list[str | int | dict[str, str] | None])
_delivered = msgspec.json.Decoder(dict[str, str])


# ---- the sealed layout -------------------------------------------------------------------------------------
def seal(key: bytes, clear: bytes, aad: bytes, draw: Draw) -> bytes:
    """Seal under a content key; the commitment makes the ciphertext open under no other key."""
    nonce = draw(NONCE_BYTES)
    return _commit(key, nonce) + nonce + AESGCM(key).encrypt(nonce, clear, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    """Return the clear bytes, or None where key, AAD or bytes are not those it was sealed with."""
    if len(sealed) < OVERHEAD:
        return None
    nonce = sealed[COMMIT_BYTES : COMMIT_BYTES + NONCE_BYTES]
    if not hmac.compare_digest(_commit(key, nonce), sealed[:COMMIT_BYTES]):
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed[COMMIT_BYTES + NONCE_BYTES :], aad)
    except InvalidTag:
        return None


def _commit(key: bytes, nonce: bytes) -> bytes:
    return hmac_sha256(key, COMMIT_LABEL + nonce)[:COMMIT_BYTES]


# ---- clear fields ------------------------------------------------------------------------------------------
SMALLEST = 64
"""Bytes the shortest clear text has; longer ones have the next power of two."""
HALVED = 256
"""From here on the middle between two powers of two is a length, too: so much is typed anew each time, and
what says the same of a person every time (names, addresses, browsers) is shorter as a rule.
"""
DOUBLED = 65_536
"""Up to here: what the collector takes is no longer. Beyond, doubling would make of a legal event a record
that no broker takes; there a text has the next eighth of a power of two.
"""
_PADDED = b"\xc1"
"""Begins a padded array: the one byte msgpack never uses, so an array of before the padding is told apart."""


def size_class(length: int) -> int:
    """Return how long a clear text of this length is made before it is sealed.

    How long a person's address is would else link all their records, for ever: no key hides a length.
    """
    if length <= SMALLEST:
        return SMALLEST
    bits = (length - 1).bit_length()
    if length <= HALVED:
        return 1 << bits
    step = 1 << (bits - 2 if length <= DOUBLED else bits - 4)
    return -(-length // step) * step


_SIZED = 4096
_SIZES = tuple(map(size_class, range(_SIZED)))
"""The usual lengths' classes by themselves."""
_packed, _json = msgspec.msgpack.Encoder().encode, msgspec.json.Encoder().encode


def encode_fields(values: Sequence[Clear]) -> bytes:
    """Encode a record's compartment: a msgpack array in the plan's field order, nil where absent; padded."""
    clear = _PADDED + _packed(values) + b"\x80"
    length = len(clear)
    return clear.ljust(_SIZES[length] if length < _SIZED else size_class(length), b"\0")


def decode_fields(clear: bytes) -> list[str | int | dict[str, str] | None]:
    """Decode a record's compartment, also one written before there was padding."""
    return _fields.decode(clear[1:].rstrip(b"\0")[:-1] if clear[:1] == _PADDED else clear)


def encode_delivered(fields: Mapping[str, str]) -> bytes:
    """Encode a delivery's compartment: a UTF-8 JSON object of strings; padded with spaces."""
    clear = _json(fields)
    length = len(clear)
    return clear.ljust(_SIZES[length] if length < _SIZED else size_class(length))


def decode_delivered(clear: bytes) -> dict[str, str]:
    """Decode a delivery's compartment."""
    return _delivered.decode(clear)


# ---- records: pseudonymous, for ourselves ------------------------------------------------------------------
class RecordHeader(NamedTuple):
    """What the AAD of every compartment of a record binds besides the compartment itself."""

    record_id: RecordId
    revision: int
    source: str
    policy: int
    links: Sequence[Link]


class Part(NamedTuple):
    """One compartment to seal: category numbers, numbers of the links that justify it, encoded fields."""

    categories: Sequence[int]
    links: Sequence[int]
    clear: bytes


def header_of(record: RecordTagged) -> RecordHeader:
    """Return what the AAD of this record's compartments binds."""
    return RecordHeader(record.record_id, record.revision, record.source, record.policy, record.links)


def record_aad(header: RecordHeader, n: int, categories: Sequence[int]) -> bytes:
    """AAD of compartment `n` of a record: id, revision, source, policy, compartment, every link."""
    parts = [
        b"lapse/v1/record",
        header.record_id,
        header.revision.to_bytes(4, "big"),
        packed(header.source),
        header.policy.to_bytes(4, "big"),
        n.to_bytes(2, "big"),
        len(categories).to_bytes(2, "big"),
        *(c.to_bytes(2, "big") for c in categories),
        len(header.links).to_bytes(2, "big"),
    ]
    for link in header.links:
        parts += [link.purpose.to_bytes(2, "big"), bucket_bytes(link.period, link.terms), link.handle]
    return b"".join(parts)


def seal_record(
    header: RecordHeader, parts: Sequence[Part], ks: Sequence[bytes], draw: Draw
) -> list[Compartment]:
    """Seal a record's compartments; `ks[i]` is K of link i.

    The content key is derived from the K of the compartment's first link, whose wrap is empty, and wrapped
    for the others. `vault.moulds` does the same for many records alike.
    """
    sealed = []
    for n, part in enumerate(parts):
        first, *others = part.links
        key = record_content_key(ks[first], header.record_id, header.revision, n)
        wraps = [Wrap(link=first, key=b"")]
        wraps += [Wrap(link=link, key=wrap(record_kek(ks[link]), key)) for link in others]
        body = seal(key, part.clear, record_aad(header, n, part.categories), draw)
        sealed.append(Compartment(categories=list(part.categories), sealed=body, wraps=wraps))
    return sealed


def open_record(
    header: RecordHeader, n: int, compartment: Compartment, ks: Mapping[int, bytes]
) -> bytes | None:
    """Return a compartment's clear bytes by any of the links whose K is given; None where none opens it."""
    aad = record_aad(header, n, compartment.categories)
    for each in compartment.wraps:
        k = ks.get(each.link)
        if k is None:
            continue
        if each.key:
            key = unwrap(record_kek(k), each.key)
        else:
            key = record_content_key(k, header.record_id, header.revision, n)
        clear = None if key is None else unseal(key, compartment.sealed, aad)
        if clear is not None:
            return clear
    return None


# ---- deliveries: sealed again for one recipient ------------------------------------------------------------
class DeliveryHeader(NamedTuple):
    """What the AAD of every compartment of a delivery binds besides the compartment itself."""

    delivery_id: DeliveryId
    revision: int
    source: str
    grants: Sequence[Grant]


class DeliveredPart(NamedTuple):
    """One compartment to deliver: its one category, numbers of the grants it is given for, its fields."""

    category: str
    grants: Sequence[int]
    fields: Mapping[str, str]


def delivery_header_of(record: RecordDelivered) -> DeliveryHeader:
    """Return what the AAD of this delivery's compartments binds."""
    return DeliveryHeader(record.delivery_id, record.revision, record.source, record.grants)


def delivery_aad(header: DeliveryHeader, n: int, categories: Sequence[str]) -> bytes:
    """AAD of compartment `n` of a delivery: id, revision, source, compartment, every grant."""
    parts = [
        b"lapse/v1/delivery",
        header.delivery_id,
        header.revision.to_bytes(4, "big"),
        packed(header.source),
        n.to_bytes(2, "big"),
        len(categories).to_bytes(2, "big"),
        *(packed(c) for c in categories),
        len(header.grants).to_bytes(2, "big"),
    ]
    for grant in header.grants:
        parts += [packed(grant.purpose), bucket_bytes(grant.period, grant.terms), grant.handle]
        parts += [grant.decided.to_bytes(8, "big"), grant.use_until.to_bytes(8, "big", signed=True)]
    return b"".join(parts)


def seal_delivery(
    header: DeliveryHeader, parts: Sequence[DeliveredPart], ks: Sequence[bytes], processor: str, draw: Draw
) -> list[DeliveredCompartment]:
    """Seal a delivery's compartments, each under a fresh key wrapped per grant; `ks[i]` is K of grant i."""
    roots = [delivery_root(k, processor) for k in ks]
    sealed = []
    for n, part in enumerate(parts):
        key = new_key(draw)
        place = (header.delivery_id, header.revision, n, part.category)
        wraps = [DeliveredWrap(grant=g, key=wrap(delivery_kek(roots[g], *place), key)) for g in part.grants]
        body = seal(key, encode_delivered(part.fields), delivery_aad(header, n, [part.category]), draw)
        sealed.append(DeliveredCompartment(categories=[part.category], sealed=body, wraps=wraps))
    return sealed


def open_delivered(
    header: DeliveryHeader, n: int, compartment: DeliveredCompartment, key: bytes
) -> bytes | None:
    """Return a delivered compartment's clear bytes under its content key."""
    return unseal(key, compartment.sealed, delivery_aad(header, n, compartment.categories))


# ---- quarantine: a bucket and no subject -------------------------------------------------------------------
def quarantine_aad(
    record_id: RecordId, topic: str, received_at: Micros, period: Period, terms: Terms
) -> bytes:
    """AAD of a quarantined input."""
    times = received_at.to_bytes(8, "big", signed=True)
    return b"lapse/v1/quarantine" + record_id + packed(topic) + times + bucket_bytes(period, terms)


def seal_quarantined(bucket_key: bytes, record_id: RecordId, raw: bytes, aad: bytes, draw: Draw) -> bytes:
    """Seal an input that cannot be read or trusted, whole, under the reserved purpose's bucket."""
    return seal(quarantine_key(bucket_key, record_id), raw, aad, draw)


def open_quarantined(bucket_key: bytes, record_id: RecordId, sealed: bytes, aad: bytes) -> bytes | None:
    """Return a quarantined input as it came."""
    return unseal(quarantine_key(bucket_key, record_id), sealed, aad)


def bucket_bytes(period: int, terms: int) -> bytes:
    """Return how AAD writes a bucket's period and terms."""
    return period.to_bytes(8, "big", signed=True) + terms.to_bytes(4, "big")
