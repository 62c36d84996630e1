"""The client's copies of schemas and its bytes are the application's."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lapse_client
from lapse.collector.wire import TOPICS as COLLECTOR_TOPICS
from lapse.collector.wire import to_send
from lapse_client import (
    Consent,
    ConsentStated,
    CookieObserved,
    Delivery,
    EmailOpened,
    FormSubmitted,
    Identifier,
    Invalid,
    Lapse,
    decode,
)
from lapse_client.encoding import TOPICS, catalogue, encode, headers, record_name
from lapse_client.records import Publishable
from schemas import codec, models
from schemas.ids import LapseId, Micros, Period, Sequence, SubjectRef, Terms

SCHEMAS = Path(__file__).parents[3] / "schemas"
ID = bytes(range(16))


def test_the_schemas_are_copies() -> None:
    """Byte for byte, under the ids of the catalogue; one of ours that changed must be copied again."""
    ours = json.loads((SCHEMAS / "catalogue.json").read_text())
    for name, entry in catalogue().items():
        official = ours[str(entry["id"])]
        assert (official["name"], official["sha256"]) == (name, entry["sha256"])
        copy = files(lapse_client).joinpath("avro", entry["file"]).read_bytes()
        assert copy == (SCHEMAS / "avro" / entry["file"]).read_bytes()
        latest = max(each["version"] for each in ours.values() if each["name"] == name)
        assert official["version"] == latest


def test_topics_are_the_collectors() -> None:
    """The client publishes where the collector does."""
    assert {record.__name__: topic for record, topic in COLLECTOR_TOPICS.items()} == TOPICS


_TEXT = st.text(max_size=20)
_CONSENTS = st.lists(
    st.builds(Consent, purpose=_TEXT, granted=st.booleans(), notice=st.none() | _TEXT), max_size=3
)
_TIMES = st.integers(-(2**62), 2**62)


@given(
    st.dictionaries(_TEXT, _TEXT, max_size=4), _CONSENTS, st.lists(_TEXT, max_size=3), st.booleans(), _TIMES
)
def test_a_form_reads_back_in_the_application(
    fields: dict[str, str], consents: list[Consent], signals: list[str], backfill: bool, at: int
) -> None:
    """Whatever is in it, the application's codec reads what the client wrote."""
    event = FormSubmitted(
        site="www",
        form="f",
        fields=fields,
        consents=consents,
        signals=signals,
        backfill=backfill,
        collected_at=at,
    )
    read = codec.decode_as(models.FormSubmitted, encode(event))
    assert (read.event_id, read.collected_at, read.fields) == (event.event_id, at, fields)
    assert (read.signals, read.backfill) == (signals, backfill)
    assert [(c.purpose, c.granted, c.notice) for c in read.consents] == [
        (c.purpose, c.granted, c.notice) for c in consents
    ]


def test_every_record_reads_back_in_the_application() -> None:
    """Opens, browser events and consents too, with the same headers as the collector's."""
    events: list[Publishable] = [
        EmailOpened(site="www", token="t", open_kind="machine", ip="1.2.3.4"),
        CookieObserved(site="www", name="n", url="u", cookie_id="c", properties={"a": "b"}, consents=[]),
        ConsentStated(
            site="www",
            identifiers=[Identifier(kind="email", value="a")],
            consents=[Consent(purpose="p", granted=False)],
            via="unsubscribe",
        ),
    ]
    for event in events:
        read = codec.decode(encode(event))
        assert type(read).__name__ == record_name(event)
        assert codec.encode(read) == encode(event)
        assert isinstance(read, models.EmailOpened | models.CookieObserved | models.SignalReceived)
        assert sorted(headers(event)) == sorted(to_send(read).headers)


def test_what_does_not_fit_is_refused_without_its_value() -> None:
    """A wrong type or a short id is Invalid; the foreign error, which quotes, is not chained."""
    wrong = FormSubmitted(site="www", form="f", fields={"a": "canary-7f3a"}, event_id=b"short")
    with pytest.raises(Invalid) as refused:
        encode(wrong)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert "canary" not in str(refused.value)


def delivered() -> models.RecordDelivered:
    """A delivery of the application's."""
    from schemas.ids import DeliveryId, Handle

    return models.RecordDelivered(
        delivery_id=DeliveryId(ID),
        subject_ref=SubjectRef(ID),
        revision=2,
        source="form/x",
        schema_id=1,
        compartments=[
            models.DeliveredCompartment(
                categories=["user.name"], sealed=b"s", wraps=[models.DeliveredWrap(grant=0, key=b"k" * 40)]
            )
        ],
        grants=[
            models.Grant(
                purpose="p",
                period=Period(-3),
                terms=Terms(1),
                handle=Handle(ID),
                decided=Sequence(7),
                use_until=Micros(5),
            )
        ],
    )


def test_a_consumer_reads_what_the_application_sends() -> None:
    """Deliveries and lapses of every scope; a tick is nothing."""
    found = decode(codec.encode(delivered()))
    assert isinstance(found, Delivery)
    assert (found.delivery_id, found.revision, found.grants[0].period) == (ID, 2, -3)
    assert decode(None) is None
    scopes: list[models.Scope] = [
        models.BucketScope(purpose="p", period=Period(1), terms=Terms(1)),
        models.SubjectScope(subject_ref=SubjectRef(ID), purposes=["p"]),
        models.ProcessorScope(),
    ]
    for scope in scopes:
        lapse = models.Depersonalized(
            lapse_id=LapseId(ID),
            cause="retention",
            scope=scope,
            reaches=Sequence(9),
            control_offset=0,
            effective_at=Micros(1),
            records=3,
        )
        read = decode(codec.encode(lapse))
        assert isinstance(read, Lapse)
        assert read.scope["type"] == type(scope).__name__.removesuffix("Scope")
        assert read.reaches == 9


@given(st.binary(max_size=60))
def test_no_bytes_break_the_consumer(data: bytes) -> None:
    """Garbage, framed or not, is Invalid and nothing else."""
    with pytest.raises(Invalid):
        decode(data)
    framed = b"\0" + catalogue()["RecordDelivered"]["id"].to_bytes(4, "big") + data
    try:
        assert isinstance(decode(framed), Delivery)
    except Invalid as refused:
        assert refused.__cause__ is None


def test_foreign_records_are_not_ours() -> None:
    """A form on a processor's topic is not taken for a delivery."""
    with pytest.raises(Invalid):
        decode(encode(FormSubmitted(site="w", form="f", fields={}, event_id=os.urandom(16))))
