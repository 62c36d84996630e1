"""Sealing, handles, names, identifiers and randomness: pure, checked by properties."""

import os
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import Rejected
from schemas.ids import (
    DeliveryId,
    EventId,
    Handle,
    Micros,
    Period,
    RecordId,
    Slot,
    SubjectNumber,
    SubjectRef,
    Terms,
)
from schemas.ids import Sequence as Seq
from schemas.models import Grant, Identifier, IdentifierKind, Link, RecordDelivered, RecordTagged
from vault import handles
from vault.identity import LONGEST, hashes_of, normalise
from vault.keys import delivery_kek, delivery_root, new_key, random_bytes, unwrap, wrap
from vault.sealing import (
    OVERHEAD,
    DeliveredPart,
    DeliveryHeader,
    Part,
    RecordHeader,
    decode_delivered,
    decode_fields,
    delivery_header_of,
    encode_delivered,
    encode_fields,
    header_of,
    open_delivered,
    open_quarantined,
    open_record,
    quarantine_aad,
    seal,
    seal_delivery,
    seal_quarantined,
    seal_record,
    unseal,
)

KEYS = st.binary(min_size=32, max_size=32)
IDS = st.binary(min_size=16, max_size=16)


# ---- the sealed layout -------------------------------------------------------------------------------------
@given(key=KEYS, clear=st.binary(max_size=200), aad=st.binary(max_size=40))
def test_what_was_sealed_opens_under_its_key_and_aad_only(key: bytes, clear: bytes, aad: bytes) -> None:
    """Round trip; another key, another AAD, or a flip of any bit opens nothing."""
    sealed = seal(key, clear, aad, random_bytes)
    assert len(sealed) == len(clear) + OVERHEAD
    assert unseal(key, sealed, aad) == clear
    assert unseal(key, sealed, aad + b"x") is None
    assert unseal(bytes(32) if any(key) else b"1" * 32, sealed, aad) is None
    for i in range(len(sealed)):
        broken = bytearray(sealed)
        broken[i] ^= 1 << (i % 8)
        assert unseal(key, bytes(broken), aad) is None
    assert unseal(key, sealed[: OVERHEAD - 1], aad) is None


def test_the_commitment_is_checked_before_the_tag() -> None:
    """A ciphertext with a right tag and another key's commitment does not open: one ciphertext, one key."""
    key, other = new_key(), new_key()
    sealed, twin = seal(key, b"x", b"", random_bytes), seal(other, b"x", b"", random_bytes)
    assert unseal(key, twin[:16] + sealed[16:], b"") is None


def test_the_same_thing_sealed_twice_differs() -> None:
    """The nonce is fresh for every sealing, also under a derived key."""
    key = new_key()
    assert seal(key, b"x", b"", random_bytes) != seal(key, b"x", b"", random_bytes)


# ---- records -----------------------------------------------------------------------------------------------
FIELDS = st.lists(
    st.none() | st.text(max_size=9) | st.integers(-(2**60), 2**60) | st.dictionaries(st.text(), st.text())
)


@given(FIELDS)
def test_fields_survive_their_encoding(values: list[str | int | dict[str, str] | None]) -> None:
    """Text, times, maps and absence come back as they were."""
    assert decode_fields(encode_fields(values)) == values


def links(*purposes: int) -> list[Link]:
    """Links with handles that differ."""
    return [
        Link(purpose=p, period=Period(p), terms=Terms(1), handle=Handle(bytes([p]) * 16)) for p in purposes
    ]


def header(of: Sequence[Link], record: bytes = b"r" * 16) -> RecordHeader:
    """A record's header."""
    return RecordHeader(RecordId(record), 1, "form/demo", 3, of)


PARTS = [Part((1, 2), (0,), b"alone"), Part((3,), (0, 1, 2), b"many"), Part((), (1, 2), b"")]


@given(st.lists(KEYS, min_size=3, max_size=3, unique=True))
def test_every_link_opens_its_compartments_and_no_other(ks: list[bytes]) -> None:
    """A compartment opens by any one of its links, and by no link that does not justify it."""
    head = header(links(0, 1, 2))
    sealed = seal_record(head, PARTS, ks, random_bytes)
    for n, part in enumerate(PARTS):
        for link in range(3):
            opened = open_record(head, n, sealed[n], {link: ks[link]})
            assert opened == (part.clear if link in part.links else None)
        assert open_record(head, n, sealed[n], dict(enumerate(ks))) == part.clear
        assert open_record(head, n, sealed[n], {}) is None
        assert open_record(head, n, sealed[n], {link: ks[link][::-1] + b"!" for link in range(3)}) is None


def test_the_first_link_of_a_compartment_wraps_nothing() -> None:
    """Its K and the record make the content key; the other links wrap it."""
    sealed = seal_record(header(links(0, 1, 2)), PARTS, [bytes(32)] * 3, random_bytes)
    assert all(c.wraps[0].key == b"" for c in sealed)
    assert all(len(w.key) == 40 for c in sealed for w in c.wraps[1:]) and len(sealed[1].wraps) > 1


def test_a_compartment_is_bound_to_its_record_and_place() -> None:
    """Another id, revision, source, policy, index, categories or links opens nothing."""
    ks, head = [new_key() for _ in range(3)], header(links(0, 1, 2))
    sealed = seal_record(head, PARTS, ks, random_bytes)
    given_ks = dict(enumerate(ks))
    others = [
        head._replace(record_id=RecordId(b"q" * 16)),
        head._replace(revision=2),
        head._replace(source="form/demo2"),
        head._replace(policy=4),
        head._replace(links=links(0, 1)),
        head._replace(links=[replace(head.links[0], terms=Terms(2)), *head.links[1:]]),
    ]
    for n, _ in enumerate(PARTS):
        for other in others:
            assert open_record(other, n, sealed[n], given_ks) is None
        assert open_record(head, n + 1, sealed[n], given_ks) is None
        assert open_record(head, n, replace(sealed[n], categories=[9]), given_ks) is None


def test_the_header_of_a_record_is_what_was_sealed() -> None:
    """A record read from the log gives the AAD it was sealed with."""
    ks, head = [new_key() for _ in range(3)], header(links(0, 1, 2))
    record = RecordTagged(
        record_id=head.record_id,
        revision=head.revision,
        source=head.source,
        schema_id=1,
        policy=head.policy,
        tagged_at=Micros(1),
        slot=Slot(1),
        links=list(head.links),
        compartments=seal_record(head, PARTS, ks, random_bytes),
    )
    assert header_of(record) == head
    assert open_record(header_of(record), 1, record.compartments[1], {2: ks[2]}) == b"many"


# ---- deliveries --------------------------------------------------------------------------------------------
def grants(*purposes: str) -> list[Grant]:
    """Grants with handles that differ."""
    return [
        Grant(
            purpose=p,
            period=Period(-n),
            terms=Terms(1),
            handle=Handle(bytes([n]) * 16),
            decided=Seq(7),
            use_until=Micros(-9),
        )
        for n, p in enumerate(purposes)
    ]


@given(st.dictionaries(st.text(), st.text()))
def test_delivered_fields_survive_their_encoding(fields: dict[str, str]) -> None:
    """A JSON object of strings comes back as it was."""
    assert decode_delivered(encode_delivered(fields)) == fields


def test_a_delivery_opens_by_any_grant_for_its_processor_and_category_only() -> None:
    """A wrap is bound to processor, delivery, revision, compartment and category; the bytes to it all."""
    ks, head = [new_key(), new_key()], DeliveryHeader(DeliveryId(b"d" * 16), 1, "cookie", grants("a", "b"))
    parts = [DeliveredPart("email", (0, 1), {"email": "x@y"}), DeliveredPart("name", (1,), {"name": "N"})]
    sealed = seal_delivery(head, parts, ks, "crm", random_bytes)
    for n, part in enumerate(parts):
        for w in sealed[n].wraps:
            place = (head.delivery_id, 1, n, part.category)
            key = unwrap(delivery_kek(delivery_root(ks[w.grant], "crm"), *place), w.key)
            assert key is not None
            clear = open_delivered(head, n, sealed[n], key)
            assert clear is not None and decode_delivered(clear) == part.fields
            assert open_delivered(head._replace(source="x"), n, sealed[n], key) is None
            assert open_delivered(head._replace(grants=grants("a")), n, sealed[n], key) is None
            moved = [replace(g, decided=Seq(8)) for g in head.grants]
            assert open_delivered(head._replace(grants=moved), n, sealed[n], key) is None
            wrong = [("mail", place)]
            wrong += [("crm", other) for other in ((DeliveryId(bytes(16)), 1, n, part.category),)]
            wrong += [
                ("crm", (head.delivery_id, 2, n, part.category)),
                ("crm", (head.delivery_id, 1, n + 1, "email")),
            ]
            wrong += [("crm", (head.delivery_id, 1, n, "phone"))]
            for name, other in wrong:
                assert unwrap(delivery_kek(delivery_root(ks[w.grant], name), *other), w.key) is None
    delivered = RecordDelivered(
        delivery_id=head.delivery_id,
        subject_ref=SubjectRef(bytes(16)),
        revision=1,
        source="cookie",
        schema_id=1,
        compartments=sealed,
        grants=list(head.grants),
    )
    assert delivery_header_of(delivered) == head


def test_quarantined_input_opens_whole_under_its_bucket() -> None:
    """Any bytes come back; another record's name or bucket opens nothing."""
    key, name = new_key(), RecordId(b"r" * 16)
    aad = quarantine_aad(name, "intake.form", Micros(5), Period(1), Terms(1))
    sealed = seal_quarantined(key, name, b"\0raw", aad, random_bytes)
    assert open_quarantined(key, name, sealed, aad) == b"\0raw"
    assert open_quarantined(new_key(), name, sealed, aad) is None
    assert open_quarantined(key, RecordId(bytes(16)), sealed, aad) is None


# ---- handles and names -------------------------------------------------------------------------------------
@given(
    KEYS,
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1).map(SubjectNumber), st.integers(0, 2**32 - 1), IDS), max_size=9
    ),
)
def test_handles_lead_back_in_bulk(key: bytes, named: list[tuple[SubjectNumber, int, bytes]]) -> None:
    """Number and generation come back for the id they were made for, and for that bucket only."""
    made = handles.make_handles(key, named)
    asked = [(h, name) for h, (_, _, name) in zip(made, named, strict=True)]
    assert handles.read_handles(key, asked) == [(number, generation) for number, generation, _ in named]


def test_a_handle_of_another_id_bucket_or_shape_leads_nowhere() -> None:
    """Tampered, moved and malformed handles name nobody; two records of one person look unrelated."""
    key, who = handles.handle_key(new_key()), SubjectNumber(7)
    one, two = handles.make_handles(key, [(who, 1, b"a" * 16), (who, 1, b"b" * 16)])
    assert one != two
    asked = [(one, b"b" * 16), (bytes(16), b"a" * 16), (one[:15], b"a" * 16), (one, b""), (one, b"a" * 16)]
    assert handles.read_handles(key, asked) == [None, None, None, None, (who, 1)]
    assert handles.read_handles(handles.handle_key(new_key()), [(one, b"a" * 16)]) == [None]
    assert handles.read_handles(key, []) == []


def test_names_of_one_thing_differ_between_recipients_and_uses() -> None:
    """Ids towards two processors, and ids of two kinds, share nothing."""
    a, b, n = bytes(32), b"1" * 32, SubjectNumber(7)
    record = handles.record_id(a, "www", "form", EventId(b"e" * 16))
    assert record != handles.record_id(a, "ww", "wform", EventId(b"e" * 16))
    assert record == handles.record_id(a, "www", "form", EventId(b"e" * 16))
    names = {
        record,
        handles.delivery_id(a, record),
        handles.delivery_id(b, record),
        handles.subject_ref(a, n),
        handles.subject_ref(b, n),
        handles.lifecycle_tag(a, n, "p", 1),
        handles.lifecycle_tag(a, n, "p", 2),
        handles.alias_hash(a, "email", "x"),
        handles.alias_hash(a, "phone", "x"),
    }
    assert len(names) == 9 and all(len(name) == 16 for name in names)


def test_slots_spread_and_map_to_every_partition() -> None:
    """Every slot occurs; partitions are contiguous ranges of slots."""
    slots = {handles.slot_of(bytes(32), SubjectNumber(n)) for n in range(3000)}
    assert slots == set(range(256))
    for partitions in (1, 3, 4, 256):
        mapped = [handles.partition_of(Slot(s), partitions) for s in range(256)]
        assert mapped == sorted(mapped) and set(mapped) == set(range(partitions))


# ---- identifiers -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "value", "spelt"),
    [
        ("email", "  Ada@Example.ORG ", "ada@example.org"),
        ("email", "Jose\u0301@x", "jos\u00e9@x"),
        ("phone", "+49 (30) 12-34", "+493012 34".replace(" ", "")),
        ("phone", "0049 30 1234", "+49301234"),
        ("phone", "030/1234", "0301234"),
        ("phone", "\u0663\u0664", "34"),
        ("phone", "00", "00"),
        ("cookie", " Ab ", "Ab"),
        ("token", "AB", "AB"),
    ],
)
def test_an_identifier_has_one_spelling(kind: IdentifierKind, value: str, spelt: str) -> None:
    """What people type differently becomes the same."""
    assert normalise(kind, value) == spelt


@pytest.mark.parametrize(
    ("kind", "value"),
    [("email", " "), ("phone", "+"), ("phone", "call me"), ("cookie", ""), ("account", "x" * (LONGEST + 1))],
)
def test_an_empty_or_endless_identifier_is_turned_away(kind: IdentifierKind, value: str) -> None:
    """Nobody is behind it, and the error does not repeat it."""
    with pytest.raises(Rejected) as caught:
        normalise(kind, value)
    assert caught.value.code == "no_subject" and (len(value) < 3 or value not in str(caught.value))


@given(st.text(max_size=20))
def test_a_spelling_is_final(value: str) -> None:
    """Normalising twice is normalising once."""
    for kind in ("email", "account"):
        try:
            once = normalise(kind, value)
        except Rejected:
            continue
        assert normalise(kind, once) == once


def test_hashes_are_distinct_and_in_order() -> None:
    """Two spellings of one identifier are one hash."""
    named = [Identifier(kind="email", value=v) for v in ("b@x", "A@x", "a@X")]
    found = hashes_of(bytes(32), named)
    assert found == (
        handles.alias_hash(bytes(32), "email", "b@x"),
        handles.alias_hash(bytes(32), "email", "a@x"),
    )


# ---- randomness --------------------------------------------------------------------------------------------
@settings(max_examples=20)
@given(st.lists(st.integers(0, 5000), max_size=30))
def test_randomness_gives_what_was_asked_and_never_twice(sizes: list[int]) -> None:
    """Lengths are right, and no 16 bytes repeat."""
    drawn = [random_bytes(n) for n in sizes]
    assert [len(d) for d in drawn] == sizes
    long = [d[:16] for d in drawn if len(d) >= 16]
    assert len(set(long)) == len(long)


def test_a_forked_child_draws_other_bytes() -> None:
    """Nothing a parent drew is drawn again in its child."""
    random_bytes(1)
    read, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, random_bytes(32))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 32) != random_bytes(32)
    os.close(read)
    os.close(write_end)


def test_wrapping_a_key_hides_and_returns_it() -> None:
    """40 bytes, none of them the key."""
    kek, key = new_key(), new_key()
    assert unwrap(kek, wrap(kek, key)) == key and key[:8] not in wrap(kek, key)
