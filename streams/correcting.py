"""Corrections at the tag stage (GDPR Art. 16, model m8): signed fields become a record's next revision.

A correction comes on an intake topic, because it holds clear values. It counts only under an operator's
signature, so neither a site's key nor a publisher's access to Kafka corrects anybody's record. Commit 1 links
it by the record's own handles, under keys that still live, and lets the older revision open nowhere from then
on; sealing it is what tag does with every record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas import signing
from schemas.ids import Micros, RecordId, SubjectNumber
from schemas.models import FieldsCorrected
from schemas.plan import Plans, PolicyPlan, PurposePlan
from streams.governing import stale
from streams.intake import Arrived, release_id
from streams.routeplan import link_state
from streams.tagging import PRECEDENCE
from streams.tagplan import Entry, Fate, LinkPlan
from vault.herald import Herald
from vault.opening import Found, find_named, may_show
from vault.port import Tx
from vault.rectifying import AGAIN, correction_id, rectify
from vault.values import BucketId

Keys = Callable[[Tx, PolicyPlan | None], Mapping[str, bytes]]
"""Who may sign: public keys by their ids."""


class Corrected(NamedTuple):
    """What became of a correction, and under which names to remember one that was taken.

    The second name is there where it was released from quarantine.
    """

    entry: Entry
    name: RecordId | None = None
    released: RecordId | None = None


def remembered(said: FieldsCorrected) -> RecordId:
    """Under what this correction is remembered."""
    return correction_id(said.record_id, said.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionJudge:
    """Judges corrections in the transaction that plans them; `own_key`, the service's, orders none."""

    keys: Keys
    herald: Callable[[Plans], Herald]
    own_key: str

    def judge(self, tx: Tx, each: Arrived, plans: Plans, seen: Mapping[RecordId, bytes]) -> Corrected:
        """Turn a correction away under a code, or make its revision the only one that opens."""
        said = each.correction
        assert said is not None, "corrections alone are judged here"
        code = self._unsigned(tx, said, Micros(each.record.timestamp_ms * 1000), plans)
        policy = next((plan for plan in plans if plan.version == said.policy), None)
        code = code or _unfit(said, policy)
        if code is not None or policy is None:
            # Nothing of it can be believed, its name and its source least of all.
            version = plans.latest.version
            entry = Entry(
                record_id=each.record_id, fate="discarded", code=code, at=each.received, policy=version
            )
            return Corrected(entry)
        name, released = remembered(said), release_id(remembered(said))
        if seen.get(name) == each.digest and (not each.released or released in seen):
            return Corrected(_turned(said, each, "swallowed", None))
        code = _out_of_turn(tx, said, again=each.released or seen.get(name) == AGAIN)
        number, links, why = (None, (), None) if code else _living(tx, said, policy, plans)
        if number is None:
            return Corrected(_turned(said, each, "discarded", code or why))
        rectify(tx, self.herald(plans), said.record_id, said.revision)
        entry = Entry(
            record_id=said.record_id,
            fate="tagged",
            at=said.collected_at,
            policy=said.policy,
            subject=number,
            links=links,
            revision=said.revision,
        )
        return Corrected(entry, name, released if each.released else None)

    def _unsigned(self, tx: Tx, said: FieldsCorrected, appended: Micros, plans: Plans) -> str | None:
        if not said.signature:
            return "unsigned"
        keys = self.keys(tx, plans.in_force(tx.now))
        if said.key_id not in keys or said.key_id == self.own_key:
            return "unknown_key"
        if not signing.verify(said, keys):
            return "bad_signature"
        return stale(said, appended, own=False)


def _unfit(said: FieldsCorrected, policy: PolicyPlan | None) -> str | None:
    """What is wrong with a correction by the policy it names, whatever the vault knows."""
    if policy is None:
        return "no_basis"
    source = policy.sources.get(said.source)
    if source is None or source.kind != "form":
        return "unknown_form"
    return None if said.fields.keys() <= source.fields.keys() else "unknown_field"


def _turned(said: FieldsCorrected, each: Arrived, fate: Fate, code: str | None) -> Entry:
    return Entry(
        record_id=said.record_id,
        fate=fate,
        code=code,
        at=each.received,
        policy=said.policy,
        revision=said.revision,
    )


def _out_of_turn(tx: Tx, said: FieldsCorrected, *, again: bool) -> str | None:
    """Return why this revision does not follow; None for the one after the highest.

    None also for the highest, where it comes `again`: what a bug had set aside, and what a restored vault
    knows of and has not sealed.
    """
    highest = tx.superseded([said.record_id]).get(said.record_id, 1)
    if said.revision == highest + 1 or (again and said.revision == highest > 1):
        return None
    return "superseded" if said.revision <= highest else "conflict"


def _living(
    tx: Tx, said: FieldsCorrected, policy: PolicyPlan, plans: Plans
) -> tuple[SubjectNumber | None, tuple[LinkPlan, ...], str | None]:
    """Whose record it is and which of its links still live; what is restricted may be corrected, too."""
    stated = policy.sources[said.source].purposes
    by_purpose = {link.purpose: link for link in said.links if link.purpose in stated}
    links = [by_purpose[number] for number in sorted(by_purpose)]  # compartments count them in this order
    buckets = [BucketId(policy.purposes[link.purpose].name, link.period, link.terms) for link in links]
    asked: dict[BucketId, list[tuple[bytes, bytes]]] = {}
    for bucket, link in zip(buckets, links, strict=True):
        asked.setdefault(bucket, []).append((link.handle, said.record_id))
    found = {bucket: iter(each) for bucket, each in find_named(tx, asked).items()}
    living: list[tuple[SubjectNumber, LinkPlan]] = []
    codes = []
    today = plans.in_force(tx.now)
    for bucket, link in zip(buckets, links, strict=True):
        who = next(found[bucket])
        code = _ended(who, policy.purposes[link.purpose], today, tx.now)
        if code is not None or who.number is None:
            codes.append(code or "erased")
            continue
        living.append((who.number, LinkPlan(link.purpose, link.period, link.terms, who.generation)))
    people = {number for number, _ in living}
    if len(people) != 1:
        why = "conflict" if people else min(codes, key=PRECEDENCE.index, default="no_basis")
        return None, (), why
    return people.pop(), tuple(link for _, link in living), None


def _ended(found: Found, then: PurposePlan, today: PolicyPlan | None, now: Micros) -> str | None:
    """Why a link of the record holds nothing any more, None where it lives."""
    number = None if today is None else today.purpose_numbers.get(then.name)
    purpose = then if today is None or number is None else today.purposes[number]
    code = link_state(may_show(found, purpose, now)).closed
    return "lapsed" if code == "expired" else code
