"""The bytes of a spool segment: sealed frames that survive a torn tail. Pure: keys, counters are arguments.

A segment is a header (magic, segment number) and frames: mark 4 | length 4 | crc32 4 | event id 16 |
counter 8 | AES-256-GCM ciphertext and tag. The counter is the nonce (a segment's key seals nothing else) and,
by its gaps, tells how many frames damage has cost. Length and crc32 cover everything behind them.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"lapse-spool-1\n"
HEADER_BYTES = len(MAGIC) + 8
_MARK = b"\xf5LSF"
_HEAD = len(_MARK) + 8
_FIXED = 16 + 8
_MAX_FRAME = 1 << 21


class Spooled(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One event on its way to Kafka: topic, event id, Avro value and headers."""

    topic: str
    event_id: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    def __repr__(self) -> str:
        """Name the event only: payloads must not reach logs through a repr."""
        return f"Spooled(topic={self.topic!r}, event_id={self.event_id.hex()})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a segment held: the events in order, and how many frames damage before the tail has cost."""

    events: tuple[Spooled, ...]
    lost: int
    torn: bool
    """Whether the file ends in the middle of a frame; nobody was ever told that one is kept."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Spooled)


def header(segment: int) -> bytes:
    """The first bytes of segment number `segment`."""
    return MAGIC + segment.to_bytes(8, "big")


def seal_frame(cipher: AESGCM, segment: int, counter: int, event: Spooled) -> bytes:
    """One frame; `counter` must never repeat under one key."""
    sequence = counter.to_bytes(8, "big")
    associated = segment.to_bytes(8, "big") + event.event_id
    sealed = cipher.encrypt(b"\0\0\0\0" + sequence, _encoder.encode(event), associated)
    body = event.event_id + sequence + sealed
    return _MARK + len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def _frame_at(data: bytes, at: int) -> bytes | None:
    """The body of the whole, undamaged frame at `at`, or None."""
    if data[at : at + len(_MARK)] != _MARK:
        return None
    length = int.from_bytes(data[at + 4 : at + 8], "big")
    body = data[at + _HEAD : at + _HEAD + length]
    if not _FIXED < length <= _MAX_FRAME or len(body) != length:
        return None
    return body if zlib.crc32(body) == int.from_bytes(data[at + 8 : at + _HEAD], "big") else None


def _bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every undamaged frame as (end, body); damage is skipped up to the next mark that starts one."""
    at = HEADER_BYTES
    while at < len(data):
        body = _frame_at(data, at)
        if body is None:
            at = data.find(_MARK, at + 1)
            if at < 0:
                return
            continue
        at += _HEAD + len(body)
        yield at, body


def read_segment(cipher: AESGCM, data: bytes) -> Read:
    """Open every frame that can be opened, whatever happened to the bytes between."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        return Read(events=(), lost=0, torn=bool(data))
    segment = data[len(MAGIC) : HEADER_BYTES]
    events: list[Spooled] = []
    lost, expected, end = 0, 0, HEADER_BYTES
    for frame_end, body in _bodies(data):
        event_id, sequence, sealed = body[:16], body[16:24], body[24:]
        counter = int.from_bytes(sequence, "big")
        lost += max(0, counter - expected)
        expected, end = counter + 1, frame_end
        try:
            clear = cipher.decrypt(b"\0\0\0\0" + sequence, sealed, segment + event_id)
            events.append(_decoder.decode(clear))
        except (InvalidTag, msgspec.DecodeError):
            lost += 1
    return Read(events=tuple(events), lost=lost, torn=end != len(data))
