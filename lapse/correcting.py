"""Correcting what is held of a person (GDPR Art. 16): their records are found, opened, and sent back signed.

What was wrong is replaced and never shown. The new values travel in clear over `intake.form` alone, where
they are purged within the minute; `control` has who ordered it, when and why.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

from lapse.commands import OPERATOR, command, order, person, publish
from lapse.initialise import signing_key
from lapse.main import Installation
from lapse.personal import HeldRecord, names_another, records_of, whose
from lapse.reading import scanning
from lapse.records import decided
from lapse.subjects import about, hashed, named
from lapse.waiting import until_quiet
from schemas import signing
from schemas.errors import BadInput, Refused, Unavailable
from schemas.ids import CommandId, Micros, RecordId, RequestId, SubjectNumber
from schemas.models import FieldsCorrected, RequestDecided
from schemas.plan import Plans, PolicyPlan, SourcePlan
from streams.intake import CORRECTIONS

Changes = Mapping[str, str | None]
"""The new value of each field; None blanks it."""
APPLIED = ("routed", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a correction will do: the corrections by record, and what is left as it is, with the reason."""

    corrections: dict[RecordId, FieldsCorrected] = field(repr=False)
    left: dict[RecordId, str]


def changes(given: Iterable[str], blank: Iterable[str]) -> dict[str, str | None]:
    """Read `FIELD=VALUE` and names of fields to blank; `BadInput` without repeating a value."""
    found: dict[str, str | None] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value.strip():
            do = "say --unset FIELD to blank one"
            raise BadInput("bad_argument", "a field is a name and its new value", "--set FIELD=VALUE", do)
        found[name] = value
    for name in blank:
        if name in found:
            raise BadInput("bad_argument", "a field is set and blanked at once", f"--unset {name}")
        found[name] = None
    if not found:
        raise BadInput("bad_argument", "nothing is to be corrected", "--set", "say --set FIELD=VALUE")
    return found


def correct(
    here: Installation,
    who: str,
    wanted: Changes,
    source: str | None,
    reason: str,
    timeout: float,
    *,
    request_id: RequestId | None = None,
) -> dict[str, Any]:
    """Correct every form of this person that holds one of the fields, and return once that is worked off.

    Alike for a person nobody knows: a request, and nothing corrected. `request_id` is that of a request which
    waits for it, if one does.
    """
    deadline, alias = time.monotonic() + timeout, hashed(here, who)

    def left() -> float:
        return max(1.0, deadline - time.monotonic())

    with here.vault.transaction(write=False) as tx:
        numbers = whose(tx, [alias])
    if len(numbers) > 1:
        do = "name the person by one that is theirs alone"
        raise Refused("shared", "the identifier leads to several people", "KIND:VALUE", do)
    ordered = command(
        RequestDecided,
        here,
        request_id=request_id or RequestId(secrets.token_bytes(16)),
        right="rectification",
        alias_hashes=[],
        purposes=[],
        until=here.vault.clock.now(),
        reason=about(who, reason, [value for value in wanted.values() if value is not None]),
    )
    corrector = _corrector(here, alias, numbers)
    sources = corrector.sources(source, wanted)
    records = records_of(here.vault, here.plans, scanning(here), numbers)
    plan = corrector.plan(records, wanted, sources)
    order(here, ordered, left())
    if plan.corrections:
        publish(here, CORRECTIONS, list(plan.corrections.values()), role="collector")
        _worked_off(here, plan, left())
    return {"request_id": ordered.request_id.hex(), **_answer(here, plan)}


def settles(done: Mapping[str, Any]) -> bool:
    """Whether what was done answers a request: nothing was left, but where nothing justifies the value."""
    return all(each["code"] == "no_basis" for each in done["left"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrector:
    """Plans corrections of one person's records, as found on the log.

    `leads` says whether an identifier (kind, value) leads to the person, `asks` whether it is the one asked
    by; `sign` puts an operator's name, time and signature under a correction.
    """

    plans: Plans
    leads: Callable[[str, str], bool]
    asks: Callable[[str, str], bool]
    sign: Callable[[FieldsCorrected], FieldsCorrected]

    def sources(self, source: str | None, wanted: Changes) -> frozenset[str]:
        """Return the forms this may be about; `BadInput` where no form has one of the fields."""
        known = {name: form for plan in self.plans for name, form in plan.sources.items()}
        forms = {n: f for n, f in known.items() if f.kind == "form" and source in (None, n)}
        if not forms:
            do = "only what a person said in a form can be corrected; what a browser did can be erased"
            raise BadInput("unknown_form", "the policy has no such form", "--source", do)
        for name in wanted:
            if not any(name in form.fields for form in forms.values()):
                raise BadInput("unknown_field", "no form has a field of this name", f"--set {name}")
        return frozenset(forms)

    def plan(self, records: Iterable[HeldRecord], wanted: Changes, sources: Container[str]) -> Plan:
        """Return a correction of every record that the changes change, and why others are left."""
        plan = Plan(corrections={}, left={})
        for held in records:
            policy = self.plans.version(held.policy)
            form = policy.sources[held.source]
            own = {name: value for name, value in wanted.items() if name in form.fields}
            if held.source not in sources or not own:
                continue
            if names_another(held, form, self.asks):
                plan.left[held.record_id] = "shared"
                continue
            before = {name: str(value) for part in held.parts for name, value in part.fields.items()}
            self._refuse_names(form, before, own)
            after = {name: value for name, value in {**before, **own}.items() if value is not None}
            if after == before or held.collected_at is None:
                continue
            if own.keys() & after.keys() <= _justified(policy, held):
                plan.corrections[held.record_id] = self.sign(_correction(held, held.collected_at, after))
            else:
                plan.left[held.record_id] = "no_basis"
        return plan

    def _refuse_names(self, form: SourcePlan, before: Mapping[str, str], own: Changes) -> None:
        """What the person is found by says whom the data is about, and cannot be put right in it."""
        for name in own:
            kind = form.identifiers.get(name)
            if kind is not None and before.get(name) and self.leads(kind, before[name]):
                do = "let them send the form anew under the new one, then erase the old: lapse subject erase"
                what = "the person is found by this field: another one would be about somebody else"
                raise BadInput("bad_argument", what, f"--set {name}", do)


def _justified(policy: PolicyPlan, held: HeldRecord) -> frozenset[str]:
    """The fields that a purpose justifies for which the record is still held."""
    living = [link.purpose for link, at in zip(held.tagged.links, held.links, strict=True) if at.lives]
    cut = policy.compartments(held.source, sum(1 << purpose for purpose in living))
    return frozenset(name for part in cut for name in part.fields)


def _correction(held: HeldRecord, collected_at: Micros, fields: Mapping[str, str]) -> FieldsCorrected:
    return FieldsCorrected(
        command_id=CommandId(secrets.token_bytes(16)),
        ordered_by="",
        at=Micros(0),
        key_id="",
        signature=b"",
        record_id=held.record_id,
        revision=held.revision + 1,
        source=held.source,
        policy=held.policy,
        collected_at=collected_at,
        links=held.tagged.links,
        fields=dict(fields),
    )


def _corrector(here: Installation, alias: bytes, numbers: Collection[SubjectNumber]) -> Corrector:
    key = signing_key(here.layout.operator_key)

    def leads(kind: str, value: str) -> bool:
        with here.vault.transaction(write=False) as tx:
            return not set(whose(tx, [hashed(here, f"{kind}:{value}")])).isdisjoint(numbers)

    def sign(said: FieldsCorrected) -> FieldsCorrected:
        at = Micros(time.time_ns() // 1000)
        return signing.sign(replace(said, ordered_by=person(), at=at, key_id=OPERATOR), key)

    return Corrector(plans=here.plans, leads=leads, asks=partial(named, here, {alias}), sign=sign)


def _worked_off(here: Installation, plan: Plan, timeout: float) -> None:
    """Wait until nothing is under way; on a busy system it is enough that all of it counts."""
    try:
        until_quiet(here, timeout)
    except Unavailable:
        with here.vault.transaction(write=False) as tx:
            newest = tx.superseded(plan.corrections)
        if any(newest.get(name, 1) < said.revision for name, said in plan.corrections.items()):
            raise


def _answer(here: Installation, plan: Plan) -> dict[str, Any]:
    found = decided(here, plan.corrections) if plan.corrections else {}
    done, left = [], [{"record_id": name.hex(), "code": code} for name, code in plan.left.items()]
    for name, said in plan.corrections.items():
        entries = [entry for _, entry in found[name].entries] if name in found else []
        own = [entry for entry in entries if entry.revision == said.revision]
        if own and not any(entry.outcome in APPLIED for entry in own):
            left.append({"record_id": name.hex(), "code": own[-1].code or "conflict"})
        else:
            done.append({"record_id": name.hex(), "revision": said.revision})
    return {"corrected": done, "left": left}
