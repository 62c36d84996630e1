"""What is handed to a person who asks what is held of them (GDPR Art. 15), or takes it along (Art. 20). Pure.

The shapes are `lapse/access/1` and `lapse/portability/1` of docs/operating.md. Nothing that no longer opens
is in them: a record nobody can read is not held of anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lapse.cli.output import moment
from lapse.personal import HeldLink, HeldPart, HeldRecord
from lapse.policies import spoken
from schemas.ids import Micros, RecordId, RequestId
from schemas.merkle import root
from schemas.models import RecordDecided, Right
from schemas.plan import Plans, PolicyPlan, ProcessorPlan, PurposePlan
from schemas.policy import Policy
from vault.values import NEVER, PurposeState, SubjectState

PORTABLE = frozenset({"consent", "contract"})
"""Bases on which a person may take data along (GDPR Art. 20 (1) (a))."""
ARTICLES: Mapping[Right, str] = {
    "access": "GDPR Art. 15",
    "rectification": "GDPR Art. 16",
    "erasure": "GDPR Art. 17",
    "restriction": "GDPR Art. 18",
    "portability": "GDPR Art. 20",
    "objection": "GDPR Art. 21",
}
SAID: Mapping[bool | None, str] = {True: "granted", False: "denied", None: "nothing stated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A fact that the vault itself keeps of a person; `by` where a recipient found it out."""

    what: str
    purpose: str
    value: str = field(repr=False)
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Everything the answer is made of, as it was at `now`; `decided` are the entries about its records."""

    right: Right
    request_id: RequestId
    who: str = field(repr=False)
    now: Micros
    plans: Plans
    policy: Policy = field(repr=False)
    people: Sequence[SubjectState] = field(repr=False)
    records: Sequence[HeldRecord] = field(repr=False)
    decided: Mapping[RecordId, Sequence[RecordDecided]] = field(repr=False)
    told: Sequence[str]
    kept: Sequence[Kept] = field(repr=False)
    salt: bytes = field(repr=False)

    @property
    def today(self) -> PolicyPlan:
        """The policy in force."""
        return self.plans.today(self.now)

    def purpose(self, name: str) -> PurposePlan:
        """The purpose as today's policy has it, or as the last one had it that knew it."""
        plans = [plan for plan in self.plans if name in plan.purpose_numbers]
        return (self.today if name in self.today.purpose_numbers else plans[-1]).purpose(name)

    def processor(self, name: str) -> ProcessorPlan | None:
        """The same of a recipient; None for one that no policy names."""
        plans = [plan for plan in self.plans if name in plan.processor_numbers]
        if not plans:
            return None
        return (self.today if name in self.today.processor_numbers else plans[-1]).processor(name)


def access(dossier: Dossier) -> dict[str, Any]:
    """Return the answer to "what do you hold of me?"; alike in shape for somebody of whom nothing is held."""
    records = [_record(dossier, record) for record in dossier.records]
    return {
        "format": "lapse/access/1",
        **_head(dossier),
        "records": records,
        "kept": [_kept(kept) for kept in dossier.kept],
        "purposes": [_why(dossier, name) for name in _purposes(dossier)],
        "recipients": _recipients(dossier, records),
        "consents": list(_consents(dossier)),
        "restricted": sorted(_restricted(dossier)),
        "rights": _rights(dossier.today),
        "proof": proof(dossier.records, dossier.salt),
    }


def portable(dossier: Dossier) -> dict[str, Any]:
    """Return what a person takes along: what they provided under consent or contract, and their consents.

    Provided is what they typed and what was observed of their use of a service, not what somebody concluded
    from it (Article 29 Working Party, WP 242 rev.01).
    """
    rows = [_portable(dossier, record) for record in dossier.records]
    return {
        "format": "lapse/portability/1",
        **_head(dossier),
        "records": [row for row in rows if row["fields"]],
        "consents": list(_consents(dossier)),
        "proof": proof(dossier.records, dossier.salt),
    }


# ---- what was opened, to be shown without saying whose it is -----------------------------------------------
def leaves(records: Iterable[HeldRecord]) -> list[bytes]:
    """What names the records in the proof: id and revision, as a lapse's root has them, in order."""
    return sorted(record.record_id + record.revision.to_bytes(4, "big") for record in records)


def commitment(salt: bytes, named: Sequence[bytes]) -> bytes:
    """What `decisions` says of the opened records: it can be checked with salt and ids, and links nothing."""
    return hashlib.sha256(b"lapse/v1/revealed" + salt + root(named)).digest()


def proof(records: Sequence[HeldRecord], salt: bytes) -> dict[str, Any]:
    """Return what the entry on `decisions` is checked with; without records nothing was opened."""
    named = leaves(records)
    return {
        "records": len(named),
        "salt": salt.hex(),
        "root": commitment(salt, named).hex(),
    }


# ---- pieces ------------------------------------------------------------------------------------------------
def _head(dossier: Dossier) -> dict[str, Any]:
    plan = dossier.today
    return {
        "right": dossier.right,
        "request_id": dossier.request_id.hex(),
        "asked_as": dossier.who,
        "made_at": moment(dossier.now),
        "policy": {"version": plan.version, "name": plan.name, "effective": moment(plan.effective)},
    }


def _record(dossier: Dossier, record: HeldRecord) -> dict[str, Any]:
    return {
        **_origin(dossier, record),
        "fields": [
            {"field": name, "value": value, "category": part.kinds[name], "purposes": _by(record, part)}
            for part in record.parts
            for name, value in part.fields.items()
        ],
        "held_for": [_held_for(link) for link in record.links if link.lives],
        "given_to": list(_given(dossier, record)),
    }


def _origin(dossier: Dossier, record: HeldRecord) -> dict[str, Any]:
    source = dossier.plans.version(record.policy).sources[record.source]
    return {
        "record_id": record.record_id.hex(),
        "revision": record.revision,
        "source": record.source,
        "title": source.title,
        "provided": "given" if source.kind == "form" else "observed",
        "collected_at": moment(record.collected_at),
        "policy": record.policy,
    }


def _by(record: HeldRecord, part: HeldPart, bases: Mapping[str, str] | None = None) -> list[str]:
    """The living purposes of a compartment, of these bases alone if given."""
    links = [record.links[number] for number in part.links]
    return [each.purpose for each in links if each.lives and (bases is None or each.purpose in bases)]


def _held_for(link: HeldLink) -> dict[str, Any]:
    return {
        "purpose": link.purpose,
        "until": moment(link.due),
        "restricted": link.unused is not None and link.unused.code == "restricted",
        "unused": link.unused.code if link.unused is not None else None,
    }


def _given(dossier: Dossier, record: HeldRecord) -> Iterator[dict[str, Any]]:
    """Who was given what of a record, by everything that was ever decided about it."""
    found: dict[str, tuple[set[str], set[str], Micros]] = {}
    for entry in dossier.decided.get(record.record_id, ()):
        plan = dossier.plans.version(entry.policy)
        for verdict in entry.verdicts:
            name = plan.processors[verdict.processor].name
            for grant in verdict.grants:
                purposes, categories, at = found.get(name, (set(), set(), entry.decided_at))
                purposes.add(plan.purposes[entry.links[grant.link].purpose].name)
                categories.update(plan.categories[number] for number in grant.categories)
                found[name] = purposes, categories, Micros(min(at, entry.decided_at))
    for name, (purposes, categories, at) in sorted(found.items()):
        yield {
            "processor": name,
            "purposes": sorted(purposes),
            "categories": sorted(categories),
            "since": moment(at),
        }


def _portable(dossier: Dossier, record: HeldRecord) -> dict[str, Any]:
    may = {
        link.purpose: basis
        for link in record.links
        if (basis := dossier.purpose(link.purpose).basis) in PORTABLE
    }
    return {
        **_origin(dossier, record),
        "fields": [
            {"field": name, "value": value, "category": part.kinds[name], "purposes": by}
            for part in record.parts
            if (by := _by(record, part, may))
            for name, value in part.fields.items()
        ],
    }


def _purposes(dossier: Dossier) -> list[str]:
    """Every purpose something is held for, in the policy's order."""
    named = {link.purpose for record in dossier.records for link in record.links if link.lives}
    named |= {kept.purpose for kept in dossier.kept}
    order = {purpose.name: purpose.number for purpose in dossier.today.purposes}
    return sorted(named, key=lambda name: (order.get(name, len(order)), name))


def _why(dossier: Dossier, name: str) -> dict[str, Any]:
    purpose, written = dossier.purpose(name), dossier.policy.purposes.get(name)
    return {
        "purpose": name,
        "title": purpose.title,
        "says": purpose.says,
        "basis": purpose.basis,
        "because": written.because if written is not None else None,
        "retention": spoken(purpose.retention),
    }


def _recipients(dossier: Dossier, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every recipient that may have got anything, where it is, and what protects the data there."""
    given: dict[str, set[str]] = {name: set() for name in dossier.told}
    for record in records:
        for each in record["given_to"]:
            given.setdefault(each["processor"], set()).update(each["purposes"])
    rows = []
    for name, purposes in sorted(given.items()):
        plan, written = dossier.processor(name), dossier.policy.processors.get(name)
        passes = written.sub_processors if written is not None else {}
        rows.append(
            {
                "processor": name,
                "title": plan.title if plan is not None else name,
                "region": plan.region if plan is not None else None,
                "safeguards": plan.safeguards if plan is not None else None,
                "passes_on_to": [{"name": sub, "region": each.region} for sub, each in passes.items()],
                "purposes": sorted(purposes),
            }
        )
    return rows


def _consents(dossier: Dossier) -> Iterator[dict[str, Any]]:
    for name, state in _states(dossier):
        if state.granted is not None:
            said = "objected" if state.objected and not state.granted else SAID[state.granted]
            at = moment(state.stated_at) if state.stated_at > NEVER else None
            yield {"purpose": name, "title": dossier.purpose(name).title, "state": said, "stated_at": at}


def _restricted(dossier: Dossier) -> set[str]:
    return {name for name, state in _states(dossier) if state.restricted}


def _states(dossier: Dossier) -> Iterator[tuple[str, PurposeState]]:
    known = {purpose.name for plan in dossier.plans for purpose in plan.purposes}
    for person in dossier.people:
        for name, state in person.purposes.items():
            if name in known:
                yield name, state


def _kept(kept: Kept) -> dict[str, Any]:
    return {"what": kept.what, "value": kept.value, "purpose": kept.purpose, "found_out_by": kept.by}


def _rights(plan: PolicyPlan) -> list[dict[str, Any]]:
    """What else a person may ask for here, and that they may complain (GDPR Art. 15 (1) (e), (f))."""
    asked: list[dict[str, Any]] = [
        {"right": right, "article": ARTICLES[right], "answer_days": rule.answer_days}
        for right, rule in plan.rights.items()
        if rule.named
    ]
    return [
        *asked,
        {"right": "complaint to a supervisory authority", "article": "GDPR Art. 77", "answer_days": None},
    ]
