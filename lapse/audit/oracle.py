"""The independent oracle: what the policy's text and what happened allow, worked out by other means.

It imports schemas only and reads the policy as people wrote it; the compiled plan serves it for numbers
alone. It knows no keys and no vault: somebody who does not trust the pipeline can run it on the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from schemas.errors import NotFound
from schemas.models import RecordDecided
from schemas.plan import PolicyPlan
from schemas.policy import Policy, compile_plan, load
from schemas.retention import Anchored, UntilReview
from schemas.times import DAY


@dataclass(frozen=True, slots=True)
class _Text:
    """A policy as written, and the numbers its compiled form gives to names."""

    policy: Policy
    plan: PolicyPlan

    def states(self, source: str) -> tuple[str, ...]:
        """Purposes a source states, as the file says it."""
        kind, _, form = source.partition("/")
        if kind == "form":
            return self.policy.forms[form].purposes if form in self.policy.forms else ()
        if kind == "email-open":
            opens = self.policy.sources.email_open
            return opens.purposes if opens and self.policy.pixel.mode == "individual" else ()
        return tuple({p for c in self.policy.cookie_categories.values() for p in c.purposes})

    def category_of(self, source: str, name: str) -> str | None:
        """Category of a source's field, as the file says it."""
        sources, kind = self.policy.sources, source.partition("/")[0]
        part = {"form": sources.form, "email-open": sources.email_open, "cookie": sources.cookie}.get(kind)
        rule = part.fields.get(name) if part else None
        return rule if rule is None or isinstance(rule, str) else rule.category

    def due(self, purpose: str, at: int) -> int:
        """When data collected at `at` lapses for a purpose, at the latest."""
        rule = self.policy.purposes[purpose]
        if isinstance(rule.retention, UntilReview):
            return rule.retention.until_review
        span = rule.retention.at_most if isinstance(rule.retention, Anchored) else rule.retention.for_
        width = rule.period.micros + rule.period.months * 28 * DAY
        return span.after(at // width * width)


@lru_cache(maxsize=32)
def _read(text: str) -> _Text:
    policy = load(text, where="policy")
    return _Text(policy, compile_plan(policy))


def _within(category: str, broad: tuple[str, ...]) -> bool:
    parts = category.split(".")
    return any(parts[: len(b.split("."))] == b.split(".") for b in broad)


def excess(entry: RecordDecided, policy_text: str, today_text: str | None = None) -> list[str]:
    """What an entry grants beyond the policy at collection, and today's if given; empty is right."""
    texts = [_read(policy_text)] + ([_read(today_text)] if today_text else [])
    if texts[0].plan.version != entry.policy:
        raise NotFound("not_found", "the entry was decided under another version", f"policy {entry.policy}")
    return list(_excess(entry, texts))


def _excess(entry: RecordDecided, texts: list[_Text]) -> Iterator[str]:
    then = texts[0]
    purposes, categories = list(then.policy.purposes), then.plan.categories
    for link in entry.links:
        if purposes[link.purpose] not in then.states(entry.source):
            yield f"link for {purposes[link.purpose]}, which {entry.source} does not state"
    for verdict in entry.verdicts:
        processor = list(then.policy.processors)[verdict.processor]
        for grant in verdict.grants:
            purpose = purposes[entry.links[grant.link].purpose]
            if entry.outcome != "routed":
                yield f"{processor} is granted a record that was {entry.outcome}"
            for number in grant.categories:
                for text in texts:
                    if not _allows(text, processor, purpose, categories[number]):
                        what, version = categories[number], text.plan.version
                        yield f"{processor} may not have {what} for {purpose} (policy {version})"


def overtaken(entries: Iterable[RecordDecided]) -> list[str]:
    """What was granted of a revision after a newer one of the same record was decided; empty is right.

    Times are the decisions' own, so the order in which entries came to lie does not matter.
    """
    granted: dict[tuple[bytes, int], int] = {}
    taken: dict[bytes, dict[int, int]] = {}
    for entry in entries:
        if entry.outcome not in ("routed", "expired"):
            continue
        first = taken.setdefault(entry.record_id, {})
        first[entry.revision] = min(entry.decided_at, first.get(entry.revision, entry.decided_at))
        if any(verdict.grants for verdict in entry.verdicts):
            name = entry.record_id, entry.revision
            granted[name] = max(entry.decided_at, granted.get(name, entry.decided_at))
    return [
        f"revision {revision} was granted after revision {newer} was decided"
        for (record, revision), last in sorted(granted.items())
        for newer, first in sorted(taken[record].items())
        if newer > revision and first < last
    ]


def _allows(text: _Text, processor: str, purpose: str, category: str) -> bool:
    to, why = text.policy.processors.get(processor), text.policy.purposes.get(purpose)
    if to is None or why is None or purpose not in to.grants:
        return False
    return _within(category, to.grants[purpose]) and _within(category, why.categories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One event as it was published: whom it names, when it counts as collected, what it says and holds."""

    person: str
    source: str
    at: int
    received: int
    fields: frozenset[str]
    grants: frozenset[str] = frozenset()
    denies: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()


@dataclass(slots=True)
class Account:
    """All that has happened and been processed, in no order: what must, and must not, be readable now."""

    policy_text: str
    granted: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    denied: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    erased: dict[str, list[int]] = field(default_factory=dict)
    restricted: set[tuple[str, str]] = field(default_factory=set)

    @property
    def _text(self) -> _Text:
        return _read(self.policy_text)

    def says(self, person: str, purpose: str, *, granted: bool, at: int) -> None:
        """A person has said something about a purpose."""
        (self.granted if granted else self.denied).setdefault((person, purpose), []).append(at)

    def erases(self, person: str, until: int) -> None:
        """A person was erased: nothing collected until then may come back."""
        self.erased.setdefault(person, []).append(until)

    def forbids(self, event: Happened, purpose: str, now: int) -> str | None:
        """Why the event must not be readable for a purpose at a quiet moment; None if nothing forbids it."""
        rule, who = self._text.policy.purposes[purpose], (event.person, purpose)
        if purpose not in self._text.states(event.source):
            return "not stated"
        if now >= self._text.due(purpose, event.at):
            return "due"
        if any(at >= event.at for at in self.denied.get(who, ())):
            return "withdrawn at or after collection"
        if any(until >= event.at for until in self.erased.get(event.person, ())):
            return "erased" if not self._outlives(purpose) else None
        if rule.basis == "consent" and not self.granted.get(who):
            return "never consented"
        opt_out = {rule.opt_out} if isinstance(rule.opt_out, str) else set(rule.opt_out or ())
        return "signal" if opt_out & event.signals else None

    def requires(self, event: Happened, purpose: str, now: int) -> bool:
        """Whether the event must be readable: it could be when it came, and nothing has happened since."""
        who = (event.person, purpose)
        if self.forbids(event, purpose, now) or event.person in self.erased or who in self.restricted:
            return False
        if self.denied.get(who) or event.received >= self._text.due(purpose, event.at):
            return False
        if not any(self.justified(event, purpose)):
            return False
        return self._text.policy.purposes[purpose].basis != "consent" or purpose in event.grants

    def justified(self, event: Happened, purpose: str) -> Iterator[str]:
        """The fields of the event that a purpose justifies."""
        for name in sorted(event.fields):
            category = self._text.category_of(event.source, name)
            if category is not None and _within(category, self._text.policy.purposes[purpose].categories):
                yield name

    def _outlives(self, purpose: str) -> bool:
        return self._text.policy.purposes[purpose].basis in ("legal_obligation", "legal_claims")
