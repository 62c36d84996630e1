"""The recipients that stand-ins play, from outside: what lies on each shelf, and that it ends empty."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lapse.demo.checks import Check, check
from lapse.demo.people import Person
from lapse.main import Installation
from lapse.reading import read
from processors.awaiting import Awaiting
from schemas.models import ReceiptGiven, ReceiptOutcome

Object = Mapping[str, Any]
ANSWER_SECONDS = 1.0
OURS = frozenset({"collected_at", "metadata.lapse", "Subject_Key__c"})
"""Fields that say when or by whom, not who."""


@dataclass(slots=True, kw_only=True)
class Stand:
    """One stand-in: what it held at the last look, and every object it was ever seen to hold."""

    name: str
    url: str
    objects: list[Object] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    asked: int = 0
    could: set[str] = field(default_factory=set)
    """Fields of the followed person that it was ever seen to hold."""

    def look(self) -> None:
        """Ask what it holds; where it does not answer, what was seen last stays."""
        found = _asked(self.url, "/_held")
        if found is not None:
            # A card that was emptied stands there still, and says nothing of anybody.
            self.objects = [each for each in found["objects"] if any(each["fields"].values())]
            self.seen |= {str(each["id"]) for each in self.objects}
        if not self.seen:  # one that keeps nothing says how often it was asked
            self.asked = int((_asked(self.url, "/_counts") or {}).get("verified", 0))

    @property
    def met(self) -> int:
        """How many objects it ever held, or how often it was asked where it holds none."""
        return len(self.seen) or self.asked

    def of(self, values: Iterable[str]) -> list[Object]:
        """Return the objects in which any of these values stands."""
        needles = [json.dumps(value)[1:-1] for value in values]
        return [each for each in self.objects if any(n in json.dumps(each) for n in needles)]

    def reads(self, value: str) -> tuple[str, ...]:
        """Return the names of the filled fields of the objects in which this value stands."""
        names = {name for each in self.of([value]) for name, text in each["fields"].items() if text} - OURS
        self.could |= names
        return tuple(sorted(names))


def stands(run: Mapping[str, Any]) -> list[Stand]:
    """Return every recipient that a stand-in plays, by the run file."""
    played = {name: facts["fake_url"] for name, facts in run["processors"].items() if facts.get("fake_url")}
    return [Stand(name=name, url=url) for name, url in played.items()]


def _asked(url: str, path: str) -> dict[str, Any] | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url.rstrip("/") + path, timeout=ANSWER_SECONDS) as answer:
            return dict(json.load(answer))
    except (urllib.error.URLError, TimeoutError, OSError, ValueError):
        return None


# ---- 21: what a recipient holds ----------------------------------------------------------------------------
EMPTY_SECONDS = 15.0
"""How long recipients get for their last removals, once every key is gone."""
LEFT: frozenset[ReceiptOutcome] = frozenset({"overwritten_only", "manual_required", "failed_permanent"})
"""Outcomes that say that something may still lie there."""


def emptied(here: Installation, stands: Iterable[Stand], people: Iterable[Person]) -> Check:
    """Search every stand-in's shelf for everybody's values; what is left must stand in its receipts."""
    values, stands = [value for p in people for value in (p.email, p.phone, p.name)], list(stands)
    deadline = time.monotonic() + EMPTY_SECONDS
    while True:
        for stand in stands:
            stand.look()
        if not any(stand.of(values) for stand in stands) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    told = _told(here)
    bad, said = 0, []
    for stand in stands:
        left, honest = len(stand.of(values)), sorted(LEFT & told[stand.name].keys())
        bad += max(0, left - (_known_to_be_left(here, stand.name) if honest else 0))
        why = f" ({', '.join(honest)})" if left and honest else ""
        said.append(f"{stand.name} {left} of {stand.met}{why}")
    examined, figure = sum(stand.met for stand in stands), f"left there: {', '.join(said)}"
    return check(21, bad, examined, figure, "curl FAKE_URL/_held, of DATA/run.json")


def _told(here: Installation) -> dict[str, Counter[ReceiptOutcome]]:
    """How often each outcome was told, by recipient."""
    told: dict[str, Counter[ReceiptOutcome]] = defaultdict(Counter)
    for _, receipt in read(here, ["receipts"]):
        if isinstance(receipt, ReceiptGiven):
            told[receipt.processor][receipt.outcome] += 1
    return told


def _known_to_be_left(here: Installation, name: str) -> int:
    """How many objects the vault itself still follows there: refused, or to be removed by hand."""
    with here.vault.transaction(write=False) as tx:
        return tx.objects_held(name)[0] + Awaiting(name).count(tx)
