"""What a partner is sent, judged by the packages that others wrote: CloudEvents, Standard Webhooks, UUIDs."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from processors.calls import Erase, Write
from processors.messages import (
    CLOUDEVENT,
    Secrets,
    erasure_message,
    message_id,
    read_status,
    request_id,
    write_message,
)
from processors.tokens import make_secret
from schemas.ids import Micros

NOW = Micros(time.time_ns() // 1000)
WRITE = Write(
    key="ab" * 16,
    vendor_id=None,
    version=7,
    set={"name": "Änn \u2028 \U0001f600", "email": "a@b.example"},
    blank=("phone",),
    purposes=(("p", Micros(0)),),
)
ERASE = Erase(key="ab" * 16, vendor_id=None, version=8, cause="erasure")


def test_the_event_is_a_cloudevent_in_another_authors_eyes() -> None:
    """Structured mode, read by the `cloudevents` package with all its required attributes."""
    message = write_message("partner", WRITE, NOW)
    assert message.media_type == CLOUDEVENT
    read = from_structured_event(
        HTTPMessage(headers={"content-type": message.media_type}, body=message.body), JSONFormat()
    )
    assert (read.get_id(), read.get_type(), read.get_subject()) == (
        message.id,
        "lapse.v1.object.set",
        WRITE.key,
    )
    assert read.get_extension("sequence") == "00000000000000000007"
    data = read.get_data()
    assert isinstance(data, dict)
    assert data["set"] == dict(WRITE.set)
    assert data["blank"] == ["phone"]


def test_the_signature_is_one_in_another_authors_eyes() -> None:
    """`standardwebhooks` verifies it under the new secret of a rotation and under the old one."""
    old, new = make_secret(), make_secret()
    now = Micros(time.time_ns() // 1000)  # not NOW: a run may come here long after it was collected
    secrets, message = Secrets((new, old)), write_message("partner", WRITE, now)
    headers = secrets.sign(message, now)
    for key in (old, new):
        Webhook(key).verify(message.body, headers, json_parse=False)
    assert headers["webhook-id"] == message.id
    assert secrets.verified(message.body, headers)
    assert not secrets.verified(message.body + b" ", headers)
    assert not Secrets((make_secret(),)).verified(message.body, headers)


def test_a_stale_signature_is_not_accepted() -> None:
    """Five minutes, either way."""
    now = Micros(time.time_ns() // 1000)
    secrets, message = Secrets((make_secret(),)), write_message("partner", WRITE, now)
    for offset in (-400, 400):
        headers = secrets.sign(message, Micros(now + offset * 1_000_000))
        assert not secrets.verified(message.body, headers)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_no_header_breaks_a_verification(headers: dict[str, str]) -> None:
    """A stranger's headers are wrong, never an error."""
    assert not Secrets((make_secret(),)).verified(b"{}", headers)


def test_an_attempt_repeats_its_id_and_no_other_call_has_it() -> None:
    """Constant over retries, apart by recipient, object, version and kind."""
    assert write_message("partner", WRITE, NOW).id == write_message("partner", WRITE, Micros(NOW + 5)).id
    others = {
        message_id(name, call)
        for name in ("partner", "other")
        for call in (WRITE, ERASE, Erase(key="cd" * 16, vendor_id=None, version=8, cause="erasure"))
    }
    assert len(others) == 6


def test_an_erasure_is_an_opendsr_request() -> None:
    """Its id is a UUIDv4 (RFC 9562), the identity the pseudonym alone, the callback ours."""
    message = erasure_message("partner", ERASE, NOW, "https://keys.example/v1/callbacks/partner/4f")
    body = json.loads(message.body)
    assert uuid.UUID(body["subject_request_id"]).version == 4
    assert body["subject_request_id"] == request_id("partner", ERASE)
    assert body["subject_request_type"] == "erasure"
    assert body["subject_identities"][0]["identity_value"] == ERASE.key
    assert body["status_callback_urls"] == ["https://keys.example/v1/callbacks/partner/4f"]
    assert body["extensions"]["lapse"]["cause"] == "erasure"
    assert json.loads(erasure_message("partner", ERASE, NOW, None).body)["status_callback_urls"] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"subject_request_id": 1}', b"<html>"])
def test_what_is_not_a_status_is_none(body: bytes) -> None:
    """A partner's answer is data to judge."""
    assert read_status(body) is None


def test_no_value_of_a_call_stands_in_its_repr() -> None:
    """A traceback or log line with a call in it shows nobody's data."""
    assert "a@b.example" not in repr(WRITE)
    assert b"a@b.example".decode() not in repr(write_message("partner", WRITE, NOW))
    assert "whsec_" not in repr(Secrets((make_secret(),)))
