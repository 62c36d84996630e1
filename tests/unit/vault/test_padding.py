"""Lengths tell of nobody: clear texts are padded before they are sealed, and come back as they were."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vault.sealing import (
    SMALLEST,
    decode_delivered,
    decode_fields,
    encode_delivered,
    encode_fields,
    size_class,
)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        ["a", 0],
        [2**53 - 1],
        [193],
        ["x" * 61],
        ["x" * 62],
        ["x\0\x80"],
        [{"a": "b"}, 128],
        [0] * 99,
    ],
    ids=range(10),
)
def test_an_array_comes_back_whatever_its_last_byte_and_so_does_one_of_before(values: list[Any]) -> None:
    """The padding is found without knowing how long it is; an array of 0.1 has none and opens as well."""
    clear = encode_fields(values)
    assert decode_fields(clear) == values
    assert decode_fields(msgspec.msgpack.encode(values)) == values
    assert len(clear) == size_class(len(clear)) >= SMALLEST


@pytest.mark.parametrize(
    ("length", "made"),
    [
        *((0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (129, 256), (256, 256)),
        *((257, 384), (384, 384), (385, 512), (513, 768), (769, 1024), (4097, 6144)),
        *((65_536, 65_536), (65_537, 73_728), (131_072, 131_072), (600_000, 655_360), (655_360, 655_360)),
    ],
)
def test_lengths_fall_into_few_classes(length: int, made: int) -> None:
    """64 bytes, powers of two, halves of one above 256; an eighth of one beyond what the collector takes."""
    assert size_class(length) == made


@pytest.mark.parametrize("length", [0, 1, 56, 57, 58, 5000])
def test_an_object_with_spaces_behind_it_is_the_same_object_to_every_reader(length: int) -> None:
    """JSON allows white space there (RFC 8259, 2), so no consumer has to know."""
    fields = {"": "x" * length}
    clear = encode_delivered(fields)
    assert len(clear) == size_class(length + 7)
    assert decode_delivered(clear) == fields == msgspec.json.decode(clear)
