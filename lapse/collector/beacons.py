"""Browser events into `CookieObserved`. Pure: the request's circumstances and randomness are arguments."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from lapse.collector import usual, values
from lapse.collector.arrival import Arrival, joined
from lapse.collector.body import read_json
from lapse.collector.http import Problem, pointer
from lapse.collector.settings import Limits
from lapse.collector.usual import UsualEvent
from schemas.ids import EventId
from schemas.models import CookieObserved
from schemas.plan import SourcePlan

_MEMBERS = (
    "event_id",
    "collected_at",
    "site",
    "cookie_id",
    "name",
    "url",
    "referrer",
    "ip",
    "user_agent",
    "properties",
    "consents",
    "notice",
    "signals",
)
_PROPERTY = "properties."


def observed(
    data: bytes,
    source: SourcePlan,
    arrival: Arrival,
    limits: Limits,
    random: Callable[[int], bytes],
) -> list[CookieObserved]:
    """Read `{events: [...]}`; Problem 400, 413 for too many, 422 for what the policy does not know."""
    found = usual.events(data, limits.events, limits.fields)
    if found is None:
        found = from_json(read_json(data), source, limits)
    return [judged(each, f"/events/{n}", source, arrival, random) for n, each in enumerate(found)]


def from_json(document: dict[str, Any], source: SourcePlan, limits: Limits) -> list[UsualEvent]:
    """Read events member by member; what the policy has no category for is not looked at."""
    events = values.items(values.only(document, ("events",), "").get("events"), limits.events, "/events")
    return [
        _read(values.only(raw, _MEMBERS, f"/events/{n}"), f"/events/{n}", source, limits)
        for n, raw in enumerate(events)
    ]


def _read(raw: dict[str, Any], where: str, source: SourcePlan, limits: Limits) -> UsualEvent:
    def kept(name: str) -> str | None:
        return (
            values.optional(values.text, raw.get(name), f"{where}/{name}") if name in source.fields else None
        )

    notice = values.optional(values.name, raw.get("notice"), f"{where}/notice")
    consents = values.consents(raw.get("consents"), limits.fields, notice, f"{where}/consents")
    return UsualEvent(
        name=values.name(raw.get("name"), f"{where}/name"),
        url=values.text(raw.get("url"), f"{where}/url"),
        cookie_id=kept("cookie_id"),
        referrer=kept("referrer"),
        ip=kept("ip"),
        user_agent=kept("user_agent"),
        properties=values.texts(raw.get("properties"), limits.fields, f"{where}/properties"),
        consents=[usual.Consent(purpose=c.purpose, granted=c.granted, notice=c.notice) for c in consents],
        notice=notice,
        event_id=raw.get("event_id"),
        collected_at=raw.get("collected_at"),
        signals=raw.get("signals"),
        site=raw.get("site", UNSET),
    )


def judged(
    event: UsualEvent, where: str, source: SourcePlan, arrival: Arrival, random: Callable[[int], bytes]
) -> CookieObserved:
    """Judge an event by the policy: Problem 401, 422, or the record."""
    if event.site is not UNSET and event.site != arrival.site:
        raise Problem(401, "unauthorized", "the credential is another site's", f"{where}/site")
    consents = usual.consents(event.consents, event.notice) if event.consents else []
    values.known_purposes(consents, arrival.plan, f"{where}/consents")
    for name in event.properties:
        if _PROPERTY + name not in source.fields:
            at = pointer(f"{where}/properties", name)
            raise Problem(422, "unknown_field", "the policy knows no such property", at)
    collected_at = values.optional(values.instant, event.collected_at, f"{where}/collected_at")
    # A server speaks for a browser that is elsewhere: its own address and agent are nobody's data.
    address, agent = (None, None) if arrival.server else (arrival.address, arrival.user_agent)
    known = source.fields
    return CookieObserved(
        event_id=values.optional(values.event_id, event.event_id, f"{where}/event_id") or EventId(random(16)),
        collected_at=arrival.at if collected_at is None else collected_at,
        site=arrival.site,
        cookie_id=(event.cookie_id or None) if "cookie_id" in known else None,
        name=event.name,
        url=event.url,
        referrer=(event.referrer or None) if "referrer" in known else None,
        ip=(event.ip or address) if "ip" in known else None,
        user_agent=(event.user_agent or agent) if "user_agent" in known else None,
        properties=event.properties,
        consents=consents,
        notice=event.notice or source.notice,
        signals=joined(arrival.signals, values.signals(event.signals, f"{where}/signals")),
    )
