"""Avro's binary encoding of what `schemas.frames` lays out by hand (Avro 1.12, "Binary Encoding")."""

from collections.abc import Iterable

_KNOWN = 8192


def _zigzag(number: int) -> bytes:
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


NUMBERS = tuple(_zigzag(number) for number in range(_KNOWN))
"""Encoded numbers by themselves: lengths, slots and plan numbers are found here."""


def number(value: int) -> bytes:
    """Encode an int or a long."""
    return NUMBERS[value] if 0 <= value < _KNOWN else _zigzag(value)


def read_number(encoded: bytes) -> int:
    """Decode what `number` encoded."""
    left = 0
    for byte in reversed(encoded):
        left = left << 7 | byte & 0x7F
    return (left >> 1) ^ -(left & 1)


def data(value: bytes) -> bytes:
    """Encode bytes."""
    return number(len(value)) + value


def data_column(values: Iterable[bytes]) -> list[bytes]:
    """Encode bytes, many at once."""
    known, most = NUMBERS, _KNOWN
    return [(known[n] if (n := len(each)) < most else _zigzag(n)) + each for each in values]


def string(value: str) -> bytes:
    """Encode a string."""
    return data(value.encode())


def array(items: Iterable[bytes]) -> bytes:
    """Encode an array of encoded items, in one block as every library writes it."""
    items = list(items)
    return b"".join([number(len(items)), *items, b"\0"]) if items else b"\0"
