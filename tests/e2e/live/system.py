"""The running system as its users meet it: people who send things, programs that receive them, operators."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.e2e.live.wire import Kafka, Keys, Message, Record
from tests.support.live import Answer, Live, until

POLICIES = Path(__file__).parent / "policies"
STEADY = POLICIES / "steady.yaml"
MARK = "zq7x"
"""Stands in every value that is somebody's: what a search for clear bytes looks for."""
EVERYTHING = ("answer_request", "marketing_email", "mail_insight", "tax_records")
CLEAR = "plain."
"""How the names of the topics begin that hold clear records on purpose."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody whose every value is unique and carries the mark."""

    email: str
    name: str
    phone: str
    company: str
    message: str
    cookie: str
    country: str = "DE"

    @property
    def who(self) -> str:
        """As the command line names them."""
        return f"email:{self.email}"

    @property
    def fields(self) -> dict[str, str]:
        """What they type into the long form."""
        names = ("email", "name", "phone", "company", "message", "country")
        return {name: getattr(self, name) for name in names}

    @property
    def values(self) -> list[bytes]:
        """What must not be found in clear."""
        return [getattr(self, n).encode() for n in ("email", "name", "phone", "company", "message", "cookie")]


def somebody(country: str = "DE") -> Person:
    """A new person."""
    tag = f"{MARK}{secrets.token_hex(6)}"
    return Person(
        email=f"ann.{tag}@people.example",
        name=f"Ann {tag}",
        phone=f"+49{secrets.randbelow(10**12):012d}",
        company=f"{tag} Ltd",
        message=f"please call {tag} back",
        cookie=f"ck-{tag}",
        country=country,
    )


def allows(*purposes: str, granted: bool = True) -> list[dict[str, Any]]:
    """Consent statements as a body carries them."""
    return [{"purpose": purpose, "granted": granted} for purpose in purposes]


@dataclass(slots=True)
class System(Live):
    """`Live` with the words of these tests."""

    @contextlib.contextmanager
    def from_nothing(self) -> Iterator[Self]:
        """Make the data folder, start, and end whatever runs afterwards."""
        try:
            self.init()
            self.start()
            yield self
        finally:
            self.end()

    def kafka(self, who: str) -> Kafka:
        """The cluster as `auditor`, `superuser` or a processor."""
        run = self.run
        security = run["security"]
        names = {"auditor": security["auditor_file"], "superuser": security.get("superuser_file")}
        names |= {name: each["credentials_file"] for name, each in run["processors"].items()}
        return Kafka(run, names[who])

    def keys(self, processor: str) -> Keys:
        """The key endpoint as this processor's program."""
        run = self.run
        token = json.loads(Path(run["processors"][processor]["credentials_file"]).read_text())["token"]
        return Keys(url=run["urls"]["keys"], ca_file=run["ca_file"], token=token)

    # ---- sending -------------------------------------------------------------------------------------------
    def submit(
        self,
        person: Person,
        *consents: Mapping[str, Any],
        form: str = "request-demo",
        server: bool = False,
        **extra: Any,
    ) -> str:
        """Send a person's form; the event id of the 202."""
        known = {"request-demo": person.fields}
        fields = known.get(form) or {"email": person.email, "name": person.name, "country": person.country}
        body = {"fields": fields, "consents": list(consents), "notice": "steady-1", **extra}
        return accepted(self.form(form, body, server=server))

    def browse(self, person: Person, *consents: Mapping[str, Any], **extra: Any) -> str:
        """Send one page view; its event id."""
        event = {
            "cookie_id": person.cookie,
            "name": "page_view",
            "url": f"https://www.example/{MARK}",
            **extra,
        }
        answer = self.collector("POST", "/e?ids=1", {"events": [{**event, "consents": list(consents)}]})
        assert answer.status == 202, answer.body
        return str(answer.json()["event_ids"][0])

    def state(self, person: Person, *consents: Mapping[str, Any]) -> str:
        """State consents in the preference centre; the event id of the 202."""
        body = {"identifiers": [{"kind": "email", "value": person.email}], "consents": list(consents)}
        return accepted(self.collector("POST", "/c", body))

    def collector(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request of a browser that knows the first site's key."""
        return self.http(
            method,
            self.url("collector", path),
            body,
            {"X-Lapse-Site-Key": self.site_key(), **(headers or {})},
        )

    # ---- looking -------------------------------------------------------------------------------------------
    def admin(self, path: str, token: str | None = None) -> Answer:
        """GET on the admin API, with the admin's token unless another is given."""
        own = Path(self.run["admin_token_file"]).read_text().strip()
        return self.http("GET", self.url("admin", path), None, {"Authorization": f"Bearer {token or own}"})

    def ended(self, event_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Outcome and code of an event, waited for."""
        last: list[Answer] = []

        def decided() -> bool:
            last[:] = [self.admin(f"/v1/events/{event_id}")]
            return last[0].status == 200

        until(decided, seconds, f"event {event_id} decided")
        return dict(last[0].json())

    def still(self, seconds: float = 60.0) -> None:
        """Wait for a quiet point over HTTP: two looks in a row that find nothing on its way."""
        deadline, quiet, seen = time.monotonic() + seconds, 0, None
        while quiet < 2:
            with contextlib.suppress(OSError):  # the admin API itself may just be coming back
                answer = self.admin("/v1/lag")
                seen = answer.json()
                quiet = quiet + 1 if answer.status == 200 and seen["total"] == 0 else 0
            assert time.monotonic() < deadline, seen

    def deliveries(self, shown: Mapping[str, Any], processor: str) -> list[Message]:
        """The deliveries of a record whose `records show` is given, read with the processor's credentials."""
        places = shown["offsets"].get(f"processor.{processor}", [])
        return self.kafka(processor).at(f"processor.{processor}", places)

    def delivery(self, event_id: str, processor: str = "crm") -> Record:
        """The one delivery of an event to a processor."""
        found = self.deliveries(self.outcome(event_id), processor)
        assert len(found) == 1, f"{len(found)} deliveries"
        assert found[0].name == "RecordDelivered"
        assert found[0].record is not None
        return found[0].record

    def lapses(self, processor: str) -> list[Message]:
        """Every `Depersonalized` on a processor's topic."""
        return self.kafka(processor).records("Depersonalized", f"processor.{processor}")

    def do(self, *verb: str) -> dict[str, Any]:
        """Run a verb of the command line that must succeed; its JSON."""
        done = self.lapse(*verb)
        assert done.code == 0, done.err
        return dict(done.json())


def accepted(answer: Answer) -> str:
    """The event id of a 202."""
    assert answer.status == 202, answer.body
    assert answer.json()["stored"] in ("kafka", "spool")
    event_id = str(answer.json()["event_id"])
    assert len(bytes.fromhex(event_id)) == 16
    return event_id
