"""An intake record as it goes to Kafka: Confluent framing, CloudEvents binary headers, nothing personal."""

from functools import lru_cache

from lapse.collector.framing import Spooled
from schemas import intakes
from schemas.models import CookieObserved, EmailOpened, FormSubmitted, SignalReceived
from schemas.times import rfc3339_once

Intake = FormSubmitted | EmailOpened | CookieObserved | SignalReceived
TOPICS: dict[type[Intake], str] = {
    FormSubmitted: "intake.form",
    EmailOpened: "intake.email-open",
    CookieObserved: "intake.cookie",
    SignalReceived: "intake.signal",
}
_Header = tuple[str, bytes]
_SPEC: _Header = ("ce_specversion", b"1.0")
_AVRO: _Header = ("content-type", b"application/avro")
_KINDS: dict[type[Intake], _Header] = {
    each: ("ce_type", f"lapse.v1.{each.__name__}".encode()) for each in TOPICS
}


@lru_cache(maxsize=1024)
def _source(site: str) -> _Header:
    return "ce_source", f"/sites/{site}".encode()


def to_send(record: Intake) -> Spooled:
    """Frame a record for its topic; raises BadInput where it does not fit its schema."""
    kind = type(record)
    headers = [
        _SPEC,
        ("ce_id", record.event_id.hex().encode()),
        _source(record.site),
        _KINDS[kind],
        ("ce_time", rfc3339_once(record.collected_at).encode()),
        _AVRO,
    ]
    return Spooled(
        topic=TOPICS[kind], event_id=record.event_id, value=intakes.encode(record), headers=headers
    )
