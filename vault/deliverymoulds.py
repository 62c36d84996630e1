"""Sealing many deliveries alike for one processor, byte for byte as `vault.sealing` does one.

`vault.moulds` does the same for records. A delivered compartment costs an encryption, a MAC and, for each
grant, a MAC and a wrap, and hardly more.
"""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from vault.columns import used
from vault.handles import packed
from vault.keys import INFO_DELIVER, INFO_WRAP, KEY_BYTES
from vault.moulds import Bound
from vault.sealing import COMMIT_LABEL, NONCE_BYTES, Clear, bucket_bytes, encode_delivered

DRAWN = KEY_BYTES + NONCE_BYTES
"""Random bytes a delivered compartment takes."""
_BEGIN = b"lapse/v1/delivery"


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
        self._root = INFO_DELIVER + processor.encode() + b"\x01"
        pieces, end = [], b""
        for g in grants:
            pieces.append(end + packed(g.purpose) + bucket_bytes(g.period, g.terms))
            end = g.decided.to_bytes(8, "big") + g.use_until.to_bytes(8, "big", signed=True)
        self._bound = Bound(pieces, end)
        number = revision.to_bytes(4, "big")
        self._parts = []
        for n, (category, opens) in enumerate(parts):
            place = n.to_bytes(2, "big")
            middle = number + packed(source) + place + b"\x00\x01" + packed(category)
            middle += len(grants).to_bytes(2, "big")
            self._parts.append(
                _DeliveredPart(middle, number + place + category.encode() + b"\x01", tuple(opens))
            )
        self.draws = DRAWN * len(self._parts)
        """Random bytes one delivery takes."""

    def seal(
        self,
        ids: Sequence[bytes],
        handles: Sequence[Sequence[bytes]],
        keys: Sequence[Sequence[bytes]],
        clear: Sequence[Sequence[bytes]],
        drawn: bytes,
    ) -> list[list[bytes]]:
        """Seal deliveries of these ids, all that belongs to them in columns.

        For each grant the handles and K(S,p,t), for each compartment the clear texts. `drawn` are `draws`
        random bytes for each delivery, never used before.

        Returns for each compartment a column of its sealed bytes and one of the wraps of every grant it is
        given for, one after the other.
        """
        do = used()
        bound = self._bound.columns(handles)
        roots = [do.macs(column, [self._root]) for column in keys]
        sealed, end = [], self.draws * len(ids)
        for at, (middle, place, grants), texts in zip(count(0, DRAWN), self._parts, clear, strict=False):
            own = [drawn[i : i + KEY_BYTES] for i in range(at, end, self.draws)]
            nonces = [drawn[i : i + NONCE_BYTES] for i in range(at + KEY_BYTES, end, self.draws)]
            sealed.append(do.seals(COMMIT_LABEL, own, nonces, texts, [_BEGIN, ids, middle, bound]))
            for grant in grants:
                sealed.append(do.wraps(do.macs(roots[grant], [INFO_WRAP, ids, place]), own))
        return sealed


class FieldsText:
    """A delivered compartment's clear text, byte for byte as `vault.sealing.encode_delivered` writes it.

    `fields` are place and name of each field among a record's values; `last` names the time, which follows.
    """

    def __init__(self, fields: Sequence[tuple[int, str]], last: str) -> None:
        self._fields, self._last = tuple(fields), last

    def text(self, values: Sequence[Clear], when: str) -> bytes | None:
        """Return the padded object of the fields that are there, or None."""
        there: dict[str, str] = {}
        for at, name in self._fields:
            value = values[at]
            if value is not None:
                there[name] = value if isinstance(value, str) else str(value)
        if not there:
            return None
        there[self._last] = when
        return encode_delivered(there)
