"""What was sent and what became certain about it: the book the verdict is held against."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapse.audit.oracle import Account, Happened
from tests.e2e.live.system import STEADY

PARTNER = """  partner:
    title: Business partner, gets signed events by webhook
    connector: webhook
    grants:
      answer_request: [user.contact.email, user.name, user.contact.organization]
    region: CH
    assures: [equal_security, task_only, no_disclosure]
    erase_within: PT30S
    topic_retention: P1D
    webhook: {url: "fake:partner"}

"""
SITE = "www"
ERASURE_REACH = 5 * 60 * 1_000_000
"""Microseconds an erasure reaches past its time."""


def write_policy(folder: Path) -> Path:
    """The steady policy with a webhook recipient beside the others."""
    text = STEADY.read_text(encoding="utf-8")
    assert text.count("\nhorizons:") == 1
    path = folder / "chaos.yaml"
    path.write_text(text.replace("\nhorizons:", "\n" + PARTNER + "horizons:"), encoding="utf-8")
    return path


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One event the collector has accepted."""

    event_id: str
    kind: str
    happened: Happened
    suspect: bool = False
    """It fills in what only a machine sees."""
    contested: bool = False
    """Another content came under its id, perhaps first."""


@dataclass(slots=True)
class Book:
    """Everything that happened, from several threads."""

    account: Account
    now: int
    """The manual clock as last read: never ahead of the vault's."""
    accepted: dict[str, Sent] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    """People about whom a command was given that has not been confirmed."""
    corrected: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    """Revision and name of every record that was corrected and said to be."""
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, sent: Sent) -> None:
        """A 202 has come."""
        with self.lock:
            self.accepted[sent.event_id] = sent
            self.counts[f"accepted {sent.kind}"] += 1
            said = sent.happened
            for purpose in () if sent.suspect else (*said.grants, *said.denies):
                self.account.says(said.person, purpose, granted=purpose in said.grants, at=said.at)

    def contest(self, event_id: str) -> None:
        """Another content was sent under this id."""
        with self.lock:
            sent = self.accepted[event_id]
            self.accepted[event_id] = Sent(
                event_id=sent.event_id, kind=sent.kind, happened=sent.happened, contested=True
            )

    def erase(self, person: str, until: int) -> None:
        """An erasure was ordered and done."""
        with self.lock:
            self.account.erases(person, until)

    def correct(self, records: Iterable[Mapping[str, Any]], name: str) -> None:
        """Records were corrected to another name, as the command answered."""
        with self.lock:
            for row in records:
                self.corrected[bytes.fromhex(row["record_id"])] = int(row["revision"]), name
                self.counts["corrected records"] += 1

    def count(self, what: str) -> None:
        """One more of these."""
        with self.lock:
            self.counts[what] += 1

    def violate(self, what: str) -> None:
        """Something must not have been so."""
        with self.lock:
            self.violations.append(what)

    def requires(self, sent: Sent, purpose: str) -> bool:
        """Whether the event must be readable for this purpose now."""
        person = sent.happened.person
        if sent.suspect or sent.contested or person in self.uncertain:
            return False
        if sent.kind == "cookie" and not (sent.happened.grants or sent.happened.denies):
            return False  # a mere observation makes nobody known
        return self.account.requires(sent.happened, purpose, self.now)
