"""Data that an older version wrote (tests/support/older_data.py) opens, replays and lapses under this one."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live.books import entries, folded
from tests.e2e.live.system import System
from tests.e2e.live.wire import Record
from tests.support.older_data import somebody

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
VERSIONS = sorted(path.name.removeprefix("data-").removesuffix(".tar.xz") for path in HERE.glob("*.tar.xz"))


class Older(System):
    """Today's code on the data of an older version, and what that version said is in it."""

    expected: dict[str, Any]

    def said(self, word: str) -> str:
        """The event id of what the making called so."""
        return next(str(e["event_id"]) for e in self.expected["events"] if e["word"] == word)

    def delivered(self, processor: str) -> list[tuple[Record, dict[str, Any]]]:
        """The deliveries to a processor, as they lay on its topic, with what was noted about each."""
        schemas = self.kafka("auditor").schemas
        mine = [d for d in self.expected["deliveries"] if d["processor"] == processor]
        return [(schemas.decode(base64.b64decode(d["value"]))[1], d) for d in mine]

    def opens(self, processor: str) -> dict[str, dict[str, str]]:
        """What opens now of the deliveries to a processor, by event."""
        keys = self.keys(processor)
        return {noted["event_id"]: keys.open(delivery) for delivery, noted in self.delivered(processor)}


@pytest.fixture(scope="module", params=VERSIONS)
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Older]:
    """The data unpacked somewhere else than where it was made, and `lapse up` on it."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(HERE / f"data-{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "data").chmod(0o700)
    system = Older(folder / "data", HERE / "policy.yaml", clock="manual")
    system.expected = json.loads((HERE / f"data-{request.param}.json").read_text())
    try:
        system.start()
        yield system
    finally:
        system.end()


def test_every_event_ends_as_it_ended_then(older: Older) -> None:
    """The log replays: each record's folded entry has the outcome, the code and the purposes of then."""
    now = folded(entries(older))
    for event in older.expected["events"]:
        entry = now[bytes.fromhex(event["record_id"])]
        assert (entry["outcome"], entry["code"]) == (event["outcome"], event["code"]), event["word"]
        periods = [(link["period"], link["terms"]) for link in entry["links"]]
        assert periods == [(link["period"], link["terms"]) for link in event["links"]]
    [form] = [e for e in older.expected["events"] if e["word"] == "form of Ada Older"]
    shown = older.outcome(form["event_id"])
    assert {name: shown[name] for name in form if name != "word"} == {
        name: form[name] for name in form if name != "word"
    }


def test_what_is_not_due_opens_and_what_was_closed_stays_closed(older: Older) -> None:
    """Every delivery of then opens to the same fields, the withdrawn and the erased to none."""
    for processor in ("crm", "mail"):
        wanted = {
            d["event_id"]: d["opens"] for d in older.expected["deliveries"] if d["processor"] == processor
        }
        assert wanted and older.opens(processor) == wanted


def test_keys_and_people_are_as_they_were(older: Older) -> None:
    """Due dates, tallies and states of the keys, and consent, floors and generations of the people."""
    assert older.do("bucket", "list")["buckets"] == older.expected["buckets"]
    for name in ("Bela", "Cleo"):
        assert older.do("subject", "show", somebody(name).who) == older.expected["subjects"][name]


def test_the_erased_stay_erased_the_withdrawn_withdrawn_and_the_rest_goes_on(older: Older) -> None:
    """A late form of the erased is turned away, a silent one of the withdrawn gets no marketing."""
    now = older.run["clock"]["now"]
    cleo, bela, ada = (somebody(name) for name in ("Cleo", "Bela", "Ada"))
    late = older.submit(cleo, server=True, collected_at=older.expected["buckets"][0]["due"])
    silent, fresh = (older.submit(p, server=True, collected_at=now) for p in (bela, ada))
    older.still()
    assert older.ended(late) == {"event_id": late, "outcome": "discarded", "code": "erased"}
    assert {link["purpose"] for link in older.outcome(silent)["links"]} == {"answer_request", "tax_records"}
    assert older.keys("mail").open(older.delivery(fresh, "mail"))["email"] == ada.email


def test_the_hold_opens_under_its_id(older: Older) -> None:
    """What was put under a hold then can be opened now."""
    opened = older.lapse("hold", "open", older.expected["hold"], "--reason", "case 12")
    assert opened.code == 0, opened.err
    assert somebody("Dara").message in opened.out


def test_due_dates_of_then_are_kept_now(older: Older) -> None:
    """A month on, every answer's key is destroyed and announced, the partner told; marketing still opens.

    The hold outlives it, and a turned epoch changes nothing.
    """
    assert older.do("epoch", "turn")["epoch"] > 0
    before = len(older.kafka("auditor").records("Depersonalized", "lifecycle"))
    assert before >= older.expected["lifecycle"]
    older.do("clock", "advance", "P31D", "--confirm")
    older.still()
    opened = older.opens("crm")
    marketing = {event: set(fields) for event, fields in opened.items() if fields}
    assert marketing and all(names <= {"email", "name", "collected_at"} for names in marketing.values())
    due = {b["purpose"] for b in older.expected["buckets"] if b["due"] < older.run["clock"]["now"]}
    lapsed = {
        m.record["scope"][1]["purpose"]
        for m in older.kafka("auditor").records("Depersonalized", "lifecycle")
        if m.record and m.record["scope"][0].endswith("Bucket")
    }
    assert due <= lapsed and "answer_request" in due
    partner = older.run["processors"]["partner"]["fake_url"]
    assert older.http("GET", f"{partner}/_held").json()["objects"] == []
    held = older.lapse("hold", "open", older.expected["hold"], "--reason", "case 12")
    assert held.code == 0 and somebody("Dara").message in held.out
