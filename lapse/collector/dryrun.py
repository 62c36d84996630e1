"""What would happen to a payload under the policy, a person's state aside: nothing is published or read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.ids import Micros
from schemas.models import ConsentStatement
from schemas.plan import PolicyPlan, ProcessorPlan, PurposePlan, SourcePlan
from schemas.policy_words import COLLECTED_AT, MAY_OBJECT
from schemas.times import rfc3339

Document = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What is judged: the names of the fields it brings, never their values."""

    fields: frozenset[str]
    consents: Sequence[ConsentStatement]
    signals: Sequence[str]
    collected_at: Micros


def foresee(payload: Payload, source: SourcePlan, plan: PolicyPlan, now: Micros) -> Document:
    """Purposes held and refused, fields and until when, and what each processor would get.

    A purpose resting on consent that the payload does not state is refused here; an earlier grant would admit
    it, which only the vault knows.
    """
    judged = [(plan.purposes[n], _refusal(plan.purposes[n], payload, now)) for n in source.purposes]
    held = {purpose.number: purpose for purpose, code in judged if code is None}
    mask = sum(purpose.bit for purpose in held.values())
    fields = _fields(payload, source, plan, mask)
    kept = frozenset(name for names in fields.values() for name in names)
    suspect = any(signal.startswith("bot:") for signal in payload.signals)
    outcome = "quarantined" if suspect else "routed" if kept else "discarded"
    return {
        "policy": plan.version,
        "source": source.name,
        "outcome": outcome,
        "code": "bot" if suspect else None if kept else _reason(judged),
        "purposes": [_purpose(purpose, code, fields, payload) for purpose, code in judged],
        "not_kept": sorted(payload.fields - kept),
        "processors": [
            _processor(each, held, fields, payload, source, plan, now) for each in plan.processors
        ],
    }


def _refusal(purpose: PurposePlan, payload: Payload, now: Micros) -> str | None:
    if purpose.basis in MAY_OBJECT and purpose.opt_out.intersection(payload.signals):
        return "gpc"
    if purpose.basis == "consent":
        granted = _granted(purpose.name, payload.consents)
        if granted is not True:
            return "no_consent" if granted is None else "withdrawn"
    return "lapsed" if _until(purpose, payload) <= now else None


def _granted(purpose: str, consents: Iterable[ConsentStatement]) -> bool | None:
    """All statements of one payload are of one time, so a denial wins."""
    stated = [each.granted for each in consents if each.purpose == purpose]
    return all(stated) if stated else None


def _reason(judged: Sequence[tuple[PurposePlan, str | None]]) -> str:
    codes = {code for _, code in judged if code is not None}
    return codes.pop() if len(codes) == 1 else "no_basis"


def _until(purpose: PurposePlan, payload: Payload) -> Micros:
    return purpose.due(purpose.period(payload.collected_at))


def _fields(
    payload: Payload, source: SourcePlan, plan: PolicyPlan, mask: int
) -> Mapping[int, tuple[str, ...]]:
    """Purpose number -> the payload's fields it justifies."""
    found: dict[int, list[str]] = {}
    for compartment in plan.compartments(source.name, mask):
        names = [name for name in compartment.fields if name != COLLECTED_AT and name in payload.fields]
        for number in compartment.purposes:
            found.setdefault(number, []).extend(names)
    return {number: tuple(sorted(names)) for number, names in found.items() if names}


def _purpose(
    purpose: PurposePlan, code: str | None, fields: Mapping[int, tuple[str, ...]], payload: Payload
) -> Document:
    if code is not None:
        return {"purpose": purpose.name, "basis": purpose.basis, "held": False, "code": code}
    return {
        "purpose": purpose.name,
        "basis": purpose.basis,
        "held": True,
        "fields": fields.get(purpose.number, ()),
        "until": rfc3339(_until(purpose, payload)),
    }


def _processor(
    processor: ProcessorPlan,
    held: Mapping[int, PurposePlan],
    fields: Mapping[int, tuple[str, ...]],
    payload: Payload,
    source: SourcePlan,
    plan: PolicyPlan,
    now: Micros,
) -> Document:
    """What one recipient would get, supposing that it is approved; refusals by purpose."""
    closed = _closed(processor, now)
    grants: list[Document] = []
    refused: list[Document] = []
    for number in source.purposes:
        name = plan.purposes[number].name
        if number not in processor.grants:
            refused.append({"purpose": name, "code": "not_granted"})
        elif closed is not None:
            refused.append({"purpose": name, "code": closed})
        elif number in held:
            allowed = processor.grants[number]
            names = [each for each in fields.get(number, ()) if source.fields[each] in allowed]
            until = _until(held[number], payload)
            if names:
                grants.append({"purpose": name, "fields": names, "use_until": rfc3339(until)})
        else:
            refused.append({"purpose": name, "code": "no_basis"})
    return {"processor": processor.name, "grants": grants, "refused": refused}


def _closed(processor: ProcessorPlan, now: Micros) -> str | None:
    if processor.suspended is not None:
        return "suspended"
    ended = processor.assurance_until is not None and processor.assurance_until <= now
    return "assurance_ended" if ended else None
