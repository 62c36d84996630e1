"""What browsers and our clients usually send, read from JSON in one step in C.

A body that does not fit is no error: it is read again member by member (`forms.from_json`,
`beacons.from_json`), which is the plain version of this and finds what is wrong and where. A property test
holds the two together: what is read here is read there, alike.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from lapse.collector.values import LONGEST_NAME, LONGEST_TEXT
from schemas.models import Clear, ConsentStatement

_Text = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
_Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Consent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A statement about a purpose."""

    purpose: _Name
    granted: bool
    notice: _Name | None = None


class UsualForm(Clear, frozen=True, kw_only=True):
    """A form; what is `Any` is rare, small and still to be judged."""

    fields: dict[str, _Text] = msgspec.field(default_factory=dict)
    consents: list[Consent] = msgspec.field(default_factory=list)
    notice: _Name | None = None
    nonce: _Name | None = None
    event_id: Any = None
    collected_at: Any = None
    signals: Any = None
    backfill: Any = False
    rendered_at: Any = None


class UsualEvent(Clear, frozen=True, kw_only=True):
    """A browser event; what is `Any` is rare, small and still to be judged."""

    name: _Name
    url: _Text
    cookie_id: _Text | None = None
    referrer: _Text | None = None
    ip: _Text | None = None
    user_agent: _Text | None = None
    properties: dict[str, _Text] = msgspec.field(default_factory=dict)
    consents: list[Consent] = msgspec.field(default_factory=list)
    notice: _Name | None = None
    event_id: Any = None
    collected_at: Any = None
    signals: Any = None
    site: Any = msgspec.UNSET


class _Events(Clear, frozen=True, kw_only=True):
    events: list[UsualEvent]


_form = msgspec.json.Decoder(UsualForm)
_events = msgspec.json.Decoder(_Events)


def form(data: bytes, most: int) -> UsualForm | None:
    """Read a form of at most so many fields and statements; None where it is not as usual."""
    try:
        found = _form.decode(data)
    except _UNREADABLE:
        return None
    return None if len(found.fields) > most or len(found.consents) > most else found


def events(data: bytes, most_events: int, most: int) -> list[UsualEvent] | None:
    """Read `{events: [...]}` with at most so many of each; None where it is not as usual."""
    try:
        found = _events.decode(data).events
    except _UNREADABLE:
        return None
    if len(found) > most_events:
        return None
    if any(len(each.properties) > most or len(each.consents) > most for each in found):
        return None
    return found


def consents(stated: Sequence[Consent], notice: str | None) -> list[ConsentStatement]:
    """Statements as the models have them; the body's notice where one names none."""
    return [
        ConsentStatement(purpose=each.purpose, granted=each.granted, notice=each.notice or notice)
        for each in stated
    ]
