"""The routes that take something in: forms, browser events, signals and unsubscriptions."""

from math import ceil

from lapse.collector import beacons, forms, metrics, signals
from lapse.collector.access import prefix_of
from lapse.collector.arrival import Arrival
from lapse.collector.body import Body, read_body, read_json, read_pairs
from lapse.collector.dryrun import Document, Payload, foresee
from lapse.collector.edge import Edge
from lapse.collector.http import Problem, Request, Response, json_response
from lapse.collector.rates import Rates
from lapse.collector.wire import to_send
from schemas.models import CookieObserved, FormSubmitted, RightsRequested
from schemas.plan import SourcePlan
from vault import tokens

_TRUE = {"1", "true"}
_ONE_CLICK = ("List-Unsubscribe", "One-Click")


def _limit(rates: Rates, key: tuple[str, str], request: Request, arrival: Arrival) -> None:
    """Raise Problem 429 for a browser over the rate; servers speak for many people from one address."""
    if arrival.server:
        return
    wait = rates.take((*key, prefix_of(request.address)), arrival.at / 1_000_000)
    if wait:
        retry = ((b"retry-after", str(max(1, ceil(wait))).encode()),)
        raise Problem(429, "rate_limited", "too many requests from this network", headers=retry)


def _dry(request: Request) -> bool:
    return request.query.get("dry_run", "") in _TRUE


def _names(event: FormSubmitted | CookieObserved) -> frozenset[str]:
    """The fields an event brings, as the policy names them."""
    if isinstance(event, FormSubmitted):
        return frozenset(event.fields)
    members = ("cookie_id", "name", "url", "referrer", "ip", "user_agent")
    properties = (f"properties.{name}" for name in event.properties)
    return frozenset((*(name for name in members if getattr(event, name) is not None), *properties))


def _foreseen(event: FormSubmitted | CookieObserved, source: SourcePlan, arrival: Arrival) -> Document:
    """What would happen to an event."""
    payload = Payload(
        fields=_names(event),
        consents=event.consents,
        signals=event.signals,
        collected_at=min(event.collected_at, arrival.at),
    )
    return foresee(payload, source, arrival.plan, arrival.at)


# ---- forms -------------------------------------------------------------------------------------------------
def _form(name: str, arrival: Arrival) -> SourcePlan:
    """The form's plan; Problem 404 for one the policy or site does not have, 401 for one servers publish."""
    source = arrival.plan.sources.get(f"form/{name}")
    if source is None or (source.sites and arrival.site not in source.sites):
        raise Problem(404, "unknown_form", "the policy knows no such form of this site")
    if source.servers_only and not arrival.server:
        raise Problem(401, "unauthorized", "only a server's bearer token may send this form")
    return source


async def take_form(edge: Edge, request: Request, name: str) -> Response:
    """POST /f/{form}: 202 with the event id, or 303 to the form's page after a plain HTML post."""
    arrival = edge.arrival(request)
    source = _form(name, arrival)
    _limit(edge.form_rates, (arrival.site, name), request, arrival)
    limits = edge.settings.limits
    body = await read_body(request, limits, ("json", "urlencoded", "multipart"))
    if body.media == "json":
        submission = forms.from_bytes(body.data, limits.fields)
    else:
        submission = forms.from_pairs(read_pairs(body, limits), source)
    event = forms.submitted(submission, name, source, arrival, edge.random)
    if _dry(request):
        return json_response(200, {"dry_run": True, **_foreseen(event, source, arrival)})
    if event.signals:
        for reason in sorted({forms.reason_of(signal) for signal in event.signals} - {""}):
            metrics.SUSPECT.labels(reason).inc()
    stored = await edge.delivery.store([to_send(event)])
    page = _page(request, body, source, arrival)
    if page is not None:
        return Response(status=303, headers=((b"location", page.encode()),))
    return json_response(202, {"event_id": event.event_id.hex(), "stored": stored})


def _page(request: Request, body: Body, source: SourcePlan, arrival: Arrival) -> str | None:
    """Where a browser that posted a plain form goes next; None for scripts or without a configured page."""
    navigates = request.headers.get("sec-fetch-mode") == "navigate"
    asks_html = "text/html" in request.headers.get("accept", "")
    if source.redirect is None or body.media == "json" or not (navigates or asks_html):
        return None
    if not source.redirect.startswith("/"):
        return source.redirect
    origin = request.headers.get("origin", "")
    plan = arrival.plan.sites.get(arrival.site)
    origins = sorted(plan.origins) if plan else []
    # A path is the site's, not the collector's.
    home = origin if origin in origins else origins[0] if origins else ""
    return home + source.redirect


# ---- browser events ----------------------------------------------------------------------------------------
async def take_beacons(edge: Edge, request: Request, _rest: str) -> Response:
    """POST /e: 204, or 202 with the ids where `?ids=1` asks for them."""
    arrival = edge.arrival(request)
    source = arrival.plan.sources.get("cookie")
    if source is None:
        raise Problem(404, "unknown_source", "the policy takes no browser events")
    _limit(edge.beacon_rates, (arrival.site, "e"), request, arrival)
    limits = edge.settings.limits
    body = await read_body(request, limits, ("json", "text"))
    events = beacons.observed(body.data, source, arrival, limits, edge.random)
    if _dry(request):
        foreseen = [_foreseen(event, source, arrival) for event in events]
        return json_response(200, {"dry_run": True, "events": foreseen})
    stored = await edge.delivery.store([to_send(event) for event in events]) if events else "kafka"
    if request.query.get("ids", "") in _TRUE:
        ids = [event.event_id.hex() for event in events]
        return json_response(202, {"event_ids": ids, "stored": stored})
    return Response(status=204)


# ---- signals -----------------------------------------------------------------------------------------------
async def take_signal(edge: Edge, request: Request, _rest: str) -> Response:
    """POST /s and POST or PUT /c: consent stated outside a form, or a right asked for.

    202 with the event id, and with the request's, by which it is found again.
    """
    arrival = edge.arrival(request)
    _limit(edge.form_rates, (arrival.site, "s"), request, arrival)
    limits = edge.settings.limits
    body = await read_body(request, limits, ("json", "text"))
    event = signals.stated(read_json(body.data), arrival, limits, edge.random)
    stored = await edge.delivery.store([to_send(event)])
    asked = {"request_id": event.body.request_id.hex()} if isinstance(event.body, RightsRequested) else {}
    return json_response(202, {"event_id": event.event_id.hex(), "stored": stored, **asked})


async def unsubscribe(edge: Edge, request: Request, token: str) -> Response:
    """POST /u/{token}: RFC 8058's one click; no redirect, no cookie, no login, as often as one likes.

    An expired token still unsubscribes: nobody is kept on a list because a mail is old.
    """
    read = tokens.read(token, edge.pixel_keys, edge.credentials.sites)
    if read is None:
        raise Problem(404, "token_invalid", "no mail carries this link")
    limits = edge.settings.limits
    body = await read_body(request, limits, ("urlencoded", "multipart"))
    if _ONE_CLICK not in read_pairs(body, limits):
        raise Problem(422, "bad_argument", "the body must be List-Unsubscribe=One-Click")
    at = edge.now()
    event_id = tokens.unsubscribe_id(edge.pixel_keys, read.message_id, at // 1_000_000)
    event = signals.unsubscribed(read, event_id, at, edge.plan())
    stored = await edge.delivery.store([to_send(event)])
    return json_response(200, {"event_id": event.event_id.hex(), "stored": stored})
