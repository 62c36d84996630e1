"""An intake record as it goes to Kafka: Confluent framing, CloudEvents binary headers, nothing personal."""

from datetime import UTC, datetime, timedelta

from lapse.collector.framing import Spooled
from schemas import codec
from schemas.models import CookieObserved, EmailOpened, FormSubmitted, SignalReceived

Intake = FormSubmitted | EmailOpened | CookieObserved | SignalReceived
TOPICS: dict[type[Intake], str] = {
    FormSubmitted: "intake.form",
    EmailOpened: "intake.email-open",
    CookieObserved: "intake.cookie",
    SignalReceived: "intake.signal",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(micros: int) -> str:
    """An instant as RFC 3339 in UTC, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def to_send(record: Intake) -> Spooled:
    """Frame a record for its topic; raises BadInput where it does not fit its schema."""
    event_id = record.event_id.hex()
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/sites/{record.site}".encode()),
        ("ce_type", f"lapse.v1.{type(record).__name__}".encode()),
        ("ce_time", rfc3339(record.collected_at).encode()),
        ("content-type", b"application/avro"),
    ]
    return Spooled(
        topic=TOPICS[type(record)], event_id=record.event_id, value=codec.encode(record), headers=headers
    )
