"""Drives one system through its days: traffic, decisions, policies, epochs, the clock, a look a week."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Producer

from benchmarks.year import consumer
from benchmarks.year.looks import Look, look
from benchmarks.year.town import SITE, Town, address
from lapse import clockwork, holds, policies, recipients, records, rights, waiting
from lapse.initialise import initialise
from lapse.layout import Layout, read_json
from lapse.main import Installation, installation, shipped_policy
from schemas import codec
from schemas.errors import NotFound, Unavailable

READY_SECONDS, STEP_SECONDS, AT_ONCE = 120.0, 120.0, 8
WEEK, MONTH = 7, 30
TOPICS = {"EmailOpened": "intake.email-open", "SignalReceived": "intake.signal"}
PARTNER = ("https://partner.example.com/lapse", "fake:partner")
"""The one change to the company's policy: a stand-in for the partner that does not exist."""


@dataclass(kw_only=True)
class Year:
    """A run; `say` is told what goes on."""

    folder: Path
    days: int
    town: Town
    say: Callable[[str], None]
    minutes: float = 90.0
    """The last day is the one in which so much real time is over."""
    sent: int = 0

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder / "data")
        self.looks: list[Look] = []
        self.version = 1

    # ---- the system ----------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """`lapse up` on new test data with a manual clock."""
        policy = self.folder / "policy.yaml"
        policy.write_text(shipped_policy("company").read_text().replace(*PARTNER))
        initialise(self.layout.root, policy, test=True, clock="manual", hosts=("localhost", "127.0.0.1"))
        command = [
            sys.executable,
            "-m",
            "lapse.cli.app",
            "up",
            "--data",
            str(self.layout.root),
            "--port",
            "0",
        ]
        with (self.folder / "up.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not self.layout.run_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable("not_ready", "lapse up did not come up", str(self.folder / "up.log"))
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)

    def run(self) -> list[Look]:
        """Live through all days; the looks."""
        with self.up(), contextlib.ExitStack() as opened:
            here = opened.enter_context(installation(self.layout.root))
            producer = Producer({**here.librdkafka("collector"), "acks": "all", "log_level": 0})
            reader = consumer.Reader(here, "salesforce")
            ends = time.monotonic() + 60 * self.minutes
            for day in range(self.days + 1):
                if time.monotonic() > ends and day % WEEK == 1:
                    break
                self._day(here, producer)
                if day % WEEK == 0:
                    self._week(here, reader, day)
                if day and day % MONTH == 0:
                    here = self._month(here, opened, day // MONTH)
                clockwork.advance(here, "P1D", confirm=True, timeout=STEP_SECONDS)
            reader.close()
        return self.looks

    # ---- a day ---------------------------------------------------------------------------------------------
    def _day(self, here: Installation, producer: Producer) -> None:
        now = here.vault.clock.now()
        at = dt.datetime.fromtimestamp(now / 1e6, dt.UTC).isoformat()
        posts = [(f"/f/{form}", {**body, "collected_at": at}) for form, body in self.town.forms()]
        posts.append(("/e", {"events": [{**view, "collected_at": at} for view in self.town.views()]}))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.sent += sum(pool.map(self._post, *zip(*posts, strict=True)))
        events = [*self.town.opens(now), *self.town.signals(now)]
        for event in events:
            producer.produce(TOPICS[type(event).__name__], value=codec.encode(event))
        producer.flush(STEP_SECONDS)
        self.sent += len(events)

    def _mail(self, here: Installation) -> None:
        who = f"email:{address(self.town.latest())}"
        with contextlib.suppress(NotFound):  # whoever was erased gets no mail
            self.town.remember(records.mint(here, SITE, 180, who)["token"])

    def _post(self, path: str, body: dict[str, Any]) -> int:
        run = read_json(self.layout.run_file)
        token = read_json(Path(run["sites"][SITE]["token_file"]))["token"]
        request = urllib.request.Request(  # noqa: S310 - an address of this machine, from run.json
            run["urls"]["collector"] + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30):
            return len(body.get("events", (0,)))

    # ---- now and then --------------------------------------------------------------------------------------
    def _week(self, here: Installation, reader: consumer.Reader, day: int) -> None:
        waiting.until_quiet(here, STEP_SECONDS)
        for _ in range(WEEK):
            self._mail(here)
        opened = reader.read()
        self.looks.append(look(self.layout, day=day, sent=self.sent, people=self.town.people))
        self.say(f"day {day}: {self.sent} events, {self.town.people} people, {opened} deliveries opened")
        rights.erase(here, f"email:{address(self.town.somebody())}", "asked by mail", None, STEP_SECONDS)

    def _month(self, here: Installation, opened: contextlib.ExitStack, month: int) -> Installation:
        here.vault.turn_epoch()
        who = f"email:{address(self.town.somebody())}"
        held = holds.place(here, who, ["correspondence_record"], "a case", STEP_SECONDS)
        holds.release(here, held["hold_id"], STEP_SECONDS)
        until = here.vault.clock.now() / 1e6 + 400 * 86_400
        for name in ("partner", "salesforce"):
            ends = dt.datetime.fromtimestamp(until, dt.UTC).date().isoformat()
            recipients.approve(here, name, evidence=None, until=ends, timeout=STEP_SECONDS)
        if month % 4 == 0:
            self._publish(here)
            return opened.enter_context(installation(self.layout.root))
        return here

    def _publish(self, here: Installation) -> None:
        """A version with another retention, alternately shorter and, under new terms, longer again."""
        self.version += 1
        latest = self.layout.policy(self.version - 1).read_text()
        day = dt.datetime.fromtimestamp(here.vault.clock.now() / 1e6, dt.UTC).date()
        file = self.folder / f"policy-{self.version}.yaml"
        file.write_text(change(latest, self.version, day))
        policies.publish(here, file, confirmed=True, timeout=STEP_SECONDS)
        self.say(f"policy {self.version} published")


RENEWED = dt.date(2027, 1, 1)
"""Assurances that run beyond this day in the shipped policy are renewed with each version."""


def change(text: str, version: int, day: dt.date) -> str:
    """The next policy's text: dated and announced, assurances renewed, one retention changed.

    It becomes shorter with every even version, and with every odd one longer again, under new terms.
    """
    found = yaml.safe_load(text)
    found |= {"version": version, "effective": day, "announced": day - dt.timedelta(days=14)}
    for processor in found["processors"].values():
        if processor.get("assurance_until", day) > RENEWED:
            processor["assurance_until"] = day + dt.timedelta(days=500)
            processor["review"] = day + dt.timedelta(days=400)
    chat = found["purposes"]["live_chat"]
    chat["retention"] = {"for": "P60D" if version % 2 == 0 else "P90D"}
    if version % 2:
        chat["terms"] = version
    return str(yaml.safe_dump(found, sort_keys=False))
