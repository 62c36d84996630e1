"""A mould seals byte for byte what `vault.sealing` seals one at a time."""

import hmac
import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import Handle, Period, RecordId, Terms
from schemas.models import Link
from vault.keys import Keyed, derive_k, hmac_sha256, keyed
from vault.moulds import RecordMould, link_key
from vault.sealing import NONCE_BYTES, Part, RecordHeader, seal_record

KEYS = st.binary(min_size=32, max_size=32)
IDS = st.binary(min_size=16, max_size=16)
LINKS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=4,
)


def counting() -> Callable[[int], bytes]:
    """Randomness that is the same in both: twelve bytes after the other."""
    numbers = itertools.count()

    def draw(n: int) -> bytes:
        assert n % NONCE_BYTES == 0
        return b"".join(next(numbers).to_bytes(NONCE_BYTES, "big") for _ in range(n // NONCE_BYTES))

    return draw


@given(
    ids=st.lists(IDS, min_size=1, max_size=3),
    links=LINKS,
    source=st.text(max_size=12),
    revision=st.integers(1, 9),
    data=st.data(),
)
def test_a_mould_seals_what_sealing_seals(
    ids: list[bytes], links: list[tuple[int, int, int]], source: str, revision: int, data: st.DataObject
) -> None:
    """Ids, handles, keys, links, compartments and clear bytes of every kind; the wraps included."""
    numbers = st.lists(st.integers(0, len(links) - 1), min_size=1, max_size=len(links), unique=True).map(
        sorted
    )
    parts = data.draw(
        st.lists(st.tuples(st.lists(st.integers(0, 300), max_size=3), numbers), min_size=1, max_size=3)
    )
    mould = RecordMould(revision=revision, source=source, policy=3, links=links, parts=parts)
    fast, plain = counting(), counting()
    for record in ids:
        handles = [data.draw(IDS) for _ in links]
        pairs = [(data.draw(KEYS), data.draw(KEYS)) for _ in links]
        clear = [data.draw(st.binary(max_size=60)) for _ in parts]
        found = mould.seal(
            record, handles, [link_key(Keyed(bucket), subject) for bucket, subject in pairs], clear, fast
        )
        header = RecordHeader(
            RecordId(record),
            revision,
            source,
            3,
            [
                Link(purpose=p, period=Period(t), terms=Terms(n), handle=Handle(h))
                for (p, t, n), h in zip(links, handles, strict=True)
            ],
        )
        boxes = [
            Part(categories, opens, text) for (categories, opens), text in zip(parts, clear, strict=True)
        ]
        for (body, wraps), box in zip(
            found, seal_record(header, boxes, [derive_k(*pair) for pair in pairs], plain), strict=True
        ):
            assert (body, [b"", *wraps]) == (box.sealed, [wrap.key for wrap in box.wraps])


@given(key=st.binary(min_size=1, max_size=100), label=st.binary(max_size=20), text=st.binary(max_size=200))
def test_every_way_to_a_mac_is_hmac(key: bytes, label: bytes, text: bytes) -> None:
    """Two hashes, an HMAC begun before, and the library's agree for keys of every length."""
    expected = hmac.digest(key, label + text, "sha256")
    assert hmac_sha256(key, label + text) == expected
    assert keyed(key, label).digest(text) == Keyed(key, label).digest(text) == expected
