"""Browser events into `CookieObserved`. Pure: the request's circumstances and randomness are arguments."""

from collections.abc import Callable
from typing import Any

from lapse.collector import values
from lapse.collector.arrival import Arrival, joined
from lapse.collector.http import Problem, pointer
from lapse.collector.settings import Limits
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
    document: dict[str, Any],
    source: SourcePlan,
    arrival: Arrival,
    limits: Limits,
    random: Callable[[int], bytes],
) -> list[CookieObserved]:
    """Read `{events: [...]}`; Problem 413 for too many, 422 for what the policy does not know."""
    events = values.items(values.only(document, ("events",), "").get("events"), limits.events, "/events")
    return [
        _one(values.only(raw, _MEMBERS, f"/events/{n}"), f"/events/{n}", source, arrival, limits, random)
        for n, raw in enumerate(events)
    ]


def _one(
    raw: dict[str, Any],
    where: str,
    source: SourcePlan,
    arrival: Arrival,
    limits: Limits,
    random: Callable[[int], bytes],
) -> CookieObserved:
    def read(name: str) -> str | None:
        return values.optional(values.text, raw.get(name), f"{where}/{name}")

    def kept(name: str, otherwise: str | None = None) -> str | None:
        """What the policy has no category for is not recorded."""
        return (read(name) or otherwise) if name in source.fields else None

    if raw.get("site", arrival.site) != arrival.site:
        raise Problem(401, "unauthorized", "the credential is another site's", f"{where}/site")
    notice = values.optional(values.name, raw.get("notice"), f"{where}/notice")
    consents = values.consents(raw.get("consents"), limits.fields, notice, f"{where}/consents")
    values.known_purposes(consents, arrival.plan, f"{where}/consents")
    collected_at = values.optional(values.instant, raw.get("collected_at"), f"{where}/collected_at")
    # A server speaks for a browser that is elsewhere: its own address and agent are nobody's data.
    address, agent = (None, None) if arrival.server else (arrival.address, arrival.user_agent)
    return CookieObserved(
        event_id=values.optional(values.event_id, raw.get("event_id"), f"{where}/event_id")
        or EventId(random(16)),
        collected_at=arrival.at if collected_at is None else collected_at,
        site=arrival.site,
        cookie_id=kept("cookie_id"),
        name=values.name(raw.get("name"), f"{where}/name"),
        url=values.text(raw.get("url"), f"{where}/url"),
        referrer=kept("referrer"),
        ip=kept("ip", address),
        user_agent=kept("user_agent", agent),
        properties=_properties(raw.get("properties"), f"{where}/properties", source, limits),
        consents=consents,
        notice=notice or source.notice,
        signals=joined(arrival.signals, values.signals(raw.get("signals"), f"{where}/signals")),
    )


def _properties(value: object, where: str, source: SourcePlan, limits: Limits) -> dict[str, str]:
    found = values.texts(value, limits.fields, where)
    for name in found:
        if _PROPERTY + name not in source.fields:
            raise Problem(422, "unknown_field", "the policy knows no such property", pointer(where, name))
    return found
