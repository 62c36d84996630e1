"""What operators do meanwhile: erase, hold, suspend, move the clock, look; each checked where it stands."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.ids import Micros
from tests.chaos.book import Book
from tests.chaos.recipient import Recipient
from tests.chaos.traffic import Traffic
from tests.e2e.live.system import EVERYTHING, System, somebody
from tests.support.live import until

UNAVAILABLE, UNKNOWN, REFUSED = 5, 4, 3
KNOWN = 60.0
"""Seconds within which somebody of the crowd has come and is known."""
ATTEMPTS = 12
"""How often a command is given again while broker or vault are away."""
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def micros(text: str) -> Micros:
    """RFC 3339 as microseconds."""
    return Micros((dt.datetime.fromisoformat(text) - EPOCH) // dt.timedelta(microseconds=1))


@dataclass(slots=True)
class Operators:
    """A thread that gives one command after the other; `advances` are the spans the clock is moved by."""

    system: System
    book: Book
    traffic: Traffic
    crm: Recipient
    dice: random.Random
    pause: float = 2.0
    advances: tuple[str, ...] = ("PT7M", "PT20M", "PT45M", "PT90M")
    stopping: threading.Event = field(default_factory=threading.Event)
    holds: dict[str, str] = field(default_factory=dict)
    dues: dict[tuple[str, int, int], str] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="operators", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the command under way end; raises what went wrong in the thread."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(600)
        assert not self._thread.is_alive(), "an operator's command does not end"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        acts: dict[Callable[[], None], int] = {
            self.advance: 5,
            self.erase: 4,
            self.jump: 2,
            self.suspend: 2,
            self.hold: 2,
            self.look: 3,
            self.withdraw: 2,
            self.correct: 3,
        }
        # A pack of cards rather than dice: a run of any length has had every act in its share.
        pack: list[Callable[[], None]] = []
        try:
            while not self.stopping.wait(self.pause):
                if not pack:
                    pack = [act for act, share in acts.items() for _ in range(share)]
                    self.dice.shuffle(pack)
                pack.pop()()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
            self._failure = error

    # ---- commands ------------------------------------------------------------------------------------------
    def ask(self, *verb: str) -> Mapping[str, Any] | None:
        """Give a command, again while something is away; None where it was never done."""
        for _ in range(ATTEMPTS):
            done = self.system.lapse(*verb)
            if done.code == 0:
                self.book.count(f"command {' '.join(verb[:2])}")
                return dict(done.json())
            if done.code != UNAVAILABLE:
                self.book.violate(f"{' '.join(verb[:2])} ended {done.code}: {done.err.strip()[-300:]}")
                return None
            if self.stopping.wait(0.5):
                break
        return None

    def advance(self) -> None:
        """Move the clock on, confirmed."""
        self.move(self.dice.choice(self.advances))

    def move(self, span: str) -> None:
        """Move the clock on and learn what it shows; a command that ends half way has moved it in part."""
        moved = self.ask("clock", "advance", span, "--confirm")
        shown = moved or self.ask("clock", "show")
        if shown is not None:
            self.book.now = micros(shown["now"])

    def jump(self) -> None:
        """20: an unconfirmed jump is refused, the time stands and nothing is destroyed."""
        before = self._destroyed()
        done = self.system.lapse("clock", "advance", "P30D")
        after = self._destroyed()
        if done.code == UNAVAILABLE or before is None or after is None:
            return
        self.book.count("unconfirmed jumps")
        if done.code != REFUSED:
            self.book.violate(f"20: an unconfirmed jump ended {done.code}")
        if before != after:
            self.book.violate(f"20: {len(after - before)} keys were destroyed by a jump")

    def _destroyed(self) -> frozenset[tuple[str, int, int]] | None:
        found = self.system.lapse("bucket", "list", "--state", "destroyed")
        if found.code != 0:
            return None
        return frozenset((r["purpose"], r["period"], r["terms"]) for r in found.json()["buckets"])

    def erase(self) -> None:
        """Somebody asks to be forgotten: from then on until the clock's present nothing of theirs returns."""
        person = self.dice.choice(self.traffic.crowd)
        with self.book.lock:
            self.book.uncertain.add(person.who)
        before = self.book.now
        if self.ask("subject", "erase", person.who, "--reason", "asked", "--yes") is not None:
            self.book.erase(person.who, before)
            # Somebody new takes the place, most of the time: the others come back.
            if self.dice.random() < 0.5:
                self.traffic.crowd.remove(person)
                self.traffic.crowd.append(somebody())

    def withdraw(self) -> None:
        """An operator records a withdrawal."""
        person = self.dice.choice(self.traffic.crowd)
        with self.book.lock:
            self.book.uncertain.add(person.who)
        at = self.book.now
        if self.ask("consent", "withdraw", person.who, "marketing_email") is not None:
            with self.book.lock:
                self.book.account.says(person.who, "marketing_email", granted=False, at=at)

    def correct(self) -> None:
        """Somebody's name is misspelt in what they sent: it is put right in every form of theirs."""
        person, name = self.dice.choice(self.traffic.crowd), somebody().name
        done = self.ask(
            "subject", "correct", person.who, "--set", f"name={name}", "--reason", "wrong", "--yes"
        )
        if done is not None:
            self.book.correct(done["corrected"], name)

    def correct_some(self) -> None:
        """At least one record, of whoever is known by now."""
        until(self._has_corrected, KNOWN, "somebody's record is corrected")

    def _has_corrected(self) -> bool:
        self.correct()
        return bool(self.book.corrected)

    def suspend(self) -> None:
        """16: a suspended processor opens nothing, then it may again."""
        if self.ask("processor", "suspend", "crm", "--reason", "a test") is None:
            self.ask("processor", "resume", "crm")
            return
        self.crm.suspended.set()
        self.crm.glance()
        self.crm.suspended.clear()
        self.ask("processor", "resume", "crm")

    def hold(self) -> None:
        """13: what a hold keeps opens under its id after an erasure, and never after its release."""
        person = self.dice.choice(self.traffic.crowd)
        purposes = [word for purpose in EVERYTHING for word in ("--purpose", purpose)]
        placed = self.ask("hold", "place", person.who, *purposes, "--reason", "case 12")
        if placed is None:
            return
        hold_id = str(placed["hold_id"])
        if self.ask("hold", "open", hold_id, "--reason", "case 12") is None:
            return
        if self.ask("hold", "release", hold_id, "--yes") is None:
            return
        done = self.system.lapse("hold", "open", hold_id, "--reason", "case 12")
        if done.code in (0, 1, 2):
            self.book.violate(f"13: a released hold opens: {done.code}")

    def look(self) -> None:
        """6: due dates never move later."""
        found = self.system.lapse("bucket", "list")
        if found.code != 0:
            return
        for row in found.json()["buckets"]:
            bucket = (row["purpose"], row["period"], row["terms"])
            if row["due"] > self.dues.get(bucket, row["due"]):
                self.book.violate(f"6: the due date of {bucket} grew")
            self.dues[bucket] = row["due"]

    def mint(self, count: int) -> None:
        """Tokens of a few mails, so that they can be opened: to people of the crowd who are known by now."""
        until(lambda: self._minted() >= count, KNOWN, "people are known who can be sent a mail")

    def _minted(self) -> int:
        person = self.dice.choice(self.traffic.crowd)
        done = self.system.lapse("token", "mint", "--site", "www", "--days", "30", "--for", person.who)
        if done.code == 0:
            self.traffic.tokens.append(str(done.json()["token"]))
        elif done.code not in (UNAVAILABLE, UNKNOWN):
            self.book.violate(f"token mint ended {done.code}: {done.err.strip()[-300:]}")
        return len(self.traffic.tokens)
