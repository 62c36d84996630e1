"""What tag has decided about a part: entries that redeliveries repeat, and which keys still live."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from schemas.ids import Micros, Period, RecordId, SubjectNumber, Terms
from schemas.plan import Plans, PolicyPlan, ResiduePlan
from streams import residue
from streams.intake import Arrived
from streams.leaves import leaf
from streams.stage import Judged
from vault.keys import Keyed
from vault.moulds import link_key
from vault.port import Tx
from vault.values import BucketId, BucketRow, ResidueEntry, SubjectState

REVISION = 1
"""Revision of what was submitted; a rectification is one more."""
QUARANTINE = -1
"""Purpose number of the reserved purpose in a plan's links."""
Fate = Literal["tagged", "kept", "discarded", "quarantined", "swallowed"]


class LinkPlan(msgspec.Struct, frozen=True, array_like=True):
    """One planned link: purpose number, bucket, and the generation of the subject key."""

    purpose: int
    period: Period
    terms: Terms
    generation: int = 0

    @property
    def bucket(self) -> tuple[int, Period, Terms]:
        """Purpose, period and terms."""
        return self.purpose, self.period, self.terms


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What commit 1 has decided about one offset: every redelivery repeats it. The vault seals it at rest."""

    record_id: RecordId
    fate: Fate
    code: str | None = None
    path: str | None = None
    at: Micros = Micros(0)
    policy: int = 0
    subject: SubjectNumber | None = None
    links: tuple[LinkPlan, ...] = ()
    revision: int = REVISION
    """Absent in plans that 0.1 left behind."""


class BucketKey:
    """A bucket's key, shared by the links of a part that hang on it."""

    __slots__ = ("begun", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.begun = Keyed(key)


class Keys:
    """The keys a link is sealed under; only of links that live at the end of commit 1.

    Events of one person share them: K is derived once.
    """

    __slots__ = ("_k", "bucket", "due", "link", "subject")

    def __init__(self, link: LinkPlan, due: Micros, bucket: BucketKey, subject: bytes) -> None:
        self.link = link
        self.due = due
        self.bucket = bucket
        self.subject = subject
        self._k: bytes | None = None

    @property
    def k(self) -> bytes:
        """K(S,p,t)."""
        if self._k is None:
            self._k = link_key(self.bucket.begun, self.subject)
        return self._k


class Item(NamedTuple):
    """An arrival, what was decided, and the living keys of its links."""

    arrived: Arrived
    entry: Entry
    keys: tuple[Keys, ...] = ()


@dataclass(slots=True, kw_only=True)
class TagWork(Judged):
    """A judged part of intake."""

    items: list[Item]
    plans: Plans
    now: Micros
    control_offset: int

    @property
    def corrects(self) -> bool:
        """Whether a new revision is among it."""
        return any(item.arrived.correction and item.entry.fate == "tagged" for item in self.items)


def bucket_of(policy: PolicyPlan, link: LinkPlan) -> BucketId:
    """The bucket a planned link hangs on."""
    purpose = policy.quarantine if link.purpose == QUARANTINE else policy.purposes[link.purpose]
    return BucketId(purpose.name, link.period, link.terms)


def living(
    policy: PolicyPlan,
    link: LinkPlan,
    state: SubjectState | None,
    buckets: Mapping[BucketId, BucketRow],
    keys: Mapping[BucketId, BucketKey],
) -> Keys | None:
    """The keys of a link, None if one of them has died since it was planned."""
    bucket = bucket_of(policy, link)
    if bucket not in keys:
        return None
    if link.purpose == QUARANTINE:
        return Keys(link, buckets[bucket].due, keys[bucket], b"")
    held = state.purpose(bucket.purpose) if state is not None else None
    if held is None or held.key is None or held.generation != link.generation:
        return None
    return Keys(link, buckets[bucket].due, keys[bucket], held.key)


def buckets_of(entries: Iterable[Entry], plans: Plans) -> Iterator[tuple[BucketId, list[Entry]]]:
    """Every bucket entries hang on, with them; one bucket may come more than once."""
    alike: dict[tuple[int, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.links:
            alike[entry.policy, id(entry.links)].append(entry)  # events with the same links share them
    for (version, _), same in alike.items():
        policy = plans.version(version)
        for link in same[0].links:
            yield bucket_of(policy, link), same


def leaves_of(entries: Iterable[Entry], plans: Plans) -> dict[BucketId, list[bytes]]:
    """What each bucket's lapse will name: the records planned into it."""
    found: dict[BucketId, list[bytes]] = defaultdict(list)
    for bucket, same in buckets_of([entry for entry in entries if entry.fate == "tagged"], plans):
        found[bucket] += [leaf(entry.record_id, entry.revision) for entry in same]
    return found


def settle(tx: Tx, work: TagWork) -> None:
    """Commit 2: count what was accepted into the tallies of its buckets and into residue, as planned."""
    plans = work.plans
    plan = plans.today(tx.now)
    period = residue.period_of(plan.residue, tx.now)
    taken = [item for item in work.items if item.entry.fate in ("tagged", "kept")]
    accepted = [item for item in taken if item.arrived.event is not None]
    # A correction is one more record of its buckets, but no more of what happened.
    records = [item.entry for item in taken if item.arrived.event or item.arrived.correction]
    tallies: Counter[BucketId] = Counter()
    for bucket, same in buckets_of(records, plans):
        tallies[bucket] += len(same)
    label = _labels(plan.residue)
    counts = Counter([(label(item.arrived), item.entry.subject) for item in accepted])
    tx.add_tally(tallies)
    tx.count_residue(
        ResidueEntry(period=period, label=cell, subject=subject, events=n)
        for (cell, subject), n in counts.items()
    )


def _labels(plan: ResiduePlan) -> Callable[[Arrived], str]:
    """What says in which cell an arrival counts; those alike are worked out once."""
    fields = [plan.dimensions[name][0] for name in plan.by if name != "source"]
    known: dict[tuple[str | None, ...], str] = {}

    def label(arrived: Arrived) -> str:
        given = arrived.given
        name = (arrived.source, *[given.get(field) for field in fields])
        found = known.get(name)
        if found is None:
            found = known[name] = plan.label(arrived.source, given)
        return found

    return label
