"""Governing, the pure part: what signals say about a person, and whether a command may be obeyed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import signing
from schemas.ids import Micros
from schemas.models import (
    AnchorReached,
    Command,
    ConsentStated,
    FieldsCorrected,
    HoldPlaced,
    HoldReleased,
    PolicyPublished,
    ProcessorApproved,
    ProcessorNotified,
    ProcessorSuspended,
    RecordRectified,
    RequestClosed,
    RequestDecided,
    RestrictionLifted,
    RetentionOrdered,
    RightsRequested,
    SignalReceived,
)
from schemas.plan import PolicyPlan, PurposePlan
from schemas.retention import Anchored, anchored_due
from schemas.times import DAY
from vault.values import Judged, PurposeState, Statement

Obeyed = (
    PolicyPublished
    | ProcessorApproved
    | ProcessorSuspended
    | HoldPlaced
    | HoldReleased
    | RequestDecided
    | RestrictionLifted
    | RequestClosed
    | RecordRectified
    | RetentionOrdered
)
"""Every command there is."""
NEEDS_SECOND = (PolicyPublished, RetentionOrdered)
"""Commands that can destroy in bulk: where the policy asks for it they need a second person."""
OBJECTABLE = frozenset({"consent", "legitimate_interests", "public_task"})
"""Bases an objection by a data subject ends (GDPR Art. 7(3), 21(1)); contract and law do not ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A signal that changes a person: statements to fold; `creates` a person nobody knows yet."""

    statements: tuple[Statement, ...] = ()
    creates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """A signal that changes nobody, and why."""

    code: str


def read_signal(signal: SignalReceived, policy: PolicyPlan | None, at: Micros) -> Applied | Turned:
    """What a signal says about consent; requests, anchors and notices say nothing about it."""
    if policy is None:
        return Turned(code="no_basis")
    if signal.via == "processor":
        return _from_recipient(signal, policy, at)
    if signal.site not in policy.sites or isinstance(signal.body, ProcessorNotified):
        return Turned(code="unknown_source")
    match signal.body:
        case ConsentStated(consents=consents):
            if any(said.purpose not in policy.purpose_numbers for said in consents):
                return Turned(code="unknown_purpose")
            said = tuple(Statement(purpose=s.purpose, granted=s.granted, at=at) for s in consents)
            return Applied(statements=said, creates=bool(said))
        case RightsRequested(right="objection", purposes=purposes):
            if any(name not in policy.purpose_numbers for name in purposes):
                return Turned(code="unknown_purpose")
            return Applied(statements=_objections(policy, purposes, at), creates=True)
    return Applied()


def site_of(processor: str) -> str:
    """Return what stands as `site` in a recipient's signals; no site's name has a dot."""
    return f"processor.{processor}"


def _from_recipient(signal: SignalReceived, policy: PolicyPlan, at: Micros) -> Applied | Turned:
    """A recipient speaks of itself, and passes on withdrawals of what it has: it can grant nothing."""
    number = policy.processor_numbers.get(signal.site.removeprefix("processor."))
    if number is None or signal.site != site_of(policy.processors[number].name):
        return Turned(code="unknown_source")
    processor = policy.processors[number]
    match signal.body:
        case ProcessorNotified(processor=name):
            return Applied() if name == processor.name else Turned(code="unknown_source")
        case ConsentStated(consents=consents):
            may = {
                policy.purposes[purpose].name
                for purpose in processor.grants
                if policy.purposes[purpose].basis in OBJECTABLE
            }
            ends = [said.purpose for said in consents if not said.granted and said.purpose in may]
            said = tuple(Statement(purpose=name, granted=False, at=at) for name in ends)
            return Applied(statements=said, creates=True) if said else Turned(code="no_basis")
    return Turned(code="unknown_source")


def _objections(policy: PolicyPlan, named: list[str], at: Micros) -> tuple[Statement, ...]:
    """Everything an objection ends: the purposes named, or all that a person may object to."""
    purposes = [policy.purpose(name) for name in named] or [
        p for p in policy.purposes if p.basis in OBJECTABLE
    ]
    return tuple(
        Statement(purpose=p.name, granted=False, at=at, objection=True)
        for p in purposes
        if p.basis in OBJECTABLE
    )


def anchored(purpose: PurposePlan, held: PurposeState, body: AnchorReached) -> Micros | None:
    """When data held for an anchored purpose is due once the anchor is reached; None if nothing changes.

    Due dates never move later: a second anchor only ever brings one forward.
    """
    retention = purpose.retention
    if not isinstance(retention, Anchored) or retention.after != body.anchor:
        return None
    if held.key is None or held.oldest is None:
        return None
    due = anchored_due(retention, body.reached_at, purpose.start(purpose.period(held.oldest)))
    return None if held.due is not None and held.due <= due else due


COMMAND_FRESH = 30 * DAY
"""A command counts if it reaches the log within this time of being signed. Which ones were carried out is
remembered for longer (`upkeep.COMMANDS_FOR`), so that none is ever carried out twice.
"""


def stale(command: Command | FieldsCorrected, appended: Micros, *, own: bool) -> str | None:
    """Why a command signed long before it came does not count: its replay might go unnoticed.

    `appended` is the broker's time. What the system signs itself (`own`) bears the vault's time, which may be
    ahead on test data.
    """
    early, late = appended - command.at > COMMAND_FRESH, command.at - appended > DAY
    return "stale_command" if early or (late and not own) else None


def refusal(
    command: Command, keys: Mapping[str, bytes], judged: Judged | None, policy: PolicyPlan | None
) -> str | None:
    """Why a command is not obeyed, or None: signature, replay, second person, names the policy knows."""
    if not command.signature:
        return "unsigned"
    if command.key_id not in keys:
        return "unknown_key"
    if not signing.verify(command, keys):
        return "bad_signature"
    if judged is not None:
        return "replayed"
    if policy is None:
        return None if isinstance(command, PolicyPublished) else "no_basis"
    bulk = policy.brakes.second_person and isinstance(command, NEEDS_SECOND)
    if bulk and command.approved_by in (None, command.ordered_by):
        return "second_person"
    return _unknown(command, policy)


def _unknown(command: Command, policy: PolicyPlan) -> str | None:
    match command:
        case ProcessorApproved(processor=name) | ProcessorSuspended(processor=name):
            return None if name in policy.processor_numbers else "not_found"
        case (
            HoldPlaced(purposes=purposes)
            | RequestDecided(purposes=purposes)
            | RestrictionLifted(purposes=purposes)
        ):
            return None if all(name in policy.purpose_numbers for name in purposes) else "unknown_purpose"
        case RetentionOrdered(purpose=name):
            return None if name in policy.purpose_numbers else "unknown_purpose"
        case _:
            return None
