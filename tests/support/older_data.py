"""Makes the data of an older version that the upgrade's test starts from: a small system, stopped cleanly.

In a checkout of that version, with its own environment and its own code:

    git worktree add ../older 7e2ede4 && cd ../older && make setup
    PYTHONPATH=. .venv/bin/python NEWER/tests/support/older_data.py NEWER/tests/e2e/upgrade 7e2ede4

writes `data-7e2ede4.tar.xz` and `data-7e2ede4.json`, what a later version has to find in it. Do it
once, before the first change of a format; data that was made cannot be made again by code that has moved on.
"""

from __future__ import annotations

import base64
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.live.system import Person, System, accepted, allows

CONSENTS = ("marketing_email", "mail_insight")
LEFT_BEHIND = {"logs", "state", "run.json", "roles.json", "lapse.lock"}
"""What belongs to a run, and not to the data."""
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def somebody(name: str) -> Person:
    """A person who can be told from others and is the same in every making."""
    low = name.lower()
    return Person(
        email=f"{low}@older.example",
        name=f"{name} Older",
        phone=f"+4930{sum(name.encode()):08d}",
        company=f"{name} Ltd",
        message=f"Please call {name} back",
        cookie=f"ck-{low}",
    )


class Maker:
    """Sends, and remembers what was sent under which word."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.events: dict[str, str] = {}
        """Event id -> what it is, in a word."""

    @property
    def now(self) -> str:
        """The manual clock's time."""
        return str(self.system.run["clock"]["now"])

    def form(
        self, word: str, person: Person, *purposes: str, form: str = "request-demo", **extra: Any
    ) -> str:
        """One form of one person, as of the manual clock."""
        body = {"fields": person.fields, "consents": allows(*purposes), "notice": "older-1", **extra}
        if form == "get-in-touch":
            body["fields"] = {k: person.fields[k] for k in ("email", "name", "country", "message")}
        answer = self.system.form(form, {**body, "collected_at": self.now}, server=True)
        return self._note(word, accepted(answer))

    def bot(self, person: Person) -> str:
        """A form whose honeypot is filled in."""
        body = {"fields": {**person.fields, "website": "http://x"}, "notice": "older-1"}
        return self._note("bot", accepted(self.system.form("request-demo", body)))

    def browse(self, person: Person, *purposes: str) -> None:
        """One page view."""
        event = {"cookie_id": person.cookie, "name": "page_view", "url": "https://www.older.example/pricing"}
        event["collected_at"] = self.now
        headers = {"Authorization": f"Bearer {self.system.site_token()}"}
        body = {"events": [{**event, "consents": allows(*purposes)}]}
        answer = self.system.http("POST", self.system.url("collector", "/e?ids=1"), body, headers)
        assert answer.status == 202, answer.body
        self._note("cookie", str(answer.json()["event_ids"][0]))

    def open_mail(self, person: Person) -> None:
        """A mail is sent to somebody and opened."""
        token = self.system.do("token", "mint", "--site", "www", "--days", "30", "--for", person.who)
        url = self.system.url("collector", f"/o/{token['token']}.gif")
        assert self.system.http("GET", url, headers={"User-Agent": AGENT}).status == 200
        self.system.quiet()
        opens = self.system.do("records", "show", "--message", token["message_id"])["events"]
        for opened in opens:
            self._note("open", opened["event_id"])

    def _note(self, word: str, event_id: str) -> str:
        self.events[event_id] = word
        return event_id


def play(system: System) -> dict[str, Any]:
    """Everything that can become of data, once; returns what a later version has to find."""
    make = Maker(system)
    ada, bela, cleo, dara = (somebody(name) for name in ("Ada", "Bela", "Cleo", "Dara"))
    for person in (ada, bela, cleo, dara):
        make.form(f"form of {person.name}", person, *CONSENTS)
    for number in range(12):
        make.form("form of the crowd", somebody(f"Crowd{number}"), *CONSENTS[: number % 3])
    for person in (ada, bela, cleo):
        make.browse(person, "analytics", "targeting")
        make.browse(person)
    make.bot(somebody("Robo"))
    system.quiet()
    for _ in range(2):
        make.open_mail(ada)
    make.open_mail(somebody("Crowd1"))
    system.do("clock", "advance", "P2D", "--confirm")
    make.form("second form of Ada Older", ada, form="get-in-touch")
    make.form("second form of Dara Older", dara, form="get-in-touch")
    make.browse(ada, "analytics")
    system.quiet()
    said = system.state(bela, *allows("marketing_email", granted=False))
    make.events[said] = "withdrawal of Bela Older"
    system.do("subject", "erase", cleo.who, "--reason", "asked by mail", "--yes")
    hold = system.do("hold", "place", dara.who, "--purpose", "answer_request", "--reason", "case 12")
    make.form("late form of Cleo Older", cleo, *CONSENTS)
    system.quiet()
    return {"clock": make.now, "hold": hold["hold_id"], **found(system, make)}


def found(system: System, make: Maker) -> dict[str, Any]:
    """Outcomes, deliveries with what opens of them, keys with their due dates, holds, people."""
    events, deliveries = [], []
    for event_id, word in make.events.items():
        shown = system.outcome(event_id)
        kept = ("event_id", "record_id", "outcome", "code", "revision", "source", "links", "verdicts")
        events.append({"word": word, **{name: shown[name] for name in kept}})
        for processor in ("crm", "mail"):
            for message in system.deliveries(shown, processor):
                assert message.record is not None and message.value is not None
                opened = system.keys(processor).open(message.record)
                raw = base64.b64encode(message.value).decode()
                deliveries.append(
                    {"event_id": event_id, "processor": processor, "value": raw, "opens": opened}
                )
    partner = system.run["processors"]["partner"]["fake_url"]
    return {
        "events": events,
        "deliveries": deliveries,
        "buckets": system.do("bucket", "list")["buckets"],
        "subjects": {
            name: system.do("subject", "show", somebody(name).who) for name in ("Ada", "Bela", "Cleo", "Dara")
        },
        "partner": len(system.http("GET", f"{partner}/_held").json()["objects"]),
        "lifecycle": len(system.kafka("auditor").records("Depersonalized", "lifecycle")),
    }


def pack(data: Path, target: Path) -> None:
    """The data folder without what belongs to its run, compressed."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        return None if len(parts) > 1 and parts[1] in LEFT_BEHIND else entry

    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(data, "data", filter=kept)


def main(folder: Path, version: str) -> None:
    """Run, stop, pack."""
    with tempfile.TemporaryDirectory() as temporary:
        system = System(Path(temporary) / "data", folder / "policy.yaml", clock="manual")
        try:
            system.init()
            system.start()
            expected = {"made_by": version, **play(system)}
            assert system.stop() == 0
        finally:
            system.end()
        pack(system.data, folder / f"data-{version}.tar.xz")
    (folder / f"data-{version}.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
