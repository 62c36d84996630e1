"""What a business partner is sent, as bytes: CloudEvents, OpenDSR requests for erasure, signatures.

Pure but for the verification's clock, which is the `standardwebhooks` package's own. Sources: CloudEvents
1.0 JSON format (structured mode), Standard Webhooks 1.0, OpenDSR 2.0 (field names and states; its X.509
signature is replaced by Standard Webhooks', which both sides have anyway).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from processors.calls import Call, Erase, Write
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.times import rfc3339

CLOUDEVENT = "application/cloudevents+json; charset=utf-8"
OBJECT_SET = "lapse.v1.object.set"
"""Type of the event that sets fields, blanks others and states what the object may be used for."""
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request ready to be signed: its constant id, its media type and its body."""

    id: str
    media_type: str
    body: bytes = field(repr=False)


def message_id(processor: str, call: Call) -> str:
    """Return the id of a call: the same for every attempt at it, another one for every other call."""
    kind = "erase" if isinstance(call, Erase) else "set"
    text = "\n".join(("lapse/v1/call", processor, kind, call.key, str(call.version)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def request_id(processor: str, call: Erase) -> str:
    """Return the OpenDSR id of an erasure: the call's id in the shape of a UUIDv4, which OpenDSR asks for."""
    return str(uuid.UUID(bytes=bytes.fromhex(message_id(processor, call)), version=4))


def write_message(processor: str, call: Write, now: Micros) -> Message:
    """Return the CloudEvent that sets one object; `sequence` orders the events of an object."""
    data = {
        "object": call.key,
        "set": call.set,
        "blank": call.blank,
        "purposes": [{"purpose": name, "use_until": rfc3339(until)} for name, until in call.purposes],
    }
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": message_id(processor, call),
        "source": f"urn:lapse:{processor}",
        "type": OBJECT_SET,
        "subject": call.key,
        "time": rfc3339(now),
        "datacontenttype": "application/json",
        "sequence": f"{call.version:020d}",
        "data": data,
    }
    return Message(id=event["id"], media_type=CLOUDEVENT, body=_ENCODER.encode(event))


def erasure_message(processor: str, call: Erase, now: Micros, callback: str | None) -> Message:
    """Return the OpenDSR request that erases one object; why it is erased stands under `extensions`."""
    request: dict[str, Any] = {
        "api_version": "2.0",
        "regulation": "gdpr",
        "subject_request_id": request_id(processor, call),
        "subject_request_type": "erasure",
        "submitted_time": rfc3339(now),
        "subject_identities": [
            {
                "identity_type": "controller_customer_id",
                "identity_value": call.key,
                "identity_format": "raw",
            }
        ],
        "status_callback_urls": [callback] if callback else [],
        "extensions": {"lapse": {"cause": call.cause, "sequence": f"{call.version:020d}"}},
    }
    return Message(
        id=message_id(processor, call), media_type="application/json", body=_ENCODER.encode(request)
    )


@dataclass(frozen=True, slots=True)
class Secrets:
    """The Standard Webhooks secrets shared with a partner: the first signs anew, all sign in a rotation."""

    keys: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, where: str) -> Secrets:
        """Read `whsec_<base64 of 24 to 64 bytes>`, one per line; `BadInput` names the file alone."""
        keys = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
        if not keys or not all(map(_well_formed, keys)):
            raise BadInput(
                "bad_argument",
                "no webhook secret, or not of the form whsec_<base64>",
                where,
                "ask for a new one",
            )
        return cls(keys)

    def sign(self, message: Message, now: Micros) -> dict[str, str]:
        """Return the three headers of Standard Webhooks for a message sent at `now`."""
        moment = dt.datetime.fromtimestamp(now // 1_000_000, tz=dt.UTC)
        text = message.body.decode()
        signatures = (Webhook(key).sign(message.id, moment, text) for key in self.keys)
        return {ID: message.id, TIMESTAMP: str(int(moment.timestamp())), SIGNATURE: " ".join(signatures)}

    def verified(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Return whether the body bears a signature under one of the secrets, at most five minutes old."""
        return any(_verifies(Webhook(key), body, headers) for key in self.keys)


def _verifies(webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (
        WebhookVerificationError,
        ValueError,
        OverflowError,
    ):  # unpacking and base64 of a stranger's header
        return False
    return True


def _well_formed(key: str) -> bool:
    try:
        return key.startswith("whsec_") and 24 <= len(base64.b64decode(key[6:] + "==", validate=False)) <= 64
    except ValueError:
        return False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a partner says of an erasure, in its answer or its callback; other fields are ignored."""

    subject_request_id: str
    request_status: str = "pending"
    expected_completion_time: str | None = None


_STATUS = msgspec.json.Decoder(Status)


def read_status(body: bytes) -> Status | None:
    """Read an OpenDSR status, None where the body is not one."""
    try:
        return _STATUS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_object(body: bytes) -> bool:
    """Return whether a body is a JSON object at all."""
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
