"""The route stage: commit 1 reads people and buckets and writes who must be told; then decisions, then deliveries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import Micros, SubjectNumber
from schemas.models import Link, RecordTagged
from schemas.plan import Plans
from streams.chunks import FLAG, Judged, Part, is_tick
from streams.ports import Inbound
from streams.routing import Decision, LinkState, Policies, route
from vault.handles import handle_key, read_handles
from vault.port import Tx
from vault.subjects import usable
from vault.values import BucketId, BucketRow, SubjectState


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record read from `records.*`, with what tag said about it."""

    inbound: Inbound
    tagged: RecordTagged
    flag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A record, its decision, and what its links led to: person and generation, None where a link is dead."""

    record: Record
    policies: Policies
    decision: Decision
    people: tuple[tuple[SubjectNumber, int] | None, ...]
    states: tuple[LinkState, ...]


@dataclass(slots=True, kw_only=True)
class RouteWork(Judged):
    """A judged part of `records.*`, and the keys of its living links as commit 1 read them."""

    items: list[Routed]
    now: Micros
    control_offset: int
    buckets: Mapping[BucketId, BucketRow]
    keys: Mapping[BucketId, bytes]
    subjects: Mapping[SubjectNumber, SubjectState]


def read_records(part: Part) -> list[Record]:
    """Decode our own records; one that cannot be read is a bug, not an input."""
    found = []
    for inbound in part.records:
        if is_tick(inbound):
            continue
        try:
            tagged = codec.decode_as(RecordTagged, inbound.value or b"")
        except Rejected as rejected:
            raise ValueError(rejected.code) from None
        flag = next((value.decode("ascii", "replace") for name, value in inbound.headers if name == FLAG), None)
        found.append(Record(inbound=inbound, tagged=tagged, flag=flag))
    return found


def decide(tx: Tx, records: Sequence[Record], plans: Plans) -> RouteWork:
    """Commit 1: decide every record as of now, and write down who must be told should its keys end."""
    today = plans.in_force(tx.now) or plans.latest
    wanted = {bucket_of(plans, record.tagged, link) for record in records for link in record.tagged.links}
    buckets, keys = tx.buckets(wanted), tx.bucket_keys(wanted)
    people = _people(records, plans, keys)
    subjects = tx.subjects({who[0] for found in people for who in found if who is not None})
    newest = tx.superseded({record.tagged.record_id for record in records})
    processors = {state.name: state for state in tx.processors()}
    items = []
    for record, found in zip(records, people, strict=True):
        policies = Policies(then=plans.version(record.tagged.policy), today=today)
        states = tuple(
            _link_state(policies, link, who, buckets, subjects)
            for link, who in zip(record.tagged.links, found, strict=True)
        )
        old = newest.get(record.tagged.record_id, 0) > record.tagged.revision
        decision = route(record.tagged, policies, states, processors, tx.now, superseded=old)
        items.append(
            Routed(record=record, policies=policies, decision=decision, people=tuple(found), states=states)
        )
    _tell(tx, items)
    return RouteWork(
        seq=tx.seq,
        plan={},
        items=items,
        now=tx.now,
        control_offset=tx.control_offset,
        buckets=buckets,
        keys=keys,
        subjects=subjects,
    )


def bucket_of(plans: Plans, record: RecordTagged, link: Link) -> BucketId:
    """The bucket of a record's link."""
    return BucketId(plans.version(record.policy).purposes[link.purpose].name, link.period, link.terms)


def _people(
    records: Sequence[Record], plans: Plans, keys: Mapping[BucketId, bytes]
) -> list[list[tuple[SubjectNumber, int] | None]]:
    """Whom each link leads to: all handles of a bucket in one run of the cipher."""
    found: list[list[tuple[SubjectNumber, int] | None]] = [[None] * len(r.tagged.links) for r in records]
    by_bucket: dict[BucketId, list[tuple[int, int]]] = defaultdict(list)
    for i, record in enumerate(records):
        for n, link in enumerate(record.tagged.links):
            by_bucket[bucket_of(plans, record.tagged, link)].append((i, n))
    for bucket, places in by_bucket.items():
        if bucket not in keys:
            continue
        pairs = [(records[i].tagged.links[n].handle, records[i].tagged.record_id) for i, n in places]
        for (i, n), who in zip(places, read_handles(handle_key(keys[bucket]), pairs), strict=True):
            found[i][n] = who
    return found


def _link_state(
    policies: Policies,
    link: Link,
    who: tuple[SubjectNumber, int] | None,
    buckets: Mapping[BucketId, BucketRow],
    subjects: Mapping[SubjectNumber, SubjectState],
) -> LinkState:
    purpose = policies.then.purposes[link.purpose]
    bucket = buckets.get(BucketId(purpose.name, link.period, link.terms))
    if who is None or bucket is None:
        return LinkState(closed="expired")
    state = subjects.get(who[0])
    denied = state is not None and state.purpose(purpose.name).granted is False
    closed = usable(state, purpose, who[1])
    if closed is None:
        return LinkState(use_until=bucket.due)
    if closed.code == "restricted":
        return LinkState(restricted=True, use_until=bucket.due)
    return LinkState(closed=_CLOSED.get(closed.code, closed.code), denied=denied)


_CLOSED = {"unknown": "erased", "no_consent": "withdrawn"}
"""Towards outsiders an erased person is unknown, and who never consented has nothing; an entry says which it was."""


def _tell(tx: Tx, items: Iterable[Routed]) -> None:
    """One row too many costs a lapse nobody needed; one too few leaves data at a processor for ever (model m2)."""
    of_bucket: set[tuple[BucketId, str]] = set()
    of_subject: set[tuple[SubjectNumber, str]] = set()
    for item in items:
        then = item.policies.then
        for verdict in item.decision.verdicts:
            name = then.processors[verdict.processor].name
            for grant in verdict.grants:
                link, who = item.record.tagged.links[grant.link], item.people[grant.link]
                of_bucket.add((BucketId(then.purposes[link.purpose].name, link.period, link.terms), name))
                if who is not None:
                    of_subject.add((who[0], name))
    tx.tell_buckets(sorted(of_bucket))
    tx.tell_subjects(sorted(of_subject))
