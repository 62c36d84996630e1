"""The codec's refusals and its way through schema versions and other sources of ids."""

import copy
from typing import Any

import pytest

from schemas import codec, framing
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from schemas.errors import BadInput, LapseError, Rejected
from schemas.ids import EventId, Micros, RequestId
from schemas.models import (
    Command,
    EmailOpened,
    FormSubmitted,
    Identifier,
    RightsRequested,
    SignalReceived,
)

CATALOGUE = Catalogue.load()
CANARY = "canary-7f3a@example.org"


def form(**changes: Any) -> FormSubmitted:
    """Return a form with a canary in it."""
    values: dict[str, Any] = {
        "event_id": EventId(b"e" * 16),
        "collected_at": Micros(1_700_000_000_000_000),
        "site": "www",
        "form": "demo",
        "identifiers": [Identifier(kind="email", value=CANARY)],
        "fields": {"email": CANARY},
        "consents": [],
    }
    return FormSubmitted(**{**values, **changes})


class Ids:
    """Schema ids and schemas as a test wants them."""

    def __init__(self, schemas: dict[int, Any], latest: int = 1) -> None:
        self._schemas = schemas
        self._latest = latest

    def id_of(self, name: str) -> int:
        """Return one id for forms, none for anything else."""
        if name != "FormSubmitted":
            raise BadInput("schema_unknown", "no schema of this name", name)
        return self._latest

    def schema(self, schema_id: int) -> Any:
        """Return the schema as it was given."""
        return self._schemas[schema_id]


def evolved(**field: Any) -> dict[str, Any]:
    """Return FormSubmitted's schema with one more field."""
    schema = copy.deepcopy(CATALOGUE.schema(1))
    schema["fields"].append(field)
    return schema


def rejected(data: bytes, using: Codec | None = None) -> Rejected:
    """Return why these bytes are rejected."""
    with pytest.raises(Rejected) as caught:
        (using or Codec(CATALOGUE)).decode(data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "framing"),
        (b"\x00\x00\x00\x01", "framing"),
        (b"\x01\x00\x00\x00\x01" + b"x" * 20, "framing"),
        (b"\x00\xff\xff\xff\xff" + b"x" * 20, "framing"),
        (b'{"fields": {}}', "framing"),
        (b"\x00\x00\x00\x23\x29", "schema_unknown"),
        (b"\x00\x00\x00\x00\x01", "schema_mismatch"),
        (b"\x00\x00\x00\x00\x01" + b"x" * framing.MAX_BYTES, "too_large"),
    ],
)
def test_what_cannot_be_read_has_a_code(data: bytes, code: str) -> None:
    """Wrong magic, a short header, an id nobody gave, too few and too many bytes each have their code."""
    assert rejected(data).code == code


def test_a_known_schema_does_not_lift_the_size_limit() -> None:
    """The limit also holds once the schema's reader is cached."""
    using = Codec(CATALOGUE)
    using.decode(using.encode(form()))
    assert rejected(framing.frame(1, b"x" * framing.MAX_BYTES), using).code == "too_large"


def test_bytes_after_the_record_are_refused() -> None:
    """A value holds one record and nothing more: what follows could smuggle data past the policy."""
    assert rejected(codec.encode(form()) + CANARY.encode()).where == "lapse.v1.FormSubmitted"


def test_another_kind_of_record_is_refused() -> None:
    """decode_as takes the record asked for alone."""
    with pytest.raises(Rejected, match="schema_mismatch"):
        codec.decode_as(EmailOpened, codec.encode(form()))


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": b"short"},
        {"event_id": CANARY},
        {"fields": {"email": 7}},
        {"fields": CANARY},
        {"identifiers": [Identifier(kind=CANARY, value=CANARY)]},  # type: ignore[arg-type]
        {"collected_at": 2**63},
        {"site": "\ud800"},
        {"site": object()},
    ],
)
def test_a_record_that_breaks_its_schema_is_not_written(changes: dict[str, Any]) -> None:
    """Nothing is checked at construction, so encoding does; the caller hears the record's kind, no value."""
    with pytest.raises(BadInput) as caught:
        codec.encode(form(**changes))
    assert caught.value.code == "schema_mismatch"
    assert_silent(caught.value)


def test_a_record_over_the_limit_is_not_written() -> None:
    """A record a broker would refuse is turned away before it is sent."""
    with pytest.raises(BadInput, match="too_large"):
        codec.encode(form(fields={"comment": "x" * framing.MAX_BYTES}))


def test_a_union_without_a_known_branch_is_not_written() -> None:
    """A body that is none of the signal's kinds is the caller's mistake."""
    body = RightsRequested(request_id=RequestId(b"r" * 16), right="erasure")
    raw = codec.decode_raw(codec.encode(_signal(body)))[1]
    for broken in ({"type": "FormSubmitted"}, {}, None):
        with pytest.raises(BadInput, match="schema_mismatch"):
            codec.encode_raw(SignalReceived, {**raw, "body": broken})
    del raw["body"]
    with pytest.raises(BadInput, match="schema_mismatch"):
        codec.encode_raw(SignalReceived, raw)


def _signal(body: RightsRequested) -> SignalReceived:
    return SignalReceived(
        event_id=EventId(b"s" * 16), collected_at=Micros(1), site="www", identifiers=[], via="form", body=body
    )


def test_a_model_without_a_schema_cannot_be_written() -> None:
    """The base of all commands travels only as one of them."""
    with pytest.raises(BadInput, match="schema_unknown"):
        codec.schema_id(Command)


def test_no_error_quotes_the_value() -> None:
    """A canary's bytes appear in no error, nor in one chained to it."""
    encoded = codec.encode(form())
    for cut in range(framing.HEADER, len(encoded)):
        assert_silent(rejected(encoded[:cut]))
    at = encoded.index(CANARY.encode())
    assert_silent(rejected(encoded[:at] + b"\xff\xfe" + encoded[at + 2 :]))


def assert_silent(error: LapseError) -> None:
    """Assert that neither the error nor anything that a log would print with it holds the canary."""
    shown: BaseException | None = error
    while shown is not None:
        assert CANARY not in repr(shown) + str(shown)
        assert "canary" not in repr(shown)
        shown = None if shown.__suppress_context__ else shown.__context__


def test_a_record_in_clear_hides_in_logs() -> None:
    """The repr of what a person typed names the kind of record alone, also where rich prints it."""
    assert repr(form()) == "FormSubmitted(...)"
    assert repr(Identifier(kind="email", value=CANARY)) == "Identifier(...)"
    assert form().__rich_repr__() == []


def test_a_chunk_is_read_to_its_end() -> None:
    """One bad value stands among the records as its rejection."""
    good = codec.encode(form())
    found = codec.decode_many([good, b"", good])
    assert [type(each) for each in found] == [FormSubmitted, Rejected, FormSubmitted]


def test_a_newer_writer_is_read_with_our_schema() -> None:
    """A field we do not know is dropped, as Avro's resolution says."""
    newer = evolved(name="mood", type="string", default="")
    writer = Codec(Ids({7: newer}, latest=7))
    data = writer.encode_raw(FormSubmitted, {**raw_form(), "mood": "merry"})
    reader = Codec(Ids({1: CATALOGUE.schema(1), 7: newer}))
    assert reader.decode(data) == form()
    assert reader.decode_raw(data) == (7, raw_form())


def test_an_older_writer_is_read_with_our_defaults() -> None:
    """A field the writer did not have takes its default."""
    older = copy.deepcopy(CATALOGUE.schema(1))
    older["fields"] = [f for f in older["fields"] if f["name"] != "backfill"]
    data = Codec(Ids({3: older}, latest=3)).encode_raw(FormSubmitted, raw_form())
    assert Codec(Ids({1: CATALOGUE.schema(1), 3: older})).decode(data) == form()


def test_a_writer_that_cannot_be_resolved_is_rejected() -> None:
    """A schema under our name that lacks what we need is no reason to guess."""
    poorer = copy.deepcopy(CATALOGUE.schema(1))
    poorer["fields"] = poorer["fields"][:3]
    data = Codec(Ids({3: poorer}, latest=3)).encode_raw(FormSubmitted, raw_form())
    assert rejected(data, Codec(Ids({1: CATALOGUE.schema(1), 3: poorer}))).code == "schema_mismatch"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "Alien", "namespace": "lapse.v1", "fields": []},
        {"type": "record", "name": "FormSubmitted", "namespace": "elsewhere", "fields": []},
        {"type": "record", "name": "FormSubmitted", "fields": []},
        {"type": "record", "name": "EmailOpened", "namespace": "lapse.v1", "fields": []},
        {"type": "record", "name": "FormSubmitted", "namespace": "lapse.v1", "fields": [{"name": "x"}]},
        {"type": "record", "name": "X", "fields": [{"name": "x", "type": "nonsense"}]},
        {"type": "record"},
    ],
)
def test_a_foreign_schema_is_unknown(schema: dict[str, Any]) -> None:
    """A registry may hold anything: other namespaces, other names, nested records, no schema at all."""
    assert (
        rejected(framing.frame(9, b""), Codec(Ids({1: CATALOGUE.schema(1), 9: schema}))).code
        == "schema_unknown"
    )


def test_a_schema_that_drifted_from_its_model_is_caught() -> None:
    """What Avro let through, the model refuses, with the path and without the value."""
    drifted = copy.deepcopy(CATALOGUE.schema(1))
    drifted["fields"][5]["type"] = {"type": "map", "values": "int"}
    using = Codec(Ids({1: drifted}))
    error = rejected(using.encode_raw(FormSubmitted, {**raw_form(), "fields": {CANARY: 7}}), using)
    assert error.where == "$.fields[...]"
    assert_silent(error)
    more = Codec(Ids({1: evolved(name="mood", type="string")}))
    assert rejected(more.encode_raw(FormSubmitted, {**raw_form(), "mood": CANARY}), more).where == "$"


def raw_form() -> dict[str, Any]:
    """Return the form as plain values."""
    return codec.decode_raw(codec.encode(form()))[1]


def test_ids_can_come_from_elsewhere() -> None:
    """`use` swaps the source of ids for the whole process."""
    try:
        codec.use(Ids({77: CATALOGUE.schema(1)}, latest=77))
        assert codec.encode(form())[:5] == b"\x00\x00\x00\x00\x4d"
        assert codec.model(77) is FormSubmitted
    finally:
        codec.use(CATALOGUE)
    assert codec.schema_id(FormSubmitted) == 1


@pytest.mark.parametrize("schema_id", [-1, 2**31])
def test_an_id_must_fit_java(schema_id: int) -> None:
    """The framing has four bytes, and its other readers have a signed int."""
    with pytest.raises(BadInput):
        framing.header(schema_id)


def test_a_frame_is_zero_id_body() -> None:
    """The framing is Confluent's, byte for byte."""
    assert framing.frame(0x01020304, b"body") == b"\x00\x01\x02\x03\x04body"
    assert framing.unframe(b"\x00\x01\x02\x03\x04body") == (0x01020304, b"body")
