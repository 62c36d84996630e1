"""Columns in C and in plain Python: published vectors, and the same bytes and errors for whatever comes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault import columns, columns_plain
from vault.columns import Columns
from vault.columns_plain import Column
from vault.keys import Draw, random_bytes
from vault.sealing import COMMIT_LABEL, seal, unseal

NATIVE = columns.native()
BOTH = [pytest.param(columns_plain, id="plain")]
BOTH += [
    pytest.param(
        NATIVE, id="native", marks=pytest.mark.skipif(NATIVE is None, reason=f"no {columns.in_use()}")
    )
]
twins = pytest.mark.skipif(NATIVE is None, reason="the extension does not work here: nothing to compare")

HMACS = [
    ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        "4a656665",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    ("aa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        bytes(range(1, 26)).hex(),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (
        "aa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        "aa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. The key needs"
        b" to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]
"""RFC 4231, cases 1 to 7 without the truncated one."""
GCM = [
    ("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        "feffe9928665731c6d6a8f9467308308" * 2,
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b391aafd255",
        "",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        "c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        "feffe9928665731c6d6a8f9467308308" * 2,
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b39",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    ),
]
"""McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, cases 13 to 16 (AES-256)."""

TEXTS = st.one_of(st.binary(max_size=200), st.integers(0, 9).map(lambda n: bytes(n * 13_000)))
LENGTHS = st.integers(0, 5)


@pytest.mark.parametrize("own", BOTH)
def test_the_published_vectors_come_out(own: Columns) -> None:
    """HMAC-SHA256, AES-256-GCM and AES key wrap as their standards have them."""
    columns.check(own)
    found = own.macs([bytes.fromhex(key) for key, _, _ in HMACS], [[text for _, text, _ in HMACS]])
    assert [mac.hex() for mac in found] == [mac for _, _, mac in HMACS]
    for key, text, mac in HMACS:
        assert own.mac(bytes.fromhex(key), text[:5], text[5:]).hex() == mac
    for key, nonce, clear, aad, sealed in GCM:
        keys, texts = [bytes.fromhex(key)], [bytes.fromhex(clear)]
        (out,) = own.seals(COMMIT_LABEL, keys, bytes.fromhex(nonce), texts, [bytes.fromhex(aad)])
        assert out[28:].hex() == sealed
        assert own.opens(COMMIT_LABEL, keys, [out], [bytes.fromhex(aad)]) == texts


@pytest.mark.parametrize("own", BOTH)
def test_what_sealing_seals_is_what_columns_seal(own: Columns) -> None:
    """The layout of sealed bytes is the same one, also for nothing at all and for a great deal."""
    for text in (b"", b"x" * 64, b"y" * 3_000_000):
        key, nonce = random_bytes(32), random_bytes(12)
        sealed = seal(key, text, b"aad", _given(nonce))
        assert own.seals(COMMIT_LABEL, [key], nonce, text, [b"a", [b"ad"]]) == [sealed]
        assert own.opens(COMMIT_LABEL, [key], [sealed], [b"aad"]) == [text] == [unseal(key, sealed, b"aad")]


def _given(nonce: bytes) -> Draw:
    return lambda n: nonce[:n]


@pytest.mark.parametrize("own", BOTH)
def test_what_was_tampered_with_does_not_open_and_its_neighbours_do(own: Columns) -> None:
    """Every byte of the sealed text, the key, the AAD, and a text cut short; each is told for its own row."""
    key, text = random_bytes(32), b"what nobody else may read"
    sealed = seal(key, text, b"aad", random_bytes)
    flipped = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    wrong = [*flipped, *(sealed[:n] for n in range(len(sealed)))]
    rows = [each for bad in wrong for each in (bad, sealed)]
    assert own.opens(COMMIT_LABEL, [key] * len(rows), rows, [b"aad"]) == [None, text] * len(wrong)
    assert own.opens(COMMIT_LABEL, [key, None, bytes(32)], sealed, [b"aad"]) == [text, None, None]
    assert own.opens(COMMIT_LABEL, [key, key], sealed, [[b"aad", b"bad"]]) == [text, None]
    assert own.opens(b"another", [key], sealed, [b"aad"]) == [None]
    (wrapped,) = own.wraps([key], bytes(32))
    spoilt = [wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :] for at in range(len(wrapped))]
    others: list[bytes] = [wrapped[:-1], wrapped + b"x", b""]
    assert own.unwraps(key, [*spoilt, wrapped, *others]) == [None] * 40 + [bytes(32)] + [None] * 3
    assert own.unwraps([bytes(32)], wrapped) == [None]


def column(row: st.SearchStrategy[bytes], n: int) -> st.SearchStrategy[Column]:
    """A column of n rows, sometimes the same for all, sometimes of another length, now and then a tuple."""
    rows = st.lists(row, min_size=n, max_size=n)
    return st.one_of(rows, rows, rows.map(tuple), row, st.lists(row, max_size=5))


def sized(size: int, n: int) -> st.SearchStrategy[Column]:
    """A column whose bytes are as long as they must be, or once in a while not."""
    right = column(st.binary(min_size=size, max_size=size), n)
    return st.one_of(right, right, right, right, right, column(st.binary(max_size=size + 9), n))


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or that it refuses."""
    try:
        return call()
    except ValueError:
        return ValueError


@twins
@given(data=st.data(), n=LENGTHS)
def test_both_do_the_same(data: st.DataObject, n: int) -> None:
    """Bytes and refusals, for rows of any length and columns that do not fit each other."""
    assert NATIVE is not None
    draw = data.draw
    pieces = draw(st.lists(column(TEXTS, n), max_size=4))
    any_keys, keys = draw(column(st.binary(max_size=140), n)), draw(sized(32, n))
    over, nonces, texts = draw(sized(32, n)), draw(sized(12, n)), draw(column(TEXTS, n))
    assert outcome(lambda: NATIVE.joins(pieces)) == outcome(lambda: columns_plain.joins(pieces))
    if isinstance(any_keys, bytes):
        fixed = [each for each in pieces if isinstance(each, bytes)]
        assert NATIVE.mac(any_keys, *fixed) == columns_plain.mac(any_keys, *fixed)
    for key in (any_keys, keys):
        found = outcome(partial(NATIVE.macs, key, pieces))
        assert found == outcome(partial(columns_plain.macs, key, pieces))
    wrapped = outcome(lambda: NATIVE.wraps(over, keys))
    assert wrapped == outcome(lambda: columns_plain.wraps(over, keys))
    for mine in (wrapped, draw(sized(40, n))):
        if isinstance(mine, list | tuple | bytes):
            given_back = outcome(partial(NATIVE.unwraps, over, mine))
            assert given_back == outcome(partial(columns_plain.unwraps, over, mine))
    sealed = outcome(lambda: NATIVE.seals(COMMIT_LABEL, keys, nonces, texts, pieces))
    assert sealed == outcome(lambda: columns_plain.seals(COMMIT_LABEL, keys, nonces, texts, pieces))
    some = [draw(st.one_of(st.just(key), st.none())) for key in keys] if isinstance(keys, list) else [None]
    for mine in (sealed, draw(column(TEXTS, n))):
        if isinstance(mine, list | tuple | bytes):
            opened = outcome(partial(NATIVE.opens, COMMIT_LABEL, some, mine, pieces))
            assert opened == outcome(partial(columns_plain.opens, COMMIT_LABEL, some, mine, pieces))


@pytest.mark.parametrize("own", BOTH)
def test_what_are_no_columns_of_bytes_is_refused(own: Columns) -> None:
    """Text and numbers, and columns of one row for all: how many rows would nobody know."""
    calls: list[Callable[[], object]] = [
        lambda: own.mac("text", b""),  # type: ignore[arg-type]  # what the type forbids, done all the same
        lambda: own.mac(b"key", 3),  # type: ignore[arg-type]  # same
        lambda: own.macs(["text"], [b""]),  # type: ignore[list-item]  # same
        lambda: own.macs([b"key"], [[1]]),  # type: ignore[list-item]  # same
        lambda: own.wraps(7, [bytes(32)]),  # type: ignore[arg-type]  # same
        lambda: own.opens(COMMIT_LABEL, None, [b""], [b""]),  # type: ignore[arg-type]  # same
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="one column"):
        own.wraps(bytes(32), bytes(32))


@pytest.fixture
def as_before() -> Iterator[None]:
    """Leaves the choice as it was."""
    before = columns.used()
    yield
    columns.use(native=before is not columns_plain)


def test_plain_python_can_be_asked_for(as_before: None) -> None:
    """And what is at work says so."""
    columns.use(native=False)
    assert columns.used() is columns_plain
    assert columns.in_use().startswith("in plain Python (")
    columns.use(native=True)
    assert columns.used() is (NATIVE or columns_plain)


@twins
def test_an_implementation_that_differs_is_found_out() -> None:
    """The check at the start fails for one wrong byte."""

    class Wrong:
        def __getattr__(self, name: str) -> object:
            return getattr(columns_plain, name)

        def wraps(self, over: Column, keys: Column) -> list[bytes]:
            return [each[:-1] + b"\0" for each in columns_plain.wraps(over, keys)]

    with pytest.raises(RuntimeError):
        columns.check(Wrong())  # type: ignore[arg-type]  # it has the rest by name


@twins
def test_a_library_that_is_not_there_or_is_not_openssl_is_an_error() -> None:
    """`OSError` either way, and nothing works before; in a process of its own, for a load is for good."""
    script = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('_columns', sys.argv[1])\n"
        "own = importlib.util.module_from_spec(spec)\n"
        "for call, given in ((own.load, 'libnowhere.so.9'), (own.load, 'libc.so.6'), (own.joins, [[]])):\n"
        "    try: call(given)\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    command = [sys.executable, "-c", script, str(vars(NATIVE)["__file__"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["OSError", "OSError", "RuntimeError"]
