"""The identifiers and units that travel: each is its own type, so that no two can be mixed up."""

from typing import NewType

Micros = NewType("Micros", int)
"""A point in time or a span: whole microseconds (since the Unix epoch, UTC)."""

EventId = NewType("EventId", bytes)
"""16 bytes chosen by the publisher; unique within its site and source."""
RecordId = NewType("RecordId", bytes)
"""16 bytes: HMAC(id key, site | source kind | event id); the same under redelivery."""
DeliveryId = NewType("DeliveryId", bytes)
"""16 bytes: HMAC(processor secret, record id); two processors cannot join theirs."""
SubjectRef = NewType("SubjectRef", bytes)
"""16 bytes: HMAC(processor secret, subject number); a processor's pseudonym of a person."""
LapseId = NewType("LapseId", bytes)
"""16 bytes naming one depersonalization."""
CommandId = NewType("CommandId", bytes)
"""16 bytes naming one operator's command; a replayed one is recognised by it."""
RequestId = NewType("RequestId", bytes)
"""16 bytes naming one data subject's request."""
Handle = NewType("Handle", bytes)
"""16 bytes: one AES block that leads the vault, and nobody else, from a record to its subject."""

SubjectNumber = NewType("SubjectNumber", int)
"""The internal number of a data subject, known to the vault alone."""
Slot = NewType("Slot", int)
"""Virtual partition 0..255: HMAC(slot key, subject)."""
Period = NewType("Period", int)
"""Index of a bucket's period: floor(collected_at / width of the purpose's period)."""
Terms = NewType("Terms", int)
"""Number of a purpose's retention terms; a longer retention is new terms for newly collected data."""
Sequence = NewType("Sequence", int)
"""The vault's commit number; grants and lapses carry it, so a slow lapse never reaches a re-grant."""

SLOTS = 256
"""Number of virtual slots; a power of two that any partition count up to it divides well."""
