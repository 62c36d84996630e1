"""A system whose processes die, each once, at every point they were armed with."""

from __future__ import annotations

import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lapse import faults
from lapse.layout import Layout
from tests.e2e.live.books import entries, expected_tallies, folded, tallies
from tests.e2e.live.system import Person, System, allows, somebody
from tests.support.live import READY_SECONDS, Done

DIED = -signal.SIGKILL
AGAIN = 8
"""How often a command is given until it ends by itself."""


@dataclass(slots=True)
class Mortal(System):
    """`System`, armed; `points` are what its processes die at."""

    points: tuple[str, ...] = ()
    accepted: dict[str, str] = field(default_factory=dict)
    """Event id -> kind, as the collector acknowledged them."""

    def arm(self) -> None:
        """From the next start on."""
        self.environment = {"LAPSE_FAULT": ",".join(self.points)}

    def disarm(self) -> None:
        """The same."""
        self.environment = {}

    def left(self, points: Iterable[str] | None = None) -> list[str]:
        """Where nobody has died yet."""
        layout = Layout(self.data)
        return [
            p for p in (self.points if points is None else points) if not faults.marker(layout, p).exists()
        ]

    def start_dying(self) -> int:
        """Start; the exit code of a supervisor that died before it was ready, 0 where it is ready."""
        try:
            self.start()
        except AssertionError:
            assert self.process is not None and self.process.returncode is not None, "neither up nor dead"
            return self.process.returncode
        return 0

    def until_done(self, *verb: str) -> tuple[Done, int]:
        """Give a command until it ends by itself; its end, and how often it died."""
        for deaths in range(AGAIN):
            done = self.lapse(*verb)
            if done.code != DIED:
                return done, deaths
        raise AssertionError(f"{verb} dies for ever")

    def send(self, person: Person, *consents: dict[str, object], collected_at: str) -> None:
        """A form, repeated under its id until it is taken: the collector dies, too."""
        body = {
            "event_id": secrets.token_hex(16),
            "fields": person.fields,
            "consents": list(consents),
            "collected_at": collected_at,
        }
        self.taken("/f/request-demo", body, "form")

    def browse_much(self, collected_at: str) -> None:
        """A page view with a choice, for the clear topic."""
        event = {
            "event_id": secrets.token_hex(16),
            "cookie_id": somebody().cookie,
            "name": "page_view",
            "url": "https://www.steady.example/",
            "collected_at": collected_at,
            "consents": allows("analytics"),
        }
        self.taken("/e?ids=1", {"events": [event]}, "cookie", str(event["event_id"]))

    def say(self, person: Person, *, granted: bool, collected_at: str) -> None:
        """A statement in the preference centre."""
        body = {
            "event_id": secrets.token_hex(16),
            "identifiers": [{"kind": "email", "value": person.email}],
            "consents": allows("marketing_email", granted=granted),
            "collected_at": collected_at,
        }
        self.taken("/c", body, "signal")

    def taken(self, path: str, body: Mapping[str, object], kind: str, event_id: str = "") -> None:
        """POST until 202."""
        deadline = time.monotonic() + READY_SECONDS
        headers = {"Authorization": f"Bearer {self.site_token()}"}
        while True:
            try:
                answer = self.http("POST", self.url("collector", path), body, headers)
            except OSError:
                answer = None
            if answer is not None and answer.status == 202:
                break
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
        self.accepted[event_id or str(body["event_id"])] = kind

    def conserved(self) -> None:
        """At a quiet point: one outcome for each accepted event, one delivery, buckets that count right."""
        rows = folded(entries(self))
        kinds = Counter(row["source"].split("/")[0] for row in rows.values())
        assert kinds == Counter(self.accepted.values())
        names = [processor["name"] for processor in self.admin("/v1/plans/1").json()["processors"]]
        granted = {
            row["record_id"]
            for row in entries(self)
            for verdict in row["verdicts"]
            if verdict["grants"] and names[verdict["processor"]] == "crm"
        }
        delivered = self.kafka("crm").records("RecordDelivered", "processor.crm")
        assert len({m.record["delivery_id"] for m in delivered if m.record}) == len(granted)
        assert tallies(self) == expected_tallies(self)


def second_version(policy: Path) -> Path:
    """The same policy as version 2, with another title."""
    text = policy.read_text(encoding="utf-8")
    path = policy.with_name("second.yaml")
    changed = text.replace("version: 1\n", "version: 2\n", 1).replace(
        "Answering your request", "Answering you", 1
    )
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    return path
