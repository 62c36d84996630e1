"""What a connector keeps in the vault: objects, lapses over many objects, awaited ends; and their names."""

from __future__ import annotations

import hashlib

import msgspec

from processors.answers import worst
from processors.objects import Document
from schemas.ids import Micros
from schemas.models import Cause, ReceiptOutcome


class LapseDocument(msgspec.Struct, frozen=True, kw_only=True, tag="lapse", tag_field="is"):
    """How far one lapse, as it lay on one partition, has come over all objects it reached."""

    lapse_id: bytes
    topic_id: bytes
    partition: int
    effective_at: Micros | None = None
    answer_by: Micros | None = None
    """When it took effect, and until when the recipient has to have done it."""
    marking: bool = True
    remaining: int = 0
    awaiting: int = 0
    outcome: ReceiptOutcome = "not_applicable"
    pending: ReceiptOutcome = "not_applicable"
    """The worst of what is awaited: `accepted_async`, or `manual_required` until somebody has done it."""
    evidence: bytes = b""
    code: str | None = None
    cause: Cause | None = None
    counts: dict[ReceiptOutcome, int] = {}
    """How many objects ended how, those still awaited among them."""
    answered: ReceiptOutcome | None = None
    """The outcome of the receipt that was last sent for it."""

    @property
    def to_answer(self) -> ReceiptOutcome | None:
        """The outcome to be told now, None while objects remain or when it was told already."""
        if self.marking or self.remaining:
            return None
        outcome = worst(self.outcome, self.pending) if self.awaiting else self.outcome
        return outcome if outcome != self.answered else None

    @property
    def over(self) -> bool:
        """Whether it was answered and nothing of it is still to come."""
        return self.answered is not None and not self.remaining and not self.awaiting


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag="pending", tag_field="is"):
    """An awaited end by the name it will be reported under, and the object it is of."""

    object: bytes
    request: str
    answer_by: Micros | None = None
    """Until when it has to have come, by the vault's clock."""
    asked: int = 0
    """How often the recipient was asked how it stands."""
    late: bool = False
    """Its time is over, and was told to be."""
    key: str = ""
    vendor_id: str | None = None
    """What the object was called, to look whether it is gone; no key where nobody can."""


Kept = Document | LapseDocument | Pending
"""Whatever a connector keeps in the vault."""


def lapse_ref(lapse_id: bytes, topic_id: bytes, partition: int) -> bytes:
    """Return the reference of a lapse as it lay on one partition: 17 bytes, apart from every object's."""
    return b"L" + hashlib.sha256(lapse_id + topic_id + partition.to_bytes(4)).digest()[:16]


def object_ref(secret: bytes, key: str) -> bytes:
    """Return the vault's reference of an object: 17 bytes, keyed, because its key may be an address."""
    return b"O" + hashlib.blake2b(key.encode(), key=secret[:64], digest_size=16).digest()


_DECODER = msgspec.msgpack.Decoder(Kept)
_ENCODER = msgspec.msgpack.Encoder()


def pack(document: Kept) -> bytes:
    """Encode a document for the vault."""
    return _ENCODER.encode(document)


def unpack(data: bytes) -> Kept:
    """Decode what `pack` wrote."""
    document: Kept = _DECODER.decode(data)
    return document
