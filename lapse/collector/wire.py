"""An intake record as it goes to Kafka: Confluent framing, CloudEvents binary headers, nothing personal."""

from lapse.collector.framing import Spooled
from schemas import codec
from schemas.models import CookieObserved, EmailOpened, FormSubmitted, SignalReceived
from schemas.times import rfc3339

Intake = FormSubmitted | EmailOpened | CookieObserved | SignalReceived
TOPICS: dict[type[Intake], str] = {
    FormSubmitted: "intake.form",
    EmailOpened: "intake.email-open",
    CookieObserved: "intake.cookie",
    SignalReceived: "intake.signal",
}


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
