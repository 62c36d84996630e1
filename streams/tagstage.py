"""The tag stage's judgement of a part: commit 1 decides and makes keys durable, commit 2 counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from schemas.ids import Micros, SubjectNumber
from schemas.plan import Plans
from streams import tagging
from streams.alike import Alike
from streams.correcting import CorrectionJudge, remembered
from streams.intake import Arrived, release_id
from streams.leaves import add_leaves, take_back
from streams.people import People
from streams.stage import plans_of
from streams.tagpad import Pad
from streams.tagplan import (
    QUARANTINE,
    REVISION,
    BucketKey,
    Entry,
    Fate,
    Item,
    Keys,
    LinkPlan,
    TagWork,
    bucket_of,
    leaves_of,
    living,
)
from vault.herald import Herald
from vault.port import Tx
from vault.values import BucketId, BucketWanted, SubjectState

QUARANTINED_FOR = 14 * tagging.DAY
"""Longest an input lies in quarantine, and so how much longer a release of it is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagJudge:
    """Decides parts of intake inside transactions; `herald` knows who must be told of what is destroyed."""

    new_key: Callable[[], bytes]
    herald: Callable[[Plans], Herald]
    corrections: CorrectionJudge
    alike: Callable[[Pad], Alike] = Alike

    def decide(self, tx: Tx, parts: Sequence[Sequence[Arrived]], plans: Plans) -> TagWork:
        """Commit 1 of parts nobody has planned: fold statements, judge, make keys and buckets."""
        arrived = [each for part in parts for each in part]
        hashes = {hash_ for each in arrived for hash_ in each.hashes}
        ids = {each.record_id for each in arrived if each.event is not None}
        named = {remembered(each.correction) for each in arrived if each.correction is not None}
        ids |= named | {release_id(each.record_id) for each in arrived if each.released}
        ids |= {release_id(name) for name in named}
        pad = Pad(
            now=tx.now,
            people=People.read(tx, hashes, self.new_key, self.herald(plans)),
            seen=dict(tx.seen(ids)),
            shut=shut_buckets(tx, _candidates(arrived)),
            today=plans.in_force(tx.now),
        )
        alike = self.alike(pad)
        entries = [
            self._entry(each, pad, plans, alike)
            if each.correction is None
            else self._correction(tx, each, pad, plans)
            for each in arrived
        ]
        tx.ensure_buckets(pad.wanted.values())
        tx.put_seen(pad.fresh)
        tx.put_seen(pad.released, longer=QUARANTINED_FOR)
        add_leaves(tx, leaves_of(entries, plans))
        states, owes = pad.people.states, pad.people.owes
        corrected = {e.subject for e in entries if e.revision > REVISION and e.subject is not None}
        if corrected:
            states, owes = states | tx.subjects(corrected), True
        return self._work(tx, parts, entries, states, plans, owes)

    def repeat(
        self, tx: Tx, arrived: Sequence[Arrived], planned: Mapping[int, Entry], plans: Plans
    ) -> TagWork:
        """Commit 1 of a redelivery: what was planned, with keys that still live; a fresh bug overrules."""
        entries = [
            self._set_aside(tx, each, planned[each.record.offset], plans)
            if each.code == "bug"
            else planned[each.record.offset]
            for each in arrived
        ]
        states = tx.subjects({entry.subject for entry in entries if entry.subject is not None})
        return self._work(tx, [arrived], entries, states, plans, True)

    def _set_aside(self, tx: Tx, each: Arrived, planned: Entry, plans: Plans) -> Entry:
        """What was planned broke while it was sealed: it is quarantined under the id it was planned under."""
        wanted = self._quarantine(each, plans, tx.now)
        tx.ensure_buckets([wanted])
        for bucket, (gone,) in leaves_of([planned], plans).items():
            take_back(tx, bucket, gone)
        if planned.revision == REVISION:  # dropping a correction must not close its record
            each.record_id = planned.record_id
        return _quarantined(each, tagging.Quarantined(code="bug"), wanted.id, plans.latest.version)

    def _work(
        self,
        tx: Tx,
        parts: Sequence[Sequence[Arrived]],
        entries: Sequence[Entry],
        states: Mapping[SubjectNumber, SubjectState],
        plans: Plans,
        owes: bool,
    ) -> TagWork:
        named = {entry.policy: plans.version(entry.policy) for entry in entries if entry.links}
        linked = {(entry.policy, id(links)): links for entry in entries if (links := entry.links)}
        wanted = {bucket_of(named[version], link) for (version, _), links in linked.items() for link in links}
        buckets = tx.buckets(wanted)
        keys = {bucket: BucketKey(key) for bucket, key in tx.bucket_keys(wanted).items()}
        items, known = [], dict[tuple[int, SubjectNumber | None, int], tuple[Keys, ...]]()
        for each, entry in zip(chain.from_iterable(parts), entries, strict=True):
            name = (entry.policy, entry.subject, id(entry.links))
            found = known.get(name)
            if found is None:
                state = states.get(entry.subject) if entry.subject is not None else None
                tried = [living(named[entry.policy], link, state, buckets, keys) for link in entry.links]
                found = tuple(key for key in tried if key is not None)
                known[name] = found
            items.append(Item(each, entry, found))
        return TagWork(
            seq=tx.seq,
            planned=plans_of(parts, entries),
            items=items,
            plans=plans,
            now=tx.now,
            control_offset=tx.control_offset,
            owes=owes,
        )

    def _correction(self, tx: Tx, each: Arrived, pad: Pad, plans: Plans) -> Entry:
        corrected = self.corrections.judge(tx, each, plans, pad.seen)
        if corrected.name is not None:
            pad.seen[corrected.name] = pad.fresh[corrected.name] = each.digest
        if corrected.released is not None:
            pad.seen[corrected.released] = pad.released[corrected.released] = each.digest
        return corrected.entry

    def _entry(self, each: Arrived, pad: Pad, plans: Plans, alike: Alike) -> Entry:
        if each.event is not None and not each.released:
            found = self._again(each, pad) or alike.entry(each)
            if found is not None:
                return found
        verdict, number = self._verdict(each, pad)
        if each.released and not isinstance(verdict, tagging.Quarantined):
            again = release_id(each.record_id)
            if again in pad.seen:
                return self._turned(each, "swallowed", None)
            pad.seen[again] = pad.released[again] = each.digest
        match verdict:
            case tagging.Tagged():
                return self._accepted(each, verdict, number, pad)
            case tagging.Kept():
                return self._kept(each, verdict, number, pad)
            case tagging.Discarded():
                return self._turned(each, "discarded", verdict.code)
            case tagging.Quarantined():
                wanted = self._quarantine(each, plans, pad.now)
                pad.wanted[wanted.id] = wanted
                return _quarantined(each, verdict, wanted.id, (each.policy or plans.latest).version)

    def _again(self, each: Arrived, pad: Pad) -> Entry | None:
        """What is decided about an event whose id was seen before; None for a new one, which is now seen."""
        before = pad.seen.get(each.record_id)
        if before is None:
            pad.seen[each.record_id] = pad.fresh[each.record_id] = each.digest
            return None
        if before == each.digest:
            return self._turned(each, "swallowed", None)
        self._take_back(each, pad)
        return self._turned(each, "discarded", "conflicting_event_id")

    def _verdict(self, each: Arrived, pad: Pad) -> tuple[tagging.Verdict, SubjectNumber | None]:
        event, policy, when = each.event, each.policy, each.when
        if event is None or when is None:
            return tagging.Quarantined(code=each.code or "bug", path=each.path), None
        wrong = tagging.screen(event, policy, each.received, trusted=each.released)
        if isinstance(wrong, tagging.Quarantined) or policy is None:
            return wrong or tagging.Discarded(code="no_basis"), None
        number, closed = pad.people.find(each.hashes, when.at, all_count=policy.link_purpose is not None)
        if closed:
            return tagging.Discarded(code="erased"), None
        said = tagging.statements(event, policy, when.at)
        wrong = wrong or (tagging.Discarded(code=each.code) if each.code else None)
        if wrong is not None:
            self._take_back(each, pad)
            return wrong, None
        if number is None and said and each.hashes:
            number = pad.people.create()
        if number is not None and said:
            pad.people.link(each.hashes, number, when.at, policy)
            pad.people.say(number, said, policy)
        person = tagging.Person(
            state=None if number is None else pad.people.states[number],
            may_be_new=bool(each.hashes) and tagging.kind_of(event) == "form",
        )
        return tagging.tag(event, policy, person, pad.now, when, pad.shut, each.given), number

    def _take_back(self, each: Arrived, pad: Pad) -> None:
        """What a person takes back counts even where the rest of the event is of no use."""
        event, policy, when = each.event, each.policy, each.when
        if event is None or policy is None or when is None:
            return
        number, closed = pad.people.find(each.hashes, when.at, all_count=policy.link_purpose is not None)
        said = [one for one in tagging.statements(event, policy, when.at) if not one.granted]
        if closed or not said or not each.hashes:
            return
        if number is None:
            number = pad.people.create()
        pad.people.link(each.hashes, number, when.at, policy)
        pad.people.say(number, said, policy)

    def _accepted(
        self, each: Arrived, verdict: tagging.Tagged, number: SubjectNumber | None, pad: Pad
    ) -> Entry:
        policy, when = each.policy, each.when
        assert policy is not None and when is not None
        if number is None:
            number = pad.people.create()
        for bound in verdict.bounds:
            pad.want(policy.purposes[bound.purpose], bound)
        names = [bound.bucket.purpose for bound in verdict.bounds]
        generations = pad.people.hold(number, names, when.at)
        pad.people.link(each.hashes, number, when.at, policy)
        return Entry(
            record_id=each.record_id,
            fate="tagged",
            code=verdict.flag,
            at=when.at,
            policy=policy.version,
            subject=number,
            links=pad.linked(verdict.bounds, generations),
        )

    def _kept(self, each: Arrived, verdict: tagging.Kept, number: SubjectNumber | None, pad: Pad) -> Entry:
        policy, when = each.policy, each.when
        assert policy is not None and when is not None and number is not None and policy.last_open is not None
        pad.people.opened_mail(number, policy.purposes[policy.last_open], when.at)
        return Entry(
            record_id=each.record_id,
            fate="kept",
            code=verdict.flag,
            at=when.at,
            policy=policy.version,
            subject=number,
        )

    def _turned(self, each: Arrived, fate: Fate, code: str | None) -> Entry:
        version = each.policy.version if each.policy else 0
        return Entry(record_id=each.record_id, fate=fate, code=code, at=each.received, policy=version)

    def _quarantine(self, each: Arrived, plans: Plans, now: Micros) -> BucketWanted:
        """Bucket of the reserved purpose: it runs from when the input was set aside, not from the event."""
        purpose = (each.policy or plans.latest).quarantine
        bound = tagging.bind(purpose, now)
        return BucketWanted(id=bound.bucket, due=bound.due)


def _quarantined(each: Arrived, verdict: tagging.Quarantined, bucket: BucketId, policy: int) -> Entry:
    link = LinkPlan(QUARANTINE, bucket.period, bucket.terms)
    return Entry(
        record_id=each.record_id,
        fate="quarantined",
        code=verdict.code,
        path=verdict.path,
        at=each.received,
        policy=policy,
        links=(link,),
    )


def _candidates(arrived: Iterable[Arrived]) -> set[BucketId]:
    """Every bucket the events may fall into."""
    found: dict[int, tagging.Bound] = {}
    for each in arrived:
        if each.policy is None or each.when is None:
            continue
        source = each.policy.sources.get(each.source)
        for number in source.purposes if source else ():
            bound = tagging.bind(each.policy.purposes[number], each.when.at)
            found[id(bound)] = bound
    return {bound.bucket for bound in found.values()}


def shut_buckets(tx: Tx, ids: Iterable[BucketId]) -> frozenset[BucketId]:
    """Those of the buckets that exist and take nothing any more: hidden, ended, or due."""
    return frozenset(row.id for row in tx.buckets(ids).values() if not row.usable(tx.now))
