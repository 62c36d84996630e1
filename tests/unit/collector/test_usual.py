"""The quick reading of usual bodies is that of the plain one: alike where it reads, and silent otherwise."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapse.collector import beacons, forms, usual
from lapse.collector.arrival import Arrival
from lapse.collector.body import read_json
from lapse.collector.http import Problem
from lapse.collector.settings import Limits
from schemas.ids import Micros
from schemas.models import CookieObserved
from tests.unit.collector.harness import demo_plans

PLAN = demo_plans().latest
COOKIE = PLAN.sources["cookie"]
ARRIVAL = Arrival(
    site="www", server=True, at=Micros(1_700_000_000_000_000), plan=PLAN, address="192.0.2.1", user_agent="a"
)
LIMITS = Limits(fields=3, events=3)
TEXT = st.text(max_size=4) | st.just("x" * 257) | st.just("x" * 32_769)
ODD = st.none() | st.booleans() | st.integers(-1, 2) | TEXT | st.lists(st.text(max_size=3), max_size=2)
STATEMENTS = st.lists(
    st.dictionaries(st.sampled_from(["purpose", "granted", "notice", "x"]), ODD, max_size=3)
    | st.builds(
        lambda purpose, granted, notice: {"purpose": purpose, "granted": granted, "notice": notice},
        st.sampled_from(["analytics", "marketing_email", "?"]),
        st.booleans(),
        st.none() | st.sampled_from(["", "n"]),
    ),
    max_size=4,
)
TEXTS = st.dictionaries(
    st.sampled_from(["email", "name", "campaign"]) | st.text(max_size=3), TEXT, max_size=4
)
SMALL = {
    "notice": ODD,
    "event_id": ODD | st.just("ab" * 16),
    "collected_at": ODD | st.just("2023-11-14T22:13:20Z"),
    "signals": ODD | st.just(["gpc"]),
}
FORMS = st.fixed_dictionaries(
    {},
    optional=SMALL
    | {
        "fields": TEXTS | ODD,
        "consents": STATEMENTS | ODD,
        "backfill": ODD,
        "nonce": ODD,
        "rendered_at": ODD,
        "x": ODD,
    },
)
EVENTS = st.fixed_dictionaries(
    {"name": st.just("view"), "url": st.just("https://x")},
    optional=SMALL
    | {
        "cookie_id": ODD,
        "referrer": ODD,
        "ip": ODD,
        "user_agent": ODD,
        "site": ODD | st.just("www"),
        "properties": TEXTS | ODD,
        "consents": STATEMENTS | ODD,
        "x": ODD,
    },
)


def said(read: object) -> object:
    """What a reading gives, a problem as its members."""
    try:
        found = read() if callable(read) else None
    except Problem as problem:
        return problem.status, problem.code, problem.what, problem.where
    return found if isinstance(found, list) else msgspec.to_builtins(found)


@given(FORMS)
def test_forms_are_read_alike(document: dict[str, object]) -> None:
    """Whatever stands in a form, the quick way says what the plain way says, problems too."""
    data = msgspec.json.encode(document)
    plain = said(lambda: forms.from_json(read_json(data), LIMITS.fields))
    assert said(lambda: forms.from_bytes(data, LIMITS.fields)) == plain


@given(st.lists(EVENTS, max_size=4))
def test_events_are_read_alike(documents: list[dict[str, object]]) -> None:
    """Whatever stands in events, both ways give the same records or the same problem."""
    data = msgspec.json.encode({"events": documents})

    def plainly() -> list[CookieObserved]:
        read = beacons.from_json(read_json(data), COOKIE, LIMITS)
        return [beacons.judged(each, f"/events/{n}", COOKIE, ARRIVAL, bytes) for n, each in enumerate(read)]

    assert said(lambda: beacons.observed(data, COOKIE, ARRIVAL, LIMITS, bytes)) == said(plainly)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"fields":{"a":1}}', b'{"fields":null}'])
def test_what_is_not_usual_is_left_to_the_plain_way(data: bytes) -> None:
    """No error comes from the quick way."""
    assert usual.form(data, 10) is None
    assert usual.events(data, 10, 10) is None


def test_a_member_that_comes_twice_counts_once_and_last() -> None:
    """JSON leaves it open; both ways agree."""
    data = b'{"fields":{"email":"a"},"fields":{"email":"b","email":"c"}}'
    assert forms.from_bytes(data, 9) == forms.from_json(read_json(data), 9)
    assert forms.from_bytes(data, 9).fields == {"email": "c"}


def test_a_usual_body_is_read_in_one_step() -> None:
    """What browsers and clients send takes the quick way."""
    assert usual.form(b'{"fields":{"email":"a"},"consents":[{"purpose":"p","granted":true}]}', 9)
    assert usual.events(b'{"events":[{"name":"view","url":"https://x","properties":{"a":"b"}}]}', 9, 9)
