"""The records a web server publishes and a processor receives: frozen, keyword-only, silent in logs.

They have the shapes of `avro/`, copies of the application's schemas (a test keeps them the same). What a
publisher may leave out has a default here and is filled in at `publish`.
"""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

IdentifierKind = Literal["email", "cookie", "phone", "account", "token"]
OpenKind = Literal["apple_mpp", "gmail_proxy", "gmail_prefetch", "machine", "direct"]
Via = Literal["banner", "unsubscribe", "form", "gpc"]


MICROS = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Times an event can have, in microseconds: the years 1 to 9999."""


def new_event_id() -> bytes:
    """16 random bytes."""
    return os.urandom(16)


def now_micros() -> int:
    """Microseconds since 1970, by this machine's clock."""
    return time.time_ns() // 1000


def micros(at: datetime) -> int:
    """An aware datetime as microseconds since 1970; ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a time needs its offset")
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class Silent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value whose repr names its type alone: personal data must not reach a log by accident."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class Identifier(Silent, frozen=True, kw_only=True):
    """A name by which a person is known."""

    kind: IdentifierKind
    value: str


class Consent(Silent, frozen=True, kw_only=True):
    """What a person says now about one purpose; never a repetition of what they once said."""

    purpose: str
    granted: bool
    notice: str | None = None


class Event(Silent, frozen=True, kw_only=True):
    """What every published record has; `collected_at` in microseconds since 1970."""

    event_id: bytes = msgspec.field(default_factory=new_event_id)
    collected_at: int = msgspec.field(default_factory=now_micros)
    site: str = ""


class FormSubmitted(Event, frozen=True, kw_only=True):
    """A form a person sent; identifiers are read from its fields by the policy where none are given."""

    form: str
    fields: Mapping[str, str]
    identifiers: list[Identifier] = []
    consents: list[Consent] = []
    notice: str | None = None
    signals: list[str] = []
    backfill: bool = False


class EmailOpened(Event, frozen=True, kw_only=True):
    """A mail's clear gif was fetched from a server of your own (over Kafka only)."""

    token: str
    open_kind: OpenKind = "direct"
    ip: str | None = None
    user_agent: str | None = None


class CookieObserved(Event, frozen=True, kw_only=True):
    """A browser showed how the site is used."""

    name: str
    url: str
    cookie_id: str | None = None
    referrer: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    properties: Mapping[str, str] = {}
    consents: list[Consent] = []
    notice: str | None = None
    signals: list[str] = []


class ConsentStated(Event, frozen=True, kw_only=True):
    """Consent given or withdrawn outside a form; it travels as `SignalReceived`."""

    identifiers: list[Identifier]
    consents: list[Consent]
    via: Via = "banner"


Publishable = FormSubmitted | EmailOpened | CookieObserved | ConsentStated


# ---- what a processor receives -----------------------------------------------------------------------------
class Wrap(Silent, frozen=True, kw_only=True):
    """A compartment's key, wrapped for grant number `grant`."""

    grant: int
    key: bytes


class Compartment(Silent, frozen=True, kw_only=True):
    """Sealed fields of one category."""

    categories: list[str]
    sealed: bytes
    wraps: list[Wrap]


class Grant(Silent, frozen=True, kw_only=True):
    """A purpose the delivery may be used for, until `use_until` (microseconds) at the latest."""

    purpose: str
    period: int
    terms: int
    handle: bytes
    decided: int
    use_until: int


class Delivery(Silent, frozen=True, kw_only=True):
    """`RecordDelivered`: what one processor may have of one record, sealed."""

    delivery_id: bytes
    subject_ref: bytes
    revision: int
    source: str
    schema_id: int
    compartments: list[Compartment]
    grants: list[Grant]


class Lapse(Silent, frozen=True, kw_only=True):
    """`Depersonalized`: remove your copy of what it reaches; `scope` is `{type, ...}` as docs/wire.md says.

    It reaches deliveries whose grants have `decided` below `reaches`.
    """

    lapse_id: bytes
    cause: str
    scope: Mapping[str, Any]
    reaches: int
    control_offset: int
    effective_at: int
    records: int
    root: bytes | None = None
    answer_by: int | None = None
