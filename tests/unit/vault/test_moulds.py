"""A mould seals byte for byte what `vault.sealing` seals one at a time."""

import hmac
import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import DeliveryId, Handle, Micros, Period, RecordId, Slot, SubjectNumber, Terms
from schemas.ids import Sequence as Seq
from schemas.models import Compartment, Grant, Link, RecordTagged, Wrap
from vault.deliverymoulds import DeliveryMould, DeliveryMouldGrant, FieldsText
from vault.keys import Keyed, derive_k, hmac_sha256, keyed, record_kek, wrap
from vault.moulds import Boxes, RecordMould, link_key
from vault.opening import UNKNOWN, Usable, open_fields
from vault.sealing import (
    Clear,
    DeliveredPart,
    DeliveryHeader,
    Part,
    RecordHeader,
    decode_fields,
    encode_delivered,
    encode_fields,
    record_aad,
    seal,
    seal_delivery,
    seal_record,
)
from vault.values import Closed

pytestmark = pytest.mark.usefixtures("sealed_by")

KEYS = st.binary(min_size=32, max_size=32)
IDS = st.binary(min_size=16, max_size=16)
LINKS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=4,
)


def flat(boxes: list[tuple[bytes, list[bytes]]]) -> list[bytes]:
    """Sealed bytes and wraps of all compartments, one after the other."""
    return [part for body, wraps in boxes for part in (body, *wraps)]


def turned(rows: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    """Rows as columns."""
    return [[*column] for column in zip(*rows, strict=True)]


def stream() -> Callable[[int], bytes]:
    """Randomness that is the same however it is cut."""
    numbers = itertools.count()

    def draw(n: int) -> bytes:
        return bytes(next(numbers) % 251 for _ in range(n))

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
    made = [
        (
            [data.draw(IDS) for _ in links],
            [(data.draw(KEYS), data.draw(KEYS)) for _ in links],
            [data.draw(st.binary(max_size=60)) for _ in parts],
        )
        for _ in ids
    ]
    keys = [[link_key(Keyed(bucket), subject) for bucket, subject in pairs] for _, pairs, _ in made]
    found = mould.seal(
        ids,
        turned([handles for handles, _, _ in made]),
        turned(keys),
        turned([clear for _, _, clear in made]),
        stream()(mould.draws * len(ids)),
    )
    plain, expected = stream(), []
    for record, (handles, pairs, clear) in zip(ids, made, strict=True):
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
        sealed = seal_record(header, boxes, [derive_k(*pair) for pair in pairs], plain)
        assert all(box.wraps[0].key == b"" for box in sealed)
        expected.append(flat([(box.sealed, [wrap.key for wrap in box.wraps[1:]]) for box in sealed]))
    assert found == turned(expected)


@given(
    keep=st.lists(st.booleans(), min_size=3, max_size=3),
    pairs=st.lists(st.tuples(KEYS, KEYS), min_size=3, max_size=3),
    wanted=st.sets(st.integers(0, 3)),
    wrapped=st.booleans(),
)
def test_a_mould_opens_what_opening_opens(
    keep: list[bool], pairs: list[tuple[bytes, bytes]], wanted: set[int], wrapped: bool
) -> None:
    """Whichever links are left; also records of 0.1.0, which wrap the key for every link."""
    links = [Link(purpose=p, period=Period(9), terms=Terms(1), handle=Handle(bytes(16))) for p in range(3)]
    header, ks = RecordHeader(RecordId(bytes(16)), 1, "cookie", 3, links), [derive_k(*pair) for pair in pairs]
    opens = [[0], [1, 2], [0, 1, 2], [2]]
    parts = [Part([n], own, encode_fields([f"{n}", n])) for n, own in enumerate(opens)]
    boxes = seal_record(header, parts, ks, stream())
    if wrapped:
        key = bytes(range(32))
        wraps = [Wrap(link=n, key=wrap(record_kek(ks[n]), key)) for n in (1, 2)]
        body = seal(key, encode_fields(["1", 1]), record_aad(header, 1, [1]), stream())
        boxes[1] = Compartment(categories=[1], sealed=body, wraps=wraps)
    record = RecordTagged(
        record_id=header.record_id,
        revision=1,
        source="cookie",
        schema_id=1,
        policy=3,
        tagged_at=Micros(0),
        slot=Slot(0),
        links=links,
        compartments=boxes,
    )
    mould = RecordMould(
        revision=1,
        source="cookie",
        policy=3,
        links=[(p, 9, 1) for p in range(3)],
        parts=[([n], own) for n, own in enumerate(opens)],
    )
    keys = [k if on else None for k, on in zip(ks, keep, strict=True)]
    usable = [
        Usable(k, SubjectNumber(1), 1, Micros(9)) if on else UNKNOWN for k, on in zip(ks, keep, strict=True)
    ]
    asked = [
        Boxes(n, [box.sealed], [(each.link, [each.key] if each.key else None) for each in box.wraps])
        for n, box in enumerate(boxes)
        if n in wanted
    ]
    columns = [None if key is None else [key] for key in keys]
    found = mould.open([header.record_id], [[link.handle] for link in links], columns, asked)
    plain = open_fields(record, usable)
    for box, [clear] in zip(asked, found, strict=True):
        if isinstance(plain[box.n], Closed):
            assert clear is None
        else:
            assert clear is not None and decode_fields(clear) == plain[box.n]


@given(sealed=st.binary(max_size=120), place=st.integers(0, 200), bit=st.integers(0, 7), link=KEYS)
def test_a_mould_opens_nothing_that_was_touched(sealed: bytes, place: int, bit: int, link: bytes) -> None:
    """Neither garbage nor one flipped bit of what it sealed itself."""
    mould = RecordMould(revision=1, source="x%", policy=1, links=[(0, 1, 1)], parts=[([1], [0])])
    handle = [bytes(16)]
    [[body]] = mould.seal([bytes(16)], [handle], [[link]], [[bytes(150)]], stream()(mould.draws))
    touched = bytearray(body)
    touched[place % len(body)] ^= 1 << bit
    each = [body, bytes(touched), sealed, b""]
    found = mould.open([bytes(16)] * 4, [handle * 4], [[link] * 4], [Boxes(0, each, [(0, None)])])
    assert found == [[bytes(150), None, None, None]]


@given(
    keys=st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=5), ids=st.lists(IDS, min_size=5, max_size=5)
)
def test_a_mould_opens_each_record_by_the_first_link_that_opens_it(
    keys: list[tuple[bytes, bytes]], ids: list[bytes]
) -> None:
    """Of many records together, some by one of two links, some by the other, some by none."""
    mould = RecordMould(revision=1, source="x", policy=1, links=[(0, 1, 1), (1, 1, 1)], parts=[([1], [0, 1])])
    ids, handles = ids[: len(keys)], [bytes(16), bytes(range(16))]
    ks, beside = turned(keys), [[handle] * len(ids) for handle in handles]
    bodies, wraps = mould.seal(ids, beside, ks, [ids], stream()(mould.draws * len(ids)))
    wrong = bytes(range(32))
    tried = [[wrong if at % 2 else k for at, k in enumerate(ks[0])]]
    tried.append([wrong if at % 4 == 3 else k for at, k in enumerate(ks[1])])
    asked = [Boxes(0, bodies, [(0, None), (1, wraps)])]
    found = mould.open(ids, beside, tried, asked)
    assert found == [[None if at % 4 == 3 else name for at, name in enumerate(ids)]]


@given(
    deliveries=st.lists(IDS, max_size=3),
    ks=st.lists(KEYS, min_size=6, max_size=6),
    categories=st.lists(st.text(max_size=9), max_size=3),
)
def test_a_delivery_mould_seals_what_sealing_seals(
    deliveries: list[bytes], ks: list[bytes], categories: list[str]
) -> None:
    """Grants, wraps and clear bytes of every compartment, of one delivery, of several, and of none."""
    grants = [("news", -3, 1, 77, 10**15), ("answer", 5, 2, 78, -1)]
    opens = [[0], [0, 1], [1]]
    mould = DeliveryMould(
        processor="crm",
        revision=2,
        source="form/x",
        grants=[DeliveryMouldGrant(*grant) for grant in grants],
        parts=list(zip(categories, opens, strict=False)),
    )
    keys = [ks[: len(deliveries)], ks[3 : 3 + len(deliveries)]]
    handles = [[key[n : n + 16] for key in column] for n, column in enumerate(keys)]
    texts = [[{"field": category + "x" * at} for at, _ in enumerate(deliveries)] for category in categories]
    found = mould.seal(
        deliveries,
        handles,
        keys,
        [[*map(encode_delivered, column)] for column in texts],
        stream()(mould.draws * len(deliveries)),
    )
    draw, expected = stream(), []
    for at, delivery in enumerate(deliveries):
        own = [
            Grant(
                purpose=purpose,
                period=Period(period),
                terms=Terms(terms),
                handle=Handle(column[at]),
                decided=Seq(decided),
                use_until=Micros(until),
            )
            for (purpose, period, terms, decided, until), column in zip(grants, handles, strict=True)
        ]
        header = DeliveryHeader(DeliveryId(delivery), 2, "form/x", own)
        parts = [
            DeliveredPart(category, opened, column[at])
            for category, opened, column in zip(categories, opens, texts, strict=False)
        ]
        boxes = seal_delivery(header, parts, [column[at] for column in keys], "crm", draw)
        expected.append(flat([(box.sealed, [wrap.key for wrap in box.wraps]) for box in boxes]))
    columns = [list(each) for each in zip(*expected, strict=True)]
    assert found == columns if deliveries and categories else not any(found)


@given(
    values=st.lists(st.one_of(st.none(), st.text(), st.integers(0, 9), st.just({"a": "b"})), max_size=4),
    names=st.lists(st.text(), min_size=4, max_size=4, unique=True),
)
def test_fields_are_written_as_sealing_writes_them(values: list[Clear], names: list[str]) -> None:
    """Of any field names and values, absent ones left out; a delivery of no field is none."""
    there = {name: str(value) for name, value in zip(names, values, strict=False) if value is not None}
    layout = FieldsText([(at, name) for at, name in enumerate(names[: len(values)])], "at\n")
    expected = encode_delivered({**there, "at\n": "2026"}) if there and "at\n" not in there else None
    if expected is not None or not there:
        assert layout.text(values, "2026") == expected


@given(key=st.binary(min_size=1, max_size=100), label=st.binary(max_size=20), text=st.binary(max_size=200))
def test_every_way_to_a_mac_is_hmac(key: bytes, label: bytes, text: bytes) -> None:
    """Two hashes, an HMAC begun before, and the library's agree for keys of every length."""
    expected = hmac.digest(key, label + text, "sha256")
    assert hmac_sha256(key, label + text) == expected
    assert keyed(key, label).digest(text) == Keyed(key, label).digest(text) == expected
