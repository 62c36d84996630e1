"""Of five thousand mixed events each ends in the one outcome expected, and every bucket counts right."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.e2e.live.books import entries, expected_tallies, outcomes, tallies
from tests.e2e.live.system import Person, System, allows, somebody
from tests.e2e.live.wire import Record

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

Ending = tuple[str, str, str | None]
ROUTED: Ending = ("form", "routed", None)
NO_CONSENT: Ending = ("form", "discarded", "no_consent")
AT_ONCE = 24
"""Requests in flight."""


@dataclass
class Load:
    """What was sent, and how each event must end."""

    system: System
    dice: random.Random = field(default_factory=lambda: random.Random(5000))
    accepted: dict[str, Ending] = field(default_factory=dict)
    repeats: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    new: list[Record] = field(default_factory=list)

    async def run(self) -> None:
        """Send everything, some of it twice, in an order of the seed."""
        limit = asyncio.Semaphore(AT_ONCE)
        async with aiohttp.ClientSession(trust_env=False) as session:
            self.session, self.limit = session, limit
            jobs = [
                *[self.form(somebody(), ROUTED, *allows("marketing_email")) for _ in range(1000)],
                *[self.form(somebody(), ROUTED, form="get-in-touch") for _ in range(700)],
                *[self.form(somebody(), NO_CONSENT, form="newsletter") for _ in range(400)],
                *[
                    self.form(
                        somebody(), ("form", "routed", "clock_future"), collected_at="2099-01-01T00:00:00Z"
                    )
                    for _ in range(100)
                ],
                *[
                    self.form(somebody(), ("form", "quarantined", "too_old"), collected_at=OLD)
                    for _ in range(100)
                ],
                *[
                    self.form(somebody(), ("form", "discarded", "lapsed"), collected_at=LATE, backfill=True)
                    for _ in range(60)
                ],
                *[self.bot() for _ in range(90)],
                *[self.beacons(allows("analytics", granted=n % 2 == 0)) for n in range(28)],
                *[self.beacons([]) for n in range(10)],
                *[self.signal() for _ in range(250)],
            ]
            self.dice.shuffle(jobs)
            await asyncio.gather(*jobs)
            again = [self.post(f"/f/{each.pop('form')}", each, server=True) for each in self.repeats]
            await asyncio.gather(*again)

    async def form(
        self,
        person: Person,
        ending: Ending,
        *consents: dict[str, Any],
        form: str = "request-demo",
        **extra: Any,
    ) -> None:
        """A server sends a form under an id of its own; a third of them twice, a tenth with other content."""
        fields = person.fields
        if form != "request-demo":
            fields = {name: fields[name] for name in ("email", "name", "country")}
        at = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.dice.random())).isoformat()
        event_id = secrets.token_hex(16)
        body = {
            "event_id": event_id,
            "fields": fields,
            "consents": list(consents),
            "collected_at": at,
            **extra,
        }
        fate = self.dice.random()
        if fate < 0.2:
            self.repeats.append({**body, "form": form})
        elif fate < 0.3:
            self.repeats.append({**body, "form": form, "fields": {**fields, "name": somebody().name}})
        answer = await self.post(f"/f/{form}", body, server=True)
        assert answer["event_id"] == event_id
        self.accepted[event_id] = ending

    async def bot(self) -> None:
        """A browser fills in the field nobody sees."""
        body = {"fields": {**somebody().fields, "website": "http://spam.example"}}
        answer = await self.post("/f/request-demo", body, server=False)
        self.accepted[answer["event_id"]] = ("form", "quarantined", "bot")

    async def beacons(self, consents: list[dict[str, Any]]) -> None:
        """Fifty page views of as many browsers; without a statement an observation creates nobody."""
        url = "https://www.steady.example/x"
        views = [{"cookie_id": somebody().cookie, "name": "page_view", "url": url} for _ in range(50)]
        body = {"events": [{**view, "consents": consents} for view in views]}
        answer = await self.post("/e?ids=1", body, server=False)
        ending: Ending = ("cookie", "routed", None) if consents else ("cookie", "discarded", "no_subject")
        self.accepted |= dict.fromkeys(answer["event_ids"], ending)
        self.sent += len(views) - 1

    async def signal(self) -> None:
        """Somebody states a consent in the preference centre."""
        body = {
            "identifiers": [{"kind": "email", "value": somebody().email}],
            "consents": allows("marketing_email"),
        }
        answer = await self.post("/c", body, server=False)
        self.accepted[answer["event_id"]] = ("signal", "kept_in_vault", None)

    async def post(self, path: str, body: dict[str, Any], *, server: bool) -> dict[str, Any]:
        """One request that must be taken; a refusal for speed is waited out."""
        token, key = self.system.site_token(), self.system.site_key()
        headers = {"Authorization": f"Bearer {token}"} if server else {"X-Lapse-Site-Key": key}
        async with self.limit:
            self.sent += 1
            url = self.system.url("collector", path)
            while True:
                async with self.session.post(url, json=body, headers=headers) as answer:
                    if answer.status != 429:
                        assert answer.status == 202, await answer.text()
                        return dict(await answer.json())
                    await asyncio.sleep(float(answer.headers["Retry-After"]))


OLD = "1999-12-31T00:00:00Z"
LATE = (dt.datetime.now(dt.UTC) - dt.timedelta(days=90)).isoformat()


@pytest.fixture(scope="module")
def load(steady: System) -> Load:
    """Send the load once and wait for the quiet point."""
    steady.still()
    before = {row["record_id"] for row in entries(steady)}
    sending = Load(steady)
    asyncio.run(sending.run())
    sending.system.still(120)
    sending.new = [row for row in entries(steady) if row["record_id"] not in before]
    return sending


def test_every_event_ends_in_exactly_one_outcome_and_the_expected_one(load: Load) -> None:
    """Folded, there is one record per accepted event id, and as many of each outcome as were sent."""
    assert load.sent >= 5000
    found = outcomes(load.new)
    expected = Counter(load.accepted.values())
    refused = {ending: (found[ending], count) for ending, count in expected.items() if found[ending] != count}
    assert refused == {}
    assert found == expected


def test_the_outcome_of_single_events_is_the_expected_one(load: Load) -> None:
    """Looked up by event id at the admin API, a sample of each kind says what the sums say."""
    for ending in set(load.accepted.values()):
        mine = [event for event, each in load.accepted.items() if each == ending]
        for event_id in load.dice.sample(mine, min(5, len(mine))):
            said = load.system.ended(event_id)
            assert (said["outcome"], said["code"]) == ending[1:]


def test_the_buckets_count_what_was_accepted_into_them(load: Load) -> None:
    """Every tally of `bucket list` is the number of its folded routed and expired records."""
    counted = tallies(load.system)
    assert counted.total() > 5000
    assert counted == expected_tallies(load.system)


def test_every_routed_record_was_delivered_once_to_each_processor_granted(load: Load) -> None:
    """Distinct deliveries on a processor's topic are the folded records that granted it something."""
    plan = load.system.admin("/v1/plans/1").json()
    names = {processor["number"]: processor["name"] for processor in plan["processors"]}
    granted: dict[str, set[bytes]] = {name: set() for name in names.values()}
    for row in entries(load.system):
        for verdict in row["verdicts"]:
            if verdict["grants"]:
                granted[names[verdict["processor"]]].add(row["record_id"])
    for name, records in granted.items():
        found = load.system.kafka(name).records("RecordDelivered", f"processor.{name}")
        assert len({m.record["delivery_id"] for m in found if m.record}) == len(records)


def test_what_stays_for_good_adds_up(load: Load) -> None:
    """Published and carried are what was accepted, and no published cell has fewer than ten people."""
    shown = load.system.do("residue", "show")
    assert shown["accepted"] > 0
    assert shown["published"] + shown["carried"] == shown["accepted"]
    assert load.system.do("residue", "show", "--recount")["accepted"] == shown["accepted"]
    cells = load.system.kafka("auditor").records("ResidueCounted", "residue")
    assert all(
        cell["people"] >= 10 for message in cells if message.record for cell in message.record["cells"]
    )
