"""What people say outside forms, into `SignalReceived`: consents, withdrawals, unsubscriptions, anchors."""

import hashlib
from collections.abc import Callable
from typing import Any, get_args

from lapse.collector import values
from lapse.collector.arrival import Arrival
from lapse.collector.http import Problem
from lapse.collector.settings import Limits
from schemas.ids import EventId, Micros, RequestId
from schemas.models import (
    Anchor,
    AnchorReached,
    ConsentStated,
    ConsentStatement,
    Identifier,
    Right,
    RightsRequested,
    SignalBody,
    SignalReceived,
    Via,
)
from schemas.plan import PolicyPlan
from vault.tokens import PixelToken

_MEMBERS = ("event_id", "collected_at", "identifiers", "cookie_id", "via", "notice", "consents", "body")
_VIA: dict[str, Via] = {"banner": "banner", "unsubscribe": "unsubscribe", "form": "form", "gpc": "gpc"}
"""What a site may say; operators and processors have ways of their own."""
_ANCHORS: dict[str, Anchor] = {each: each for each in get_args(Anchor)}


def stated(
    document: dict[str, Any], arrival: Arrival, limits: Limits, random: Callable[[int], bytes]
) -> SignalReceived:
    """Read `{identifiers[] | cookie_id, consents[] | body{type, ...}, via?, notice?}`."""
    members = values.only(document, _MEMBERS, "")
    arrival.only_servers(members.get("collected_at"), "/collected_at")
    arrival.only_servers(members.get("event_id"), "/event_id")
    identifiers = [
        values.identifier(each, f"/identifiers/{n}")
        for n, each in enumerate(values.items(members.get("identifiers"), limits.fields, "/identifiers"))
    ]
    cookie = values.optional(values.name, members.get("cookie_id"), "/cookie_id")
    if cookie:
        identifiers.append(Identifier(kind="cookie", value=cookie))
    if not identifiers:
        raise values.wrong("say who states it: identifiers or cookie_id", "/identifiers")
    via = _VIA.get(values.name(members.get("via", "banner"), "/via"))
    if via is None:
        raise values.wrong(f"via is one of {', '.join(_VIA)}", "/via")
    collected_at = values.optional(values.instant, members.get("collected_at"), "/collected_at")
    event_id = values.optional(values.event_id, members.get("event_id"), "/event_id") or EventId(random(16))
    return SignalReceived(
        event_id=event_id,
        collected_at=arrival.at if collected_at is None else collected_at,
        site=arrival.site,
        identifiers=identifiers,
        via=via,
        body=_body(members, arrival, limits, event_id),
    )


def _body(members: dict[str, Any], arrival: Arrival, limits: Limits, event_id: EventId) -> SignalBody:
    notice = values.optional(values.name, members.get("notice"), "/notice")
    raw, where = members.get("body"), "/body"
    if raw is None:
        raw, where = {"type": "ConsentStated", "consents": members.get("consents")}, ""
    elif "consents" in members:
        raise values.wrong("give consents or a body, not both", "/consents")
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind == "ConsentStated":
        return _consents(values.only(raw, ("type", "consents"), where), notice, where, arrival, limits)
    if kind == "AnchorReached":
        arrival.only_servers(kind, where)
        return _anchor(values.only(raw, ("type", "anchor", "reached_at"), where), where)
    if kind == "RightsRequested":
        rights = values.only(raw, ("type", "right", "purposes"), where)
        return _asked(rights, where, arrival, limits, event_id)
    raise values.wrong("a body is ConsentStated, RightsRequested or AnchorReached", f"{where}/type")


def _asked(
    raw: dict[str, Any], where: str, arrival: Arrival, limits: Limits, event_id: EventId
) -> RightsRequested:
    """A person's request; its id follows from site and event, so that sending it again asks once."""
    rules = arrival.plan.rights.items()
    named: dict[str, Right] = {right: right for right, rule in rules if rule.named or right == "erasure"}
    right = named.get(values.name(raw.get("right"), f"{where}/right"))
    if right is None:
        what = f"the policy names these rights: {', '.join(named) or 'none'}"
        raise Problem(422, "right_not_named", what, f"{where}/right")
    listed = raw.get("purposes", [])
    purposes = [
        values.name(each, f"{where}/purposes/{n}")
        for n, each in enumerate(values.items(listed, limits.fields, f"{where}/purposes"))
    ]
    for n, purpose in enumerate(purposes):
        if purpose not in arrival.plan.purpose_numbers:
            raise Problem(422, "unknown_purpose", "the policy has no such purpose", f"{where}/purposes/{n}")
    digest = hashlib.sha256(f"lapse/v1/request\n{arrival.site}\n".encode() + event_id).digest()
    return RightsRequested(request_id=RequestId(digest[:16]), right=right, purposes=purposes)


def _consents(
    raw: dict[str, Any], notice: str | None, where: str, arrival: Arrival, limits: Limits
) -> ConsentStated:
    consents = values.consents(raw.get("consents"), limits.fields, notice, f"{where}/consents")
    if not consents:
        raise values.wrong("state at least one consent", f"{where}/consents")
    values.known_purposes(consents, arrival.plan, f"{where}/consents")
    return ConsentStated(consents=consents)


def _anchor(raw: dict[str, Any], where: str) -> AnchorReached:
    anchor = _ANCHORS.get(values.name(raw.get("anchor"), f"{where}/anchor"))
    if anchor is None:
        raise values.wrong(f"an anchor is one of {', '.join(_ANCHORS)}", f"{where}/anchor")
    return AnchorReached(
        anchor=anchor, reached_at=values.instant(raw.get("reached_at"), f"{where}/reached_at")
    )


def unsubscribed(token: PixelToken, event_id: EventId, at: Micros, plan: PolicyPlan) -> SignalReceived:
    """One click in a mail withdraws every purpose mail is sent for (RFC 8058); Problem 404 if none is."""
    by_mail = [
        purpose.name
        for purpose in plan.purposes
        if purpose.channel == "email" and purpose.basis in {"consent", "legitimate_interests"}
    ]
    if not by_mail:
        raise Problem(404, "not_found", "the policy has no purpose one could unsubscribe from")
    return SignalReceived(
        event_id=event_id,
        collected_at=at,
        site=token.site,
        identifiers=[Identifier(kind="token", value=token.identifier)],
        via="unsubscribe",
        body=ConsentStated(consents=[ConsentStatement(purpose=each, granted=False) for each in by_mail]),
    )
