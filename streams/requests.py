"""What an officer's decision on a person's request does: erase, end interests, restrict, lift, close."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, get_args

from msgspec.structs import replace

from schemas.errors import Refused
from schemas.ids import Micros, SubjectNumber
from schemas.models import (
    RequestClosed,
    RequestDecided,
    RequestOutcome,
    RequestStepped,
    RestrictionLifted,
    Right,
)
from schemas.plan import Plans, PolicyPlan
from schemas.times import DAY
from streams.governing import OBJECTABLE
from streams.people import forget_last_open
from vault.ending import apply_statements, erase
from vault.handles import subject_ref
from vault.herald import SYSTEM, Herald
from vault.port import Tx
from vault.subjects import resolve
from vault.tasks import Task
from vault.values import AliasRow, RequestState, Statement, SubjectState

Detail = dict[str, Any]
"""What a judged command's answer says; never personal data."""
OPEN = ("received", "decided")
"""States of a request that somebody still waits for an answer to."""


def answer_by(request: RequestState, policy: PolicyPlan) -> Micros:
    """Return until when a request has to be answered: the policy's `answer_days` after it was received."""
    return Micros(request.received_at + policy.rights[request.right].answer_days * DAY)


def waiting(tx: Tx) -> list[RequestState]:
    """Return the requests nobody has answered yet."""
    return [row for state in OPEN for row in tx.requests(state)]


def closed_before(tx: Tx, before: Micros) -> list[RequestState]:
    """Return the requests that came before this time and that nobody waits for any more."""
    rows = (row for state in get_args(RequestOutcome) for row in tx.requests(state))
    return [row for row in rows if row.received_at < before]


def counted(rows: Iterable[RequestState], policy: PolicyPlan, now: Micros) -> dict[Right, tuple[int, int]]:
    """Return for every right how many of these requests wait, and how many of them for too long."""
    found: dict[Right, tuple[int, int]] = dict.fromkeys(policy.rights, (0, 0))
    for row in rows:
        waits, late = found[row.right]
        found[row.right] = waits + 1, late + (now > answer_by(row, policy))
    return found


def decide(
    tx: Tx, command: RequestDecided, plans: Plans, herald: Herald, steps: list[RequestStepped]
) -> Detail:
    """An officer's decision on a request; the command on `control` is its own proof."""
    policy = plans.today(tx.now)
    named(command, policy)
    match command.right:
        case "erasure":
            detail = _erase(tx, command, policy, herald)
        case "objection":
            detail = _object(tx, command, plans, herald)
        case "restriction":
            detail = _restrict(tx, command, plans, herald)
        case "access" | "portability" | "rectification":
            detail = {}
    state = tx.request(command.request_id)
    if state is not None and state.state in OPEN:  # an answered one names nobody any more
        kept = tuple(str(name) for name in detail.get("kept", ()))
        tx.put_request(replace(state, state="decided", until=command.until, kept=kept))
    steps.append(decided_step(command, tx.now))
    return detail


def named(command: RequestDecided, policy: PolicyPlan) -> None:
    """Refuse an officer's order under a right the policy does not promise; nothing stops an erasure.

    What the system applied itself is only ever done again.
    """
    if command.ordered_by == SYSTEM or command.right in ("erasure", "rectification"):
        return
    if not policy.rights[command.right].named:
        do = "name it under `rights` in the next version of the policy"
        raise Refused("right_not_named", "the policy does not name this right", command.right, do)


def close(tx: Tx, command: RequestClosed, steps: list[RequestStepped]) -> Detail:
    """A request was answered, or refused: nobody waits any more, and whom it named is forgotten."""
    state = tx.request(command.request_id)
    if state is not None and state.state in OPEN:
        tx.put_request(replace(state, state=command.outcome, alias_hashes=(), detail=b""))
    steps.append(closed_step(command, tx.now))
    return {}


def lift(tx: Tx, command: RestrictionLifted, steps: list[RequestStepped]) -> Detail:
    """Let what was restricted be used again.

    What the law keeps of an erased person stays restricted, for no identifier leads there any more.
    """
    people, lifted = _people(tx, command.alias_hashes), set[str]()
    for state in people:
        names = [name for name in command.purposes or state.purposes if state.purpose(name).restricted]
        for name in names:
            state = state.having(name, replace(state.purpose(name), restricted=False))
        tx.put_subjects([state])
        lifted.update(names)
    steps.append(lifted_step(command, tx.now))
    return {"subjects": len(people), "purposes": sorted(lifted)}


def decided_step(command: RequestDecided, at: Micros) -> RequestStepped:
    """That a request was decided."""
    return RequestStepped(request_id=command.request_id, right=command.right, step="decided", at=at)


def closed_step(command: RequestClosed, at: Micros) -> RequestStepped:
    """That a request was answered or refused."""
    return RequestStepped(request_id=command.request_id, right=command.right, step=command.outcome, at=at)


def lifted_step(command: RestrictionLifted, at: Micros) -> RequestStepped:
    """That a restriction was lifted."""
    return RequestStepped(request_id=command.request_id, right="restriction", step="lifted", at=at)


def step_of(command: object, at: Micros) -> RequestStepped | None:
    """The step a command that was carried out has taken, None where it took none."""
    match command:
        case RequestDecided():
            return decided_step(command, at)
        case RequestClosed():
            return closed_step(command, at)
        case RestrictionLifted():
            return lifted_step(command, at)
    return None


def _erase(tx: Tx, command: RequestDecided, policy: PolicyPlan, herald: Herald) -> Detail:
    stays = {purpose.name for purpose in policy.purposes if purpose.keeps_on_erasure}
    named = set(command.purposes)
    keep = stays if not named else {p.name for p in policy.purposes} - named | stays
    erased = erase(tx, command.alias_hashes, command.until, herald, keep=keep)
    kept = sorted({purpose for _, purpose in erased.kept})
    return {"subjects": len(erased.subjects), "kept": kept}


def _people(tx: Tx, hashes: Sequence[bytes]) -> list[SubjectState]:
    """Whoever these identifiers lead to now; not what stays of those they led to before an erasure."""
    rows = [row for found in tx.aliases(hashes).values() for row in found]
    return list(tx.subjects(resolve(rows, tx.now).subjects).values())


def _object(tx: Tx, command: RequestDecided, plans: Plans, herald: Herald) -> Detail:
    policy = plans.today(tx.now)
    if command.ordered_by != SYSTEM:
        _objectable(command.purposes, policy)
    purposes = command.purposes or [p.name for p in policy.purposes if p.basis in OBJECTABLE]
    # What the system itself says here, it says of withdrawals too; it is obeyed in a restored vault alone.
    objection = command.ordered_by != SYSTEM or command.reason != "withdrawal"
    people = _people(tx, command.alias_hashes) or _newcomers(tx, command)
    for state in people:
        said = [Statement(purpose=p, granted=False, at=command.until, objection=objection) for p in purposes]
        apply_statements(tx, state, said, herald)
        forget_last_open(tx, plans, state.number, purposes)
    return {"subjects": len(people), "purposes": list(purposes)}


def _objectable(purposes: Iterable[str], policy: PolicyPlan) -> None:
    """Refuse an objection to what contract or law rest on: it would destroy what has to be kept."""
    for name in purposes:
        if policy.purpose(name).basis not in OBJECTABLE:
            do = "leave it out; what an objection cannot end may be restricted or erased"
            raise Refused("not_objectable", "the purpose rests on no basis one may object to", name, do)


def _newcomers(tx: Tx, command: RequestDecided) -> list[SubjectState]:
    """Whoever objects is known from then on, so that nothing collected before is ever taken for it.

    What the system says again of one person is one person's; the identifiers of a request are whose they are.
    """
    hashes = list(dict.fromkeys(command.alias_hashes))
    together = [hashes] if command.ordered_by == SYSTEM and hashes else [[each] for each in hashes]
    return [_newcomer(tx, each, command.until) for each in together]


def _newcomer(tx: Tx, hashes: Sequence[bytes], at: Micros) -> SubjectState:
    state = tx.new_subject()
    tx.put_subjects([state])
    tx.put_aliases(AliasRow(hash=hash_, subject=state.number, since=at) for hash_ in hashes)
    return state


def _restrict(tx: Tx, command: RequestDecided, plans: Plans, herald: Herald) -> Detail:
    """Keep and let nobody use: for the purposes named or every one, also what arrives of them later."""
    every = dict.fromkeys(purpose.name for plan in plans for purpose in plan.purposes)
    names = command.purposes or list(every)
    people = _people(tx, command.alias_hashes) or _newcomers(tx, command)
    tasks: list[str] = []
    for state in people:
        for name in names:
            state = state.having(name, replace(state.purpose(name), restricted=True))
        tx.put_subjects([state])
        owed = _to_inform(tx, state.number, names, command, plans, herald)
        tx.put_tasks(owed)
        tasks += [task.processor for task in owed]
    return {"subjects": len(people), "purposes": list(command.purposes), "inform": sorted(set(tasks))}


def _to_inform(
    tx: Tx,
    number: SubjectNumber,
    names: Collection[str],
    command: RequestDecided,
    plans: Plans,
    herald: Herald,
) -> list[Task]:
    """A task for each recipient that may hold a copy in clear.

    Nothing on its topic says that a person's data is restricted, so somebody has to (GDPR Art. 19). It names
    the person as that recipient knows them.
    """
    owed = []
    for name in tx.told_of_subject(number):
        granted = {
            p.purposes[n].name
            for p in plans
            for each in p.processors
            if each.name == name
            for n in each.grants
        }
        purposes = tuple(purpose for purpose in names if purpose in granted)
        ref = subject_ref(herald.secrets.processor(name), number)
        about = hashlib.sha256(b"lapse/v1/restriction" + command.request_id + ref).digest()[:16]
        if not purposes or tx.task(name, about) is not None:
            continue
        owed.append(
            Task(
                processor=name,
                about=about,
                state="open",
                kind="inform",
                due=Micros(tx.now + herald.recipient(name).erase_within),
                look=tx.now,
                since=tx.now,
                scope="person",
                purposes=purposes,
                opened_at=tx.now,
                reason=f"restricted: {ref.hex()}",
            )
        )
    return owed
