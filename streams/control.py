"""The control stage: signed commands, in their one order, change the vault; each is judged once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from processors import assurance
from schemas import codec
from schemas.errors import BadInput, LapseError, NotFound, Refused, Rejected
from schemas.ids import Micros
from schemas.models import (
    Command,
    HoldPlaced,
    HoldReleased,
    PolicyPublished,
    ProcessorApproved,
    ProcessorSuspended,
    RecordRectified,
    RequestClosed,
    RequestDecided,
    RequestStepped,
    RestrictionLifted,
    RetentionOrdered,
)
from schemas.plan import Plans, PolicyPlan
from schemas.policy import Policy, compile_plan, diff, load
from schemas.retention import Duration
from streams import metrics
from streams.governing import refusal, stale
from streams.policing import apply_policy, shorten_terms
from streams.ports import Inbound
from streams.requests import Detail, close, decide, lift, step_of
from streams.stage import Finding, Judged, Part, is_tick
from vault.herald import Herald, announce_recall
from vault.holds import place_hold, release_hold
from vault.port import Tx
from vault.rectifying import rectify_again
from vault.transaction import destroying
from vault.values import PolicyRow, ProcessorState, RetentionOrder


class ControlEntry(msgspec.Struct, frozen=True, array_like=True):
    """A command that was judged at this offset."""

    code: str | None = None


@dataclass(slots=True, kw_only=True)
class ControlWork(Judged):
    """A judged part of `control`."""

    steps: list[RequestStepped]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlJudge:
    """Obeys commands inside transactions; `own_key` is the key id under which Lapse itself signs."""

    herald: Callable[[Plans], Herald]
    keys: Callable[[Tx, PolicyPlan | None], Mapping[str, bytes]]
    plans: Callable[[Tx], Plans]
    finding: Finding
    own_key: str = "service"

    def obey(
        self,
        tx: Tx,
        part: Part,
        commands: Mapping[int, Command | None],
        planned: Mapping[int, ControlEntry] | None,
    ) -> ControlWork:
        """Commit 1: judge every command of a part in order; one that was planned is judged already."""
        plan: dict[int, ControlEntry] = {}
        steps: list[RequestStepped] = []
        if planned is not None:
            return ControlWork(
                seq=tx.seq, planned=[plan], owes=True, steps=_steps_again(tx, commands, planned)
            )
        for record in part.records:
            if is_tick(record):
                continue
            command = commands[record.offset]
            code = "schema_mismatch" if command is None else self._judge(tx, command, record, steps)
            plan[record.offset] = ControlEntry(code)
            name = type(command).__name__ if command is not None else "unreadable"
            metrics.COMMANDS.labels(name, code or "").inc()
            if code is not None:
                self.finding(f"command refused: {code}", f"control {record.offset}")
            tx.set_control_offset(record.offset + 1)
        return ControlWork(seq=tx.seq, planned=[plan], owes=True, steps=steps)

    def _judge(self, tx: Tx, command: Command, record: Inbound, steps: list[RequestStepped]) -> str | None:
        """Judge one command; returns why it was refused, None if it was carried out."""
        plans = self.plans(tx)
        policy = plans.today(tx.now) if len(plans) else None
        judged = tx.command_judged(command.command_id)
        code = refusal(command, self.keys(tx, policy), judged, policy)
        own = command.key_id == self.own_key
        if code == "replayed" and own:
            return None  # what the system applied itself was judged in the transaction that applied it
        code = code or stale(command, Micros(record.timestamp_ms * 1000), own=own)
        detail: Detail = {}
        if code is None:
            try:
                detail = self._carry_out(tx, command, plans, steps)
            except (BadInput, NotFound, Refused, Rejected) as error:
                code, detail = error.code, _why(error)
        if judged is None:
            tx.judge_command(command.command_id, code, json.dumps(detail).encode())
        return code

    def _carry_out(self, tx: Tx, command: Command, plans: Plans, steps: list[RequestStepped]) -> Detail:
        match command:
            case PolicyPublished():
                return self._publish(tx, command, plans)
            case ProcessorApproved():
                return _approve(tx, command, plans)
            case ProcessorSuspended():
                return _suspend(tx, command, self.herald(plans))
            case HoldPlaced():
                return _place(tx, command, plans)
            case HoldReleased():
                release_hold(tx, command.hold_id)
                return {}
            case RetentionOrdered():
                return _shorten(tx, command, plans)
        return self._of_people(tx, command, plans, steps)

    def _of_people(self, tx: Tx, command: Command, plans: Plans, steps: list[RequestStepped]) -> Detail:
        match command:
            case RequestDecided():
                return decide(tx, command, plans, self.herald(plans), steps)
            case RestrictionLifted():
                return lift(tx, command, steps)
            case RequestClosed():
                return close(tx, command, steps)
            case RecordRectified():
                return self._rectify(tx, command, plans)
        raise BadInput("bad_argument", "no such command", type(command).__name__)

    def _rectify(self, tx: Tx, command: RecordRectified, plans: Plans) -> Detail:
        """In a restored vault alone: what the system said of itself. A correction is no command."""
        if command.key_id != self.own_key:
            do = "correct it: lapse subject correct"
            raise Refused("forbidden", "nobody orders a revision", "control", do)
        rectify_again(tx, self.herald(plans), command.record_id, command.revision)
        return {}

    def _publish(self, tx: Tx, command: PolicyPublished, plans: Plans) -> Detail:
        policy = load(command.body, where=f"policy {command.version}")
        if policy.version != command.version or policy.sha256 != command.sha256:
            raise BadInput(
                "bad_policy", "the text is not the one that was signed", f"policy {command.version}"
            )
        known = next((plan for plan in plans if plan.version == command.version), None)
        if known is not None and known.sha256 == command.sha256:
            return {
                "version": known.version,
                "hidden": 0,
                "shortened": 0,
            }  # set-up put it there
        if len(plans) and command.version <= plans.latest.version:
            raise Refused("conflict", "a policy version is published once", f"policy {command.version}")
        _follows(tx, policy)
        plan = compile_plan(policy)
        row = PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=command.body)
        tx.put_policy(row)
        hidden, shortened = apply_policy(tx, plan) if plan.effective <= tx.now else (0, 0)
        return {"version": plan.version, "hidden": hidden, "shortened": shortened}


def _follows(tx: Tx, policy: Policy) -> None:
    """Refuse a version that may not follow: due dates never grow, consent is not turned around."""
    published = tx.policies()
    if not published:
        return
    last = load(published[-1].body, where=f"policy {published[-1].version}")
    refused = diff(last, policy).of("refused")
    if refused:
        raise Refused("bad_policy", refused[0].what, refused[0].where, refused[0].do)


def _why(error: LapseError) -> Detail:
    return {"what": error.what, "where": error.where, "do": error.do}


def _approve(tx: Tx, command: ProcessorApproved, plans: Plans) -> Detail:
    plan = plans.today(tx.now).processor(command.processor)
    assurance.check(plan, until=command.assurance_until, evidence=command.evidence, now=tx.now)
    state = tx.processor(command.processor) or ProcessorState(name=command.processor)
    tx.put_processor(
        replace(
            state,
            approved=True,
            suspended=False,
            reason=None,
            since=tx.now,
            assurance_until=command.assurance_until,
            evidence=command.evidence,
        )
    )
    return {"processor": command.processor}


def _suspend(tx: Tx, command: ProcessorSuspended, herald: Herald) -> Detail:
    state = tx.processor(command.processor) or ProcessorState(name=command.processor)
    detail: Detail = {"processor": command.processor}
    if command.recall:
        lapse = announce_recall(destroying(tx), herald, command.processor, command.reason)
        detail["lapse_id"] = lapse.hex()
        state = replace(state, recalled_at=tx.now)
    tx.put_processor(replace(state, suspended=True, reason=command.reason, since=tx.now))
    return detail


def _place(tx: Tx, command: HoldPlaced, plans: Plans) -> Detail:
    """A hold that names no purpose is for all of them."""
    if any(hold.hold_id == command.hold_id for hold in tx.holds()):
        raise Refused("conflict", "a hold of this id was placed before", "hold", "place it under a new id")
    every = dict.fromkeys(purpose.name for plan in plans for purpose in plan.purposes)
    hold = place_hold(
        tx, command.hold_id, command.alias_hashes, command.purposes or list(every), reason=command.reason
    )
    gone = sorted({f"{pair.bucket.purpose} {pair.bucket.period} {pair.bucket.terms}" for pair in hold.gone})
    return {"hold_id": command.hold_id.hex(), "subjects": len(hold.subjects), "gone": gone}


def _shorten(tx: Tx, command: RetentionOrdered, plans: Plans) -> Detail:
    try:
        retention = Duration.parse(command.retention)
    except ValueError:
        raise BadInput("bad_argument", "not an ISO 8601 duration", "retention") from None
    policy = plans.today(tx.now)
    tx.put_retention_order(
        RetentionOrder(
            command_id=command.command_id,
            purpose=command.purpose,
            terms=command.terms,
            retention=command.retention,
            at=tx.now,
        )
    )
    hidden, shortened = shorten_terms(tx, policy, command.purpose, command.terms, retention)
    return {"hidden": hidden, "shortened": shortened}


def _steps_again(
    tx: Tx, commands: Mapping[int, Command | None], planned: Mapping[int, ControlEntry]
) -> list[RequestStepped]:
    """The steps of commands that an earlier attempt has carried out and perhaps not told."""
    done = [
        commands[offset] for offset, entry in planned.items() if entry.code is None and offset in commands
    ]
    return [step for command in done if (step := step_of(command, tx.now)) is not None]


def read_commands(part: Part, spoilt: frozenset[int]) -> dict[int, Command | None]:
    """Decode a part of `control`; None where something else stands there."""
    found: dict[int, Command | None] = {}
    for record in part.records:
        if is_tick(record):
            continue
        found[record.offset] = None
        if record.offset in spoilt:
            continue
        try:
            command = codec.decode(record.value or b"")
        except Rejected:
            continue
        if isinstance(command, Command):
            found[record.offset] = command
    return found
