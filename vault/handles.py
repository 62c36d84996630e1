"""Names that lead nowhere without the vault: record and delivery ids, pseudonyms, slots, and the handle.

All are HMAC-SHA256 under a secret of the vault, cut to 16 bytes, over a label and length-prefixed parts; a
handle is one AES-256 block. Pure: secrets are arguments. Layouts: docs/wire.md.
"""

from collections.abc import Iterable, Sequence
from struct import Struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from schemas.ids import SLOTS, DeliveryId, EventId, Handle, RecordId, Slot, SubjectNumber, SubjectRef
from vault.columns import used
from vault.keys import ID_BYTES, INFO_HANDLE, Keyed, hkdf_expand, keyed

_BLOCK = 16
_DELIVERY, _SUBJECT = b"lapse/v1/delivery-id", b"lapse/v1/subject-ref"


def packed(text: str) -> bytes:
    """Encode a string so that concatenations are unambiguous: two bytes of length, then UTF-8."""
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _name(key: bytes, label: bytes, rest: bytes) -> bytes:
    return keyed(key, label).digest(rest)[:ID_BYTES]


def record_id(key: bytes, site: str, kind: str, event_id: EventId) -> RecordId:
    """Name the record of an event; `kind` is the source kind (form, email-open, cookie, signal)."""
    return RecordId(_name(key, b"lapse/v1/record-id", packed(site) + packed(kind) + event_id))


def record_names(key: bytes, site: str, kind: str) -> Keyed:
    """Return what names the records of one site and source kind: the digest of an event id, cut to 16."""
    return Keyed(key, b"lapse/v1/record-id" + packed(site) + packed(kind))


def delivery_id(processor_secret: bytes, record: RecordId) -> DeliveryId:
    """Name a record towards one processor."""
    return DeliveryId(_name(processor_secret, _DELIVERY, record))


def delivery_ids(processor_secret: bytes, records: Sequence[RecordId]) -> list[DeliveryId]:
    """Name many records towards one processor."""
    names = used().macs(processor_secret, [_DELIVERY, records])
    return [DeliveryId(name[:ID_BYTES]) for name in names]


def delivery_names(processor_secret: bytes) -> Keyed:
    """Return what names records towards one processor: the digest of a record id, cut to 16."""
    return Keyed(processor_secret, _DELIVERY)


def subject_ref(processor_secret: bytes, number: SubjectNumber) -> SubjectRef:
    """Name a person towards one processor."""
    return SubjectRef(_name(processor_secret, _SUBJECT, number.to_bytes(8, "big")))


def subject_refs(processor_secret: bytes, numbers: Sequence[SubjectNumber]) -> list[SubjectRef]:
    """Name many people towards one processor."""
    names = used().macs(processor_secret, [_SUBJECT, [number.to_bytes(8, "big") for number in numbers]])
    return [SubjectRef(name[:ID_BYTES]) for name in names]


def lifecycle_tag(lifecycle_key: bytes, number: SubjectNumber, purpose: str, generation: int) -> SubjectRef:
    """Name one ended generation of one person on `lifecycle`, joined with nothing else."""
    rest = number.to_bytes(8, "big") + generation.to_bytes(4, "big") + packed(purpose)
    return SubjectRef(_name(lifecycle_key, b"lapse/v1/lifecycle", rest))


def alias_hash(alias_key: bytes, kind: str, value: str) -> bytes:
    """Name a normalised identifier inside the vault and on `control` (16 bytes)."""
    return _name(alias_key, b"lapse/v1/alias", packed(kind) + packed(value))


def alias_names(alias_key: bytes, kind: str) -> Keyed:
    """Return what names identifiers of one kind: the digest of a packed normalised value, cut to 16."""
    return Keyed(alias_key, b"lapse/v1/alias" + packed(kind))


def slot_of(slot_key: bytes, number: SubjectNumber) -> Slot:
    """Return a person's virtual partition."""
    return slot_named(slot_names(slot_key), number)


def slot_names(slot_key: bytes) -> Keyed:
    """Return what names slots, for `slot_named`."""
    return keyed(slot_key, b"lapse/v1/slot")


def slot_named(names: Keyed, number: SubjectNumber) -> Slot:
    """Return a person's virtual partition, for many people."""
    return Slot(names.digest(number.to_bytes(8, "big"))[0] % SLOTS)


def partition_of(slot: Slot, partitions: int) -> int:
    """Map a slot to a Kafka partition: contiguous ranges, so that doubling splits each in two."""
    return slot * partitions // SLOTS


def handle_key(bucket_key: bytes) -> bytes:
    """The key of a bucket's handles; it dies with the bucket."""
    return hkdf_expand(bucket_key, INFO_HANDLE)


def make_handles(key: bytes, named: Iterable[tuple[SubjectNumber, int, bytes]]) -> list[Handle]:
    """Encrypt (number, generation, record or delivery id) in bulk: one block each."""
    named = list(named)
    people = people_blocks([(number, generation) for number, generation, _ in named])
    return handles_of(key, people, [name for _, _, name in named])


def people_blocks(people: Iterable[tuple[SubjectNumber, int]]) -> bytes:
    """Lay out what handles say of people (number, generation), to be used under several names."""
    return b"".join([_clear(number, generation, 0) for number, generation in people])


def handles_of(key: bytes, people: bytes, names: Sequence[bytes]) -> list[Handle]:
    """Return a handle for each of the people laid out, under a record or delivery id each."""
    assert all(len(name) == ID_BYTES for name in names), "ids are 16 bytes"
    assert len(people) == _BLOCK * len(names), "as many people as names"
    out = _ecb(key).encryptor().update(_xor(people, b"".join(names)))
    return [Handle(out[i : i + _BLOCK]) for i in range(0, len(out), _BLOCK)]


def read_handles(
    key: bytes, handles: Sequence[tuple[bytes, bytes]]
) -> list[tuple[SubjectNumber, int] | None]:
    """Decrypt (handle, id) pairs in bulk; None where the handle does not belong to the id or the bucket."""
    fits = {(len(handle), len(name)) for handle, name in handles} <= {(_BLOCK, ID_BYTES)}
    if not fits:
        return [read_handles(key, [pair])[0] if _fits(pair) else None for pair in handles]
    clear = _ecb(key).decryptor().update(b"".join([handle for handle, _ in handles]))
    blocks = _CLEAR.iter_unpack(_xor(clear, b"".join([name for _, name in handles])))
    return [None if low else (SubjectNumber(number), generation) for number, generation, low in blocks]


_CLEAR = Struct(">QII")
"""What a handle hides before the id is mixed in: number, generation, zero."""
_clear = _CLEAR.pack


def _fits(pair: tuple[bytes, bytes]) -> bool:
    return len(pair[0]) == _BLOCK and len(pair[1]) == ID_BYTES


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _ecb(key: bytes) -> Cipher[modes.ECB]:
    # One block per handle, and no two clear blocks of a bucket are equal, because record ids differ.
    return Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305
