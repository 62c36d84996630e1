"""Whatever JSON comes in, an event that the schemas hold comes out, or a refusal: never another error."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lapse.collector import Limits
from lapse.collector.arrival import Arrival
from lapse.collector.beacons import observed
from lapse.collector.dryrun import Payload, foresee
from lapse.collector.forms import from_json, submitted
from lapse.collector.http import Problem
from lapse.collector.signals import stated
from lapse.collector.wire import Intake, to_send
from schemas import codec
from schemas.errors import BadInput
from schemas.ids import Micros
from tests.unit.collector.harness import demo_plans

PLAN = demo_plans().latest
FORM, COOKIE = PLAN.sources["form/request-demo"], PLAN.sources["cookie"]
NOW = Micros(1_790_000_000_000_000)

_text = st.text(max_size=12)
_times = st.sampled_from(["1999-01-01T00:00:00Z", "2099-12-31T23:59:59+01:00", "9999-12-31T23:59:59Z", "x"])
_times_or_numbers = _times | st.integers()
_purposes = st.sampled_from([*PLAN.purpose_numbers, "nope"])
_consents = st.lists(
    st.fixed_dictionaries({"purpose": _purposes, "granted": st.booleans()}, optional={"notice": _text}),
    max_size=3,
)
_odd = st.none() | st.booleans() | st.integers() | _text | st.lists(_text, max_size=2)
_common = {
    "event_id": st.sampled_from(["0" * 32, "0", "f" * 32]) | _odd,
    "collected_at": _times_or_numbers | _odd,
    "consents": _consents | _odd,
    "notice": _text | _odd,
    "signals": st.lists(st.sampled_from(["gpc", "bot:x", "No"]), max_size=2) | _odd,
}
_forms = st.fixed_dictionaries(
    {"fields": st.dictionaries(st.sampled_from([*FORM.fields, "website", "nope"]), _text, max_size=4) | _odd},
    optional={**_common, "nonce": _text | _odd, "rendered_at": _times_or_numbers | _odd, "backfill": _odd},
)
_cookies = st.fixed_dictionaries(
    {"name": _text | _odd, "url": _text | _odd},
    optional={
        **_common,
        "cookie_id": _text | _odd,
        "referrer": _odd,
        "ip": _odd,
        "properties": st.dictionaries(st.sampled_from(["campaign", "x"]), _text, max_size=2) | _odd,
    },
)
_bodies = st.fixed_dictionaries(
    {"type": st.sampled_from(["ConsentStated", "AnchorReached", "RightsRequested", "x"])},
    optional={
        "right": st.sampled_from(["access", "x"]) | _odd,
        "purposes": st.lists(_text, max_size=2) | _odd,
        "consents": _consents,
        "anchor": st.sampled_from(["account_closed", "x"]),
        "reached_at": _times_or_numbers,
    },
)
_identifiers = st.lists(
    st.fixed_dictionaries({"kind": st.sampled_from(["email", "cookie", "x"]), "value": _text}), max_size=2
)
_signals = st.fixed_dictionaries(
    {"identifiers": _identifiers | _odd},
    optional={
        **_common,
        "body": _bodies | _odd,
        "cookie_id": _odd,
        "via": st.sampled_from(["banner", "operator"]),
    },
)


def arrival(server: bool) -> Arrival:
    """A request of the site."""
    return Arrival(site="www", server=server, at=NOW, plan=PLAN, address="203.0.113.5", user_agent="UA")


def travels(make: Callable[[], list[Intake]]) -> list[Intake]:
    """The events, each of which reads back as it was; none where the request is refused."""
    try:
        events = make()
        sent = [to_send(event) for event in events]
    except Problem as refused:
        assert refused.status in {401, 413, 422}
        return []
    except BadInput as refused:
        # Half a surrogate cannot travel; nothing of it is said.
        assert refused.code == "schema_mismatch"
        return []
    for event, spooled in zip(events, sent, strict=True):
        assert codec.decode(spooled.value) == event
    return events


@settings(max_examples=200)
@given(_forms, st.booleans())
def test_any_form(document: dict[str, object], server: bool) -> None:
    """Forms, and what a dry run foresees of them."""

    def make() -> list[Intake]:
        return [submitted(from_json(document, 200), "request-demo", FORM, arrival(server), os.urandom)]

    for event in travels(make):
        payload = Payload(
            fields=frozenset(event.fields),  # type: ignore[union-attr]  # a form
            consents=event.consents,  # type: ignore[union-attr]  # a form
            signals=event.signals,  # type: ignore[union-attr]  # a form
            collected_at=min(event.collected_at, NOW),
        )
        found = foresee(payload, FORM, PLAN, NOW)
        assert found["outcome"] in {"routed", "discarded", "quarantined"}


@settings(max_examples=200)
@given(st.lists(_cookies, max_size=3), st.booleans())
def test_any_browser_events(events: list[dict[str, object]], server: bool) -> None:
    """Batches of browser events."""
    data = msgspec.json.encode({"events": events})
    travels(lambda: [*observed(data, COOKIE, arrival(server), Limits(), os.urandom)])


@settings(max_examples=200)
@given(_signals, st.booleans())
def test_any_signal(document: dict[str, object], server: bool) -> None:
    """Consents and anchors."""
    travels(lambda: [stated(document, arrival(server), Limits(), os.urandom)])
