"""Watches every byte that leaves: it may hold what was open when its call began, and nothing else.

Values are looked for as they are; of what was never granted, also by their usual hashes. Handles and the
names under which others know a person are looked for as hex and base64.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from processors.conformance.party import Party
from processors.conformance.people import Given
from processors.conformance.tap import Seen
from processors.conformance.trace import template


class Leaving:
    """What has left in one run, and what of it may not have."""

    def __init__(self, party: Party, given: Sequence[Given]) -> None:
        self._party, self._given = party, given
        self._open: list[frozenset[str]] = []
        self._ever: set[str] = set()
        self.secret: dict[str, bytes] = {}
        """What must never leave, by what it is called."""
        self.faults: list[str] = []
        self.sent: set[str] = set()
        self.shut = False
        """Whether the processor is suspended: nothing is open then."""

    def handed(self, one: Given) -> None:
        """Note what of a delivery may ever leave, and what of it never may."""
        self._ever |= self._open_marks([one])
        for number, grant in enumerate(one.record.grants):
            self.secret[f"a handle ({one.name}, {number})"] = grant.handle

    def _open_marks(self, given: Sequence[Given]) -> set[str]:
        return {
            each.marks[name]
            for each in given
            if each.order >= 0
            for name in each.living()
            if self._mapped(name)
        }

    def _mapped(self, name: str) -> bool:
        return name in self._party.fields or not self._party.unmapped

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let what is open now leave until the call ends."""
        allowed = frozenset() if self.shut else frozenset(self._open_marks(self._given))
        self._open.append(allowed)
        try:
            yield
        finally:
            self._open.remove(allowed)

    def judge(self, seen: Seen) -> None:
        """Look through one request."""
        text = seen.raw.decode("latin-1")
        low, where = text.lower(), f"{seen.method} {template(seen.target)}"
        allowed = frozenset[str]().union(*self._open)
        for each in self._given:
            for name, mark in each.marks.items():
                if mark in low:
                    self.sent.add(mark)
                    if mark not in allowed:
                        self.faults.append(f"{name} of {each.name} leaves in {where} and is not granted")
                elif mark not in self._ever and any(h in low for h in _hashes(each.values[name])):
                    self.faults.append(f"a hash of {name} of {each.name} leaves in {where}")
        for what, value in self.secret.items():
            if value.hex() in low or base64.b64encode(value).decode().rstrip("=") in text:
                self.faults.append(f"{what} leaves in {where}")

    def never_sent(self, living: Mapping[str, str], person: str) -> list[str]:
        """Return what should have been sent and was not."""
        return [
            f"{theirs} of {person} was never sent" for theirs, mark in living.items() if mark not in self.sent
        ]


def _hashes(value: str) -> list[str]:
    raw = value.strip().lower().encode()
    return [hashlib.new(name, raw, usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256")]
