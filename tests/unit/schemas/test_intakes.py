"""What the collector lays out by hand is, byte for byte, what the codec writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec, intakes
from schemas.errors import BadInput
from schemas.ids import EventId, Micros
from schemas.models import (
    ConsentStated,
    ConsentStatement,
    CookieObserved,
    EmailOpened,
    FormSubmitted,
    Identifier,
    Record,
    SignalReceived,
)

IDS = st.binary(min_size=16, max_size=16).map(EventId)
TIMES = st.integers(-(2**63), 2**63 - 1).map(Micros)
TEXTS = st.one_of(st.text(max_size=20), st.just("ü" * 5_000))
MAYBE = st.none() | TEXTS
CONSENTS = st.lists(
    st.builds(ConsentStatement, purpose=TEXTS, granted=st.booleans(), notice=MAYBE), max_size=3
)
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=4)
IDENTIFIERS = st.lists(
    st.builds(
        Identifier, kind=st.sampled_from(["email", "cookie", "phone", "account", "token"]), value=TEXTS
    ),
    max_size=3,
)
FORMS = st.builds(
    FormSubmitted,
    event_id=IDS,
    collected_at=TIMES,
    site=TEXTS,
    form=TEXTS,
    identifiers=IDENTIFIERS,
    fields=MAPS,
    consents=CONSENTS,
    notice=MAYBE,
    signals=st.lists(TEXTS, max_size=2),
    backfill=st.booleans(),
)
OPENS = st.builds(
    EmailOpened,
    event_id=IDS,
    collected_at=TIMES,
    site=TEXTS,
    token=TEXTS,
    open_kind=st.sampled_from(["apple_mpp", "gmail_proxy", "gmail_prefetch", "machine", "direct"]),
    ip=MAYBE,
    user_agent=MAYBE,
)
COOKIES = st.builds(
    CookieObserved,
    event_id=IDS,
    collected_at=TIMES,
    site=TEXTS,
    cookie_id=MAYBE,
    name=TEXTS,
    url=TEXTS,
    referrer=MAYBE,
    ip=MAYBE,
    user_agent=MAYBE,
    properties=MAPS,
    consents=CONSENTS,
    notice=MAYBE,
    signals=st.lists(TEXTS, max_size=2),
)


@given(FORMS | OPENS | COOKIES)
def test_an_event_is_laid_out_as_the_codec_writes_it(event: Record) -> None:
    """Every field, every union branch, long and empty texts."""
    assert intakes.encode(event) == codec.encode(event)


@pytest.mark.parametrize("bits", [7, 13, 14, 20, 21, 22, 27, 28, 51, 62, 63])
def test_times_at_the_edges_of_their_bytes_are_written_alike(bits: int) -> None:
    """Where an encoded time grows by a byte, and where its last bytes are kept from one to the next."""
    for at in (2**bits - 1, 2**bits, -(2**bits), -(2**bits) + 1):
        if -(2**63) <= at < 2**63:
            opened = EmailOpened(
                event_id=EventId(bytes(16)),
                collected_at=Micros(at),
                site="www",
                token="t",
                open_kind="direct",
            )
            assert intakes.encode(opened) == codec.encode(opened)


@pytest.mark.parametrize("at", [2**63, -(2**63) - 1, 2**70])
@pytest.mark.parametrize("kind", [FORMS, OPENS, COOKIES])
@settings(max_examples=3)
@given(st.data())
def test_a_time_that_is_no_long_is_refused(
    kind: st.SearchStrategy[FormSubmitted | EmailOpened | CookieObserved], at: int, drawn: st.DataObject
) -> None:
    """As by the codec: nobody could read it back."""
    with pytest.raises(BadInput):
        intakes.encode(replace(drawn.draw(kind), collected_at=Micros(at)))


def test_what_has_no_layout_goes_by_way_of_the_codec() -> None:
    """Signals are rare."""
    signal = SignalReceived(
        event_id=EventId(bytes(16)),
        collected_at=Micros(1),
        site="www",
        identifiers=[Identifier(kind="email", value="jo@example.org")],
        via="banner",
        body=ConsentStated(consents=[ConsentStatement(purpose="p", granted=True)]),
    )
    assert intakes.encode(signal) == codec.encode(signal)


def test_what_breaks_its_schema_or_is_too_long_is_said_as_the_codec_says_it() -> None:
    """The same error, and no other."""
    good = EmailOpened(
        event_id=EventId(bytes(16)), collected_at=Micros(0), site="www", token="t", open_kind="direct"
    )
    for bad, code in (
        (replace(good, event_id=EventId(b"short")), "schema_mismatch"),
        (replace(good, token="\ud800"), "schema_mismatch"),
        (replace(good, ip=7), "schema_mismatch"),
        (replace(good, open_kind="unheard of"), "schema_mismatch"),
        (replace(good, user_agent="x" * 1_000_001), "too_large"),
    ):
        with pytest.raises(BadInput) as refused:
            intakes.encode(bad)
        assert refused.value.code == code
