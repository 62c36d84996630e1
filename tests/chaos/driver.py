"""One ordeal: a system, a seed, traffic and commands, faults one after the other, then the verdict."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import statistics
import sys
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapse.audit.oracle import Account
from tests.chaos import faults, verdict
from tests.chaos.book import Book, write_policy
from tests.chaos.faults import Fault
from tests.chaos.operators import Operators, micros
from tests.chaos.recipient import Recipient
from tests.chaos.traffic import Traffic
from tests.chaos.verdict import Check
from tests.e2e.live.system import System, somebody
from tests.support.live import until

RECOVERS = 120.0
"""Seconds after a fault within which a new event must be through again."""
DISK_MEGABYTES = 900
AWAY = (OSError, urllib.error.URLError, ValueError, AssertionError)


@dataclass
class Ordeal:
    """Everything of one run; `say` tells what happens."""

    system: System
    seed: int
    disk: str | None = None
    """Why the disk cannot be filled; None where it can."""
    rate: float = 25.0
    struck: Counter[str] = field(default_factory=Counter)
    recovered: dict[str, list[float]] = field(default_factory=dict)
    partner: Counter[str] = field(default_factory=Counter)
    checks: list[Check] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.book = Book(
            account=Account(self.system.policy.read_text(encoding="utf-8")),
            now=micros(self.system.run["clock"]["now"]),
        )
        self.traffic = Traffic(self.system, self.book, self._dice(), rate=self.rate)
        self.crm = Recipient("crm", self.system, self.book, self._dice())
        self.operators = Operators(self.system, self.book, self.traffic, self.crm, self._dice())

    def _dice(self) -> random.Random:
        return random.Random(self.dice.random())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Traffic, recipient and operators, while the block lasts."""
        self.traffic.start()
        self.crm.start()
        self.operators.mint(2)
        self.operators.start()
        try:
            yield
        finally:
            self.operators.stop()
            self.traffic.stop()
            self.crm.stop()

    # ---- faults --------------------------------------------------------------------------------------------
    def strike(self, fault: Fault) -> None:
        """One fault, and how long until a new event is through again."""
        self.say(f"{fault.kind}: {fault}")
        self._count_partner()
        over = fault.strike(self.system)
        self.struck[fault.kind] += 1
        until(self._through, RECOVERS, f"an event is through again after {fault.kind}")
        took = time.monotonic() - over
        self.recovered.setdefault(fault.kind, []).append(took)
        self.say(f"  through again after {took:.1f} s")

    def _through(self) -> bool:
        """Send one event and see it routed."""
        with contextlib.suppress(*AWAY):
            answer = self.system.form("get-in-touch", self._probe(), server=True)
            if answer.status == 202:
                return self._routed(str(answer.json()["event_id"]))
        return False

    def _probe(self) -> dict[str, Any]:
        person = somebody()
        fields = {"email": person.email, "name": person.name, "country": person.country}
        return {"fields": fields, "consents": []}

    def _routed(self, event_id: str) -> bool:
        deadline = time.monotonic() + RECOVERS / 2
        while time.monotonic() < deadline:
            with contextlib.suppress(*AWAY):
                answer = self.system.admin(f"/v1/events/{event_id}")
                if answer.status == 200:
                    return bool(answer.json()["outcome"] == "routed")
            time.sleep(0.1)
        return False

    def storm(self, seconds: float) -> None:
        """Faults drawn from the seed, one after the other, for this long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.strike(faults.drawn(self.dice, disk=self.disk is None))
            time.sleep(self.dice.uniform(0, 3))

    def all_of(self, listed: Iterable[Fault]) -> None:
        """These faults, in an order of the seed."""
        shuffled = list(listed)
        self.dice.shuffle(shuffled)
        for fault in shuffled:
            self.strike(fault)

    def _count_partner(self) -> None:
        """What the partner has counted: it forgets everything when the supervisor dies."""
        with contextlib.suppress(*AWAY):
            url = self.system.run["processors"]["partner"]["fake_url"]
            for name, count in faults.struck(url, self.system).items():
                self.partner[name] = max(self.partner[name], count)

    # ---- the end -------------------------------------------------------------------------------------------
    def judge(self, *, intake_too: bool = False, disturb: Callable[[], None] = lambda: None) -> list[Check]:
        """Wait for a quiet point and check everything; then let all lapse and check what must be gone.

        `disturb` happens while the clock passes the due instants.
        """
        self._count_partner()
        self.system.still(180)
        self.operators.stopping.clear()
        self.operators.correct_some()
        self.system.still(180)
        shown = self.operators.ask("clock", "show")
        assert shown is not None
        self.book.now = micros(shown["now"])
        self.checks = verdict.at_rest(self.system, self.book, self.crm)
        self.operators.stopping.clear()
        self.operators.ask("processor", "suspend", "crm", "--reason", "the end")
        passing = threading.Thread(target=self.operators.move, args=("PT14H",))
        passing.start()
        disturb()
        passing.join(600)
        self.system.still(180)
        self.operators.look()
        self.operators.ask("processor", "resume", "crm")
        self.checks += verdict.all_lapsed(self.system, self.book, self.crm)
        self.checks.append(verdict.canary(self.system, intake_too=intake_too))
        self.checks.append(verdict.as_it_went(self.book, self.crm))
        return self.checks

    def report(self) -> dict[str, Any]:
        """The results: seed, events, faults, lost, duplicated, leaked, time to recover, every check."""
        figures = {check.name: check for check in self.checks}
        return {
            "ok": all(check.held for check in self.checks) and not self.traffic.lost,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began, 1),
            "events": dict(sorted(self.book.counts.items())),
            "accepted": len(self.book.accepted),
            "faults": dict(sorted(self.struck.items())),
            "not_struck": {} if self.disk is None else {"disk full": self.disk},
            "lost": len(self.traffic.lost) + figures["every accepted event ends once"].bad,
            "duplicated": verdict.duplicated(self.system)
            | {"partner, answered as known": self.partner["again"]},
            "leaked": sum(check.bad for check in self.checks if check.leak),
            "recover": {
                kind: {
                    "times": len(took),
                    "median": round(statistics.median(took), 1),
                    "max": round(max(took), 1),
                }
                for kind, took in sorted(self.recovered.items())
            },
            "checks": [check.as_json() for check in self.checks],
        }

    def keep(self, folder: Path) -> None:
        """Copy the logs of the roles and the vault before the disk is gone."""
        for name in ("logs", "vault", "state"):
            shutil.copytree(self.system.data / name, folder / name, dirs_exist_ok=True)
        self.say(f"kept in {folder}")

    def say(self, what: str) -> None:
        """A line about what happens."""
        sys.stderr.write(f"{time.monotonic() - self.began:7.1f} seed {self.seed}: {what}\n")
        sys.stderr.flush()


@contextmanager
def ordeal(folder: Path, seed: int, *, rate: float = 25.0) -> Iterator[Ordeal]:
    """A fresh system on a small disk where one can be mounted, ready for its ordeal."""
    with ExitStack() as stack:
        data = folder / "data"
        refused = stack.enter_context(faults.small_disk(data, DISK_MEGABYTES))
        system = System(data, write_policy(folder), clock="manual")
        stack.callback(system.end)
        system.init()
        system.start()
        yield Ordeal(system, seed, disk=refused, rate=rate)


def written(found: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Print the results, and keep them as JSON."""
    text = json.dumps(found, indent=2)
    sys.stdout.write(text + "\n")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return found
