"""Routing, the pure part: what each processor may have of a record, and why not the rest.

Both policies must allow: the one the record was collected under and today's. The entry names numbers of the
policy at collection, so whoever holds that policy can decide it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from processors import assurance
from schemas.ids import Micros
from schemas.models import Outcome, RecordTagged, Verdict, VerdictGrant, VerdictRefusal
from schemas.plan import PolicyPlan, ProcessorPlan
from vault.values import ProcessorState

UNKNOWN, LIVE, DENIED, ENDED = range(4)
"""The two bits per purpose in `RecordDecided.state`."""
EXPIRED = ("expired", "withdrawn", "objected", "erased")
"""Of several dead links' codes the first of these becomes the record's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """One link of a record as the vault has it now: `closed` says why it no longer opens, None if it does."""

    closed: str | None = None
    restricted: bool = False
    denied: bool = False
    use_until: Micros = Micros(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is decided for one record; `state` as in `RecordDecided`."""

    outcome: Outcome
    code: str | None
    state: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policy at collection and today's."""

    then: PolicyPlan
    today: PolicyPlan


def route(
    record: RecordTagged,
    policies: Policies,
    subject: Sequence[LinkState],
    processors: Mapping[str, ProcessorState],
    now: Micros,
    *,
    superseded: bool = False,
) -> Decision:
    """Decide a record; `subject` has the state of each link, in order; a superseded one goes nowhere."""
    state = _state(record, subject)
    if all(link.closed for link in subject):
        code = min((link.closed for link in subject if link.closed), key=EXPIRED.index, default="expired")
        return Decision(outcome="expired", code=code, state=state, verdicts=())
    bars = {
        each.name: "superseded" if superseded else barred(each.name, policies, processors, now)
        for each in policies.then.processors
    }
    verdicts = tuple(
        _verdict(record, policies, processor, subject, bars[processor.name])
        for processor in policies.then.processors
    )
    return Decision(outcome="routed", code=None, state=state, verdicts=verdicts)


def barred(
    name: str, policies: Policies, processors: Mapping[str, ProcessorState], now: Micros
) -> str | None:
    """Why a processor may have nothing at all now, None if it may."""
    number = policies.today.processor_numbers.get(name)
    if number is None:
        return "not_granted"
    today, state = policies.today.processors[number], processors.get(name)
    if state is None or not state.approved:
        return "not_approved"
    if state.suspended or today.suspended is not None:
        return "suspended"
    until = assurance.ends(today, state.assurance_until)
    if until is not None and until <= now:
        return "assurance_ended"
    return None


def _state(record: RecordTagged, subject: Sequence[LinkState]) -> int:
    state = 0
    for link, now in zip(record.links, subject, strict=True):
        bits = DENIED if now.denied else ENDED if now.closed else LIVE
        state |= bits << (2 * link.purpose)
    return state


def _verdict(
    record: RecordTagged,
    policies: Policies,
    processor: ProcessorPlan,
    subject: Sequence[LinkState],
    bar: str | None,
) -> Verdict:
    grants: list[VerdictGrant] = []
    refusals: list[VerdictRefusal] = []
    for number, (link, state) in enumerate(zip(record.links, subject, strict=True)):
        code = bar or state.closed or ("restricted" if state.restricted else None)
        if code:
            refusals.append(VerdictRefusal(link=number, code=code))
            continue
        held = sorted(_categories(record, number))
        allowed = [c for c in held if allows(policies, processor, link.purpose, c)]
        if allowed:
            grants.append(VerdictGrant(link=number, categories=allowed))
            refusals += [
                VerdictRefusal(link=number, category=c, code="not_granted") for c in held if c not in allowed
            ]
        else:
            refusals.append(VerdictRefusal(link=number, code="not_granted"))
    return Verdict(processor=processor.number, grants=grants, refusals=refusals)


def _categories(record: RecordTagged, link: int) -> set[int]:
    """Categories the record holds under a link."""
    return {
        c for box in record.compartments for c in box.categories if any(w.link == link for w in box.wraps)
    }


def allows(policies: Policies, processor: ProcessorPlan, purpose: int, category: int) -> bool:
    """Whether both policies grant the processor this category for this purpose (numbers of the older)."""
    then, today = policies.then, policies.today
    if category not in processor.grants.get(purpose, frozenset()):
        return False
    if then is today:
        return True
    purpose_today = today.purpose_numbers.get(then.purposes[purpose].name)
    processor_today = today.processor_numbers.get(processor.name)
    category_today = today.category_numbers.get(then.categories[category])
    if purpose_today is None or processor_today is None or category_today is None:
        return False
    if category_today not in today.purposes[purpose_today].categories:
        return False
    return category_today in today.processors[processor_today].grants.get(purpose_today, frozenset())
