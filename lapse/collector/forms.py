"""A form's body into `FormSubmitted`. Pure: the request's circumstances and randomness are arguments."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from lapse.collector import usual, values
from lapse.collector.arrival import Arrival, joined
from lapse.collector.body import Pairs, read_json
from lapse.collector.http import Problem, pointer
from schemas.ids import EventId, Micros
from schemas.models import Clear, ConsentStatement, FormSubmitted, Identifier
from schemas.plan import SourcePlan

_MEMBERS = (
    "event_id",
    "fields",
    "consents",
    "notice",
    "signals",
    "collected_at",
    "backfill",
    "nonce",
    "rendered_at",
)
_CONSENT = "consent."
_FIELD = "fields."
_GRANTED = {"on": True, "off": False}
_MILLISECONDS_FROM = 100_000_000_000
"""A number this large cannot be seconds since 1970: it is what JavaScript's Date.now() gives."""


class Submission(Clear, frozen=True, kw_only=True):
    """A form's body, whatever media type it came in; `rendered_at` is when the page was shown."""

    fields: dict[str, str]
    consents: list[ConsentStatement]
    event_id: EventId | None = None
    collected_at: Micros | None = None
    notice: str | None = None
    signals: list[str] = msgspec.field(default_factory=list)
    backfill: bool = False
    nonce: str | None = None
    rendered_at: Micros | None = None


def from_bytes(data: bytes, most: int) -> Submission:
    """Read a JSON body, quickly where it is a usual one; Problem as `read_json` and `from_json`."""
    found = usual.form(data, most)
    if found is None:
        return from_json(read_json(data), most)
    return Submission(
        fields=found.fields,
        consents=usual.consents(found.consents, found.notice) if found.consents else [],
        event_id=None if found.event_id is None else values.event_id(found.event_id, "/event_id"),
        collected_at=None
        if found.collected_at is None
        else values.instant(found.collected_at, "/collected_at"),
        notice=found.notice,
        signals=[] if found.signals is None else values.signals(found.signals, "/signals"),
        backfill=found.backfill is not False and values.flag(found.backfill, "/backfill"),
        nonce=found.nonce,
        rendered_at=None if found.rendered_at is None else _rendered(found.rendered_at, "/rendered_at"),
    )


def from_json(document: dict[str, Any], most: int) -> Submission:
    """Read `{event_id?, fields{}, consents[], notice, signals[], collected_at?, nonce?, rendered_at?}`."""
    members = values.only(document, _MEMBERS, "")
    notice = values.optional(values.name, members.get("notice"), "/notice")
    return Submission(
        fields=values.texts(members.get("fields"), most, "/fields"),
        consents=values.consents(members.get("consents"), most, notice, "/consents"),
        event_id=values.optional(values.event_id, members.get("event_id"), "/event_id"),
        collected_at=values.optional(values.instant, members.get("collected_at"), "/collected_at"),
        notice=notice,
        signals=values.signals(members.get("signals"), "/signals"),
        backfill=values.flag(members.get("backfill", False), "/backfill"),
        nonce=values.optional(values.name, members.get("nonce"), "/nonce"),
        rendered_at=_rendered(members.get("rendered_at"), "/rendered_at"),
    )


def from_pairs(pairs: Pairs, source: SourcePlan) -> Submission:
    """Read a plain HTML form: the same names, `consent.<purpose>=on|off`, and the rest are fields.

    A box shadowed by a hidden `off` sends both, so the last statement about a purpose counts. A field sent
    several times (a choice of many) is joined with a comma. A name of `source` is a field even if it is ours.
    """
    fields: dict[str, str] = {}
    stated: dict[str, bool] = {}
    ours: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in source.fields or name == source.honeypot:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        elif name.startswith(_CONSENT):
            stated[name.removeprefix(_CONSENT)] = _granted(value, name)
        elif name in _MEMBERS:
            ours.setdefault(name, []).append(value)
        else:
            fields[name.removeprefix(_FIELD)] = value
    last = {name: found[-1] for name, found in ours.items() if found[-1]}
    notice = values.optional(values.name, last.get("notice"), "/notice")
    return Submission(
        fields=fields,
        consents=[ConsentStatement(purpose=p, granted=g, notice=notice) for p, g in stated.items()],
        event_id=values.optional(values.event_id, last.get("event_id"), "/event_id"),
        collected_at=values.optional(values.instant, last.get("collected_at"), "/collected_at"),
        notice=notice,
        signals=values.signals([each for each in ours.get("signals", []) if each], "/signals"),
        backfill=last.get("backfill") in {"on", "true", "1"},
        nonce=values.optional(values.name, last.get("nonce"), "/nonce"),
        rendered_at=_rendered(last.get("rendered_at"), "/rendered_at"),
    )


def _granted(value: str, name: str) -> bool:
    granted = _GRANTED.get(value.strip().lower())
    if granted is None:
        raise values.wrong("a consent is on or off", pointer("", name))
    return granted


def _rendered(value: object, where: str) -> Micros | None:
    """When the page was shown: seconds or milliseconds since 1970, or RFC 3339."""
    if value is None:
        return None
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len("1000000000000000")
    ):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Micros(value * (1_000 if value >= _MILLISECONDS_FROM else 1_000_000))
    return values.instant(value, where)


def submitted(
    body: Submission, form: str, source: SourcePlan, arrival: Arrival, random: Callable[[int], bytes]
) -> FormSubmitted:
    """The event, or Problem 401 or 422; a suspected bot's event says so in its signals."""
    arrival.only_servers(body.event_id, "/event_id")
    arrival.only_servers(body.collected_at, "/collected_at")
    arrival.only_servers(body.backfill or None, "/backfill")
    fields = body.fields
    if not fields.keys() <= source.fields.keys():
        fields = _without_honeypot(fields, source)
    values.known_purposes(body.consents, arrival.plan, "/consents")
    identifiers = []
    for name, kind in source.identifiers.items():
        if value := fields.get(name, "").strip():
            identifiers.append(Identifier(kind=kind, value=value))
    return FormSubmitted(
        event_id=body.event_id or _event_id(body, form, arrival, random),
        collected_at=arrival.at if body.collected_at is None else body.collected_at,
        site=arrival.site,
        form=form,
        identifiers=identifiers,
        fields=fields,
        consents=body.consents,
        notice=body.notice or source.notice,
        signals=joined(arrival.signals, body.signals + suspicions(body, source, arrival.at)),
        backfill=body.backfill,
    )


def _without_honeypot(fields: dict[str, str], source: SourcePlan) -> dict[str, str]:
    for name in fields:
        if name not in source.fields and name != source.honeypot:
            raise Problem(422, "unknown_field", "the policy knows no such field", pointer("/fields", name))
    return {name: value for name, value in fields.items() if name in source.fields}


SUSPICIONS = ("bot:honeypot", "bot:too_fast")
"""The signals the collector adds itself."""


def suspicions(body: Submission, source: SourcePlan, at: Micros) -> list[str]:
    """Why this looks like a bot's: it filled the field nobody sees, or was faster than a person."""
    found = []
    if source.honeypot is not None and body.fields.get(source.honeypot, ""):
        found.append(SUSPICIONS[0])
    if body.rendered_at is not None and 0 <= at - body.rendered_at < source.min_fill:
        found.append(SUSPICIONS[1])
    return found


def reason_of(signal: str) -> str:
    """The metric's word for a signal: whoever publishes can write anything behind `bot:`."""
    if not signal.startswith("bot:"):
        return ""
    return signal.removeprefix("bot:") if signal in SUSPICIONS else "stated"


def _event_id(body: Submission, form: str, arrival: Arrival, random: Callable[[int], bytes]) -> EventId:
    """The same id for the same key or nonce, so that a repeated request is one event; random without one."""
    key = arrival.idempotency_key or body.nonce
    if key is None:
        return EventId(random(16))
    parts = (b"lapse/v1/idempotency", arrival.site.encode(), form.encode(), key.encode())
    return EventId(hashlib.sha256(b"\0".join(parts)).digest()[:16])
