"""Parts of the kit by themselves: the oracle, what is found in bytes, the trace, the verb."""

from __future__ import annotations

import hashlib
import json

import pytest

from lapse import conforming
from lapse.cli.app import _run
from processors.conformance import IDS, play
from processors.conformance.cast import Cast
from processors.conformance.leaving import Leaving
from processors.conformance.oracle import Shelf, expected, faults
from processors.conformance.tap import Seen
from processors.conformance.trace import Trace, template
from processors.conformance.values import Clock
from schemas.errors import BadInput, NotFound
from tests.unit.conformance.rest import FIELDS, MANIFEST, party

ALL = {"email": ("mail",), "name": ("mail", "stats")}


def cast() -> Cast:
    """Return an empty run."""
    return Cast(party(), Trace(), "seed", Clock())


def wrong(made: Cast, *objects: dict[str, str], outcomes: dict[bytes, str] | None = None) -> list[str]:
    """Return what the oracle finds wrong about Ann with these objects on the shelf."""
    shelf = Shelf({"objects": [{"id": str(n), "fields": each} for n, each in enumerate(objects)]})
    want = expected(made.given, FIELDS, MANIFEST, outcomes or {})
    return faults("ann", made.given, shelf, want)


def test_the_oracle_wants_the_latest_of_what_lives() -> None:
    """Each field by its latest delivery, at the vendor's name of it."""
    made = cast()
    one, two = made.give("d1", ALL), made.give("d2", {"email": ("mail",)})
    made.handed(one)
    made.handed(two)
    right = {"mail": two.values["email"], "display": one.values["name"]}
    assert wrong(made, right) == []
    assert wrong(made, right | {"mail": one.values["email"]}) == [
        "email of d1 stands there and may not",
        "email of d2 does not stand in mail",
    ]
    assert wrong(made, {"mail": right["mail"]}, {"display": right["display"]})[0] == "ann is 2 objects there"


def test_the_oracle_wants_nothing_of_what_has_ended() -> None:
    """Unless a receipt says that it is left."""
    made = cast()
    one = made.give("d1", ALL)
    made.handed(one)
    lapse = made.ends("mail")
    stands = {"mail": one.values["email"], "display": one.values["name"]}
    assert wrong(made, stands) == ["email of d1 stands there and may not"]
    assert wrong(made, stands, outcomes={lapse.id: "manual_required"}) == []
    assert wrong(made, {"display": one.values["name"]}) == []


def test_a_value_is_found_in_any_request() -> None:
    """Also as a hash where it was never granted; a handle as base64."""
    made = cast()
    one = made.give("d1", {"email": ("mail",), "salary": ("mail",)})
    watch = Leaving(party(), made.given)
    made.handed(one)
    watch.handed(one)

    def judged(raw: str) -> list[str]:
        watch.faults.clear()
        watch.judge(Seen(number=0, method="GET", target="/people/x", raw=raw.encode()))
        return list(watch.faults)

    closed = cast().give("closed", {"email": ("mail",)})
    made.given.append(closed)
    hashed = hashlib.md5(closed.values["email"].encode(), usedforsecurity=False).hexdigest()
    assert judged(hashed) == ["a hash of email of closed leaves in GET /people/x"]
    with watch.open():
        assert judged(one.values["email"]) == []
        assert judged(one.values["salary"]) == ["salary of d1 leaves in GET /people/x and is not granted"]
        assert judged(one.record.grants[0].handle.hex()) == ["a handle (d1, 0) leaves in GET /people/x"]
    assert judged(one.values["email"]) == ["email of d1 leaves in GET /people/x and is not granted"]


def test_a_trace_names_no_one() -> None:
    """Whatever may be somebody's is left out of paths and queries."""
    assert (
        template("/lists/a1b2c3d4e5/members/5f4dcc3b?skip=true&email=a%40b.c")
        == "/lists/{}/members/{}?email&skip"
    )
    assert template("/services/data/v62.0/sobjects/Contact/Subject_Key__c/dd") == (
        "/services/data/v62.0/sobjects/Contact/Subject_Key__c/dd"
    )


async def test_a_run_is_repeatable() -> None:
    """The same seed plays the same, line by line."""
    first = await play(party("forgets to blank"), "lapse_after")
    assert first.trace == (await play(party("forgets to blank"), "lapse_after")).trace


async def test_what_a_recipient_raises_is_a_failure_of_the_situation() -> None:
    """A stranger's connector may do anything."""

    class Loud(Exception):
        pass

    made = party()

    def make(_url: str, _wall: object) -> None:
        raise Loud

    object.__setattr__(made, "make", make)
    result = await play(made, "lapse_after")
    assert (result.held, "Loud" in result.why) == ("failed", True)


def test_the_verb_shows_situations_and_traces(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 where all hold, 1 where one fails; programs get JSON."""
    module = "tests.unit.conformance.rest:"
    one = ["processor", "conform", "--situation", "lapse_after", "-o", "json", "--module"]
    assert _run([*one, f"{module}party"]) == 0
    assert json.loads(capsys.readouterr().out)["situations"][0]["held"] == "held"
    assert _run([*one, f"{module}forgetful"]) == 1
    failed = json.loads(capsys.readouterr().out)["situations"][0]
    assert failed["held"] == "failed"
    assert any("call write" in line for line in failed["trace"])


def test_the_verb_says_what_it_cannot_find() -> None:
    """A kind, a situation, a function."""
    usual = {"name": None, "module": None, "situations": (), "seed": "s", "most": 1}
    for changed in ({}, {"module": "no.such:thing"}, {"module": "tests.unit.conformance.rest:cast"}):
        with pytest.raises(BadInput):
            conforming.conforms(conforming.Asked(**(usual | changed)), None)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        conforming.conforms(conforming.Asked(**(usual | {"name": "webhook", "situations": ("x",)})), None)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        conforming.conforms(conforming.Asked(**(usual | {"name": "kafka"})), None)  # type: ignore[arg-type]
    assert len(set(IDS)) == len(IDS)
