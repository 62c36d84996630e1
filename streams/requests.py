"""What an officer's decision on a data subject's request does: erase, end interests, restrict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from schemas.ids import Micros
from schemas.models import RequestDecided, RequestStepped
from schemas.plan import Plans, PolicyPlan
from streams.governing import OBJECTABLE
from streams.people import forget_last_open
from vault.ending import apply_statements, erase
from vault.herald import SYSTEM, Herald
from vault.port import Tx
from vault.values import AliasRow, Statement, SubjectState

Detail = dict[str, Any]
"""What a judged command's answer says; never personal data."""


def decide(
    tx: Tx, command: RequestDecided, plans: Plans, herald: Herald, steps: list[RequestStepped]
) -> Detail:
    """An officer's decision on a request; the command on `control` is its own proof."""
    policy = plans.in_force(tx.now) or plans.latest
    match command.right:
        case "erasure":
            detail = _erase(tx, command, policy, herald)
        case "objection":
            detail = _object(tx, command, plans, herald)
        case "restriction":
            detail = _restrict(tx, command)
        case "access" | "portability" | "rectification":
            detail = {}
    state = tx.request(command.request_id)
    if state is not None:
        kept = tuple(str(name) for name in detail.get("kept", ()))
        tx.put_request(replace(state, state="decided", until=command.until, kept=kept))
    steps.append(decided_step(command, tx.now))
    return detail


def decided_step(command: RequestDecided, at: Micros) -> RequestStepped:
    """That a request was decided."""
    return RequestStepped(request_id=command.request_id, right=command.right, step="decided", at=at)


def _erase(tx: Tx, command: RequestDecided, policy: PolicyPlan, herald: Herald) -> Detail:
    stays = {purpose.name for purpose in policy.purposes if purpose.keeps_on_erasure}
    named = set(command.purposes)
    keep = stays if not named else {p.name for p in policy.purposes} - named | stays
    erased = erase(tx, command.alias_hashes, command.until, herald, keep=keep)
    kept = sorted({purpose for _, purpose in erased.kept})
    return {"subjects": len(erased.subjects), "kept": kept}


def _people(tx: Tx, hashes: Sequence[bytes]) -> list[SubjectState]:
    rows = [row for found in tx.aliases(hashes).values() for row in found]
    numbers = {row.subject for row in rows if row.subject is not None}
    return list(tx.subjects(numbers).values())


def _object(tx: Tx, command: RequestDecided, plans: Plans, herald: Herald) -> Detail:
    policy = plans.in_force(tx.now) or plans.latest
    purposes = command.purposes or [p.name for p in policy.purposes if p.basis in OBJECTABLE]
    # What the system itself says here, it says of withdrawals too; it is obeyed in a restored vault alone.
    objection = command.ordered_by != SYSTEM or command.reason != "withdrawal"
    people = _people(tx, command.alias_hashes)
    if not people and command.alias_hashes:
        people = [_newcomer(tx, command.alias_hashes, command.until)]
    for state in people:
        said = [Statement(purpose=p, granted=False, at=command.until, objection=objection) for p in purposes]
        apply_statements(tx, state, said, herald)
        forget_last_open(tx, plans, state.number, purposes)
    return {"subjects": len(people), "purposes": list(purposes)}


def _newcomer(tx: Tx, hashes: Sequence[bytes], at: Micros) -> SubjectState:
    """Whoever objects is known from then on, so that nothing collected before is ever taken for it."""
    state = tx.new_subject()
    tx.put_subjects([state])
    tx.put_aliases(AliasRow(hash=hash_, subject=state.number, since=at) for hash_ in hashes)
    return state


def _restrict(tx: Tx, command: RequestDecided) -> Detail:
    people = _people(tx, command.alias_hashes)
    for state in people:
        for name in command.purposes or list(state.purposes):
            state = state.having(name, replace(state.purpose(name), restricted=True))
        tx.put_subjects([state])
    return {"subjects": len(people)}
