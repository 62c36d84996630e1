"""The route stage: commit 1 reads people and buckets and writes who must be told; then decisions, then
deliveries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import Micros, Period, RecordId, Slot, SubjectNumber, Terms
from schemas.models import Link, RecordDecided, RecordTagged
from schemas.plan import Plans, PolicyPlan, PurposePlan
from streams.intake import place_id
from streams.out import FLAG
from streams.ports import Inbound
from streams.routing import Decision, LinkState, Policies, route
from streams.stage import Judged, Part, is_tick
from streams.tagging import bind
from vault.moulds import LinkKey
from vault.opening import Ask, Found, Usable, find, may_use
from vault.port import Tx, Vault
from vault.values import BucketId, BucketWanted, Closed

if TYPE_CHECKING:
    from streams.routekind import RouteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record read from `records.*`, with what tag said about it; `tagged` None where a bug was bisected to
    it.
    """

    inbound: Inbound
    tagged: RecordTagged | None
    place: bytes = b""
    flag: str | None = None


class LinkNow:
    """One link of a record as it stands at commit 1; records of one person under one bucket share it."""

    __slots__ = ("_k", "_usable", "bucket", "found", "state", "until", "used")

    def __init__(self, bucket: BucketId, found: Found, used: Usable | Closed) -> None:
        self.bucket = bucket
        self.found = found
        self.used = used
        self.state = link_state(used)
        self._usable = used if isinstance(used, Usable) else None
        self.until = None if self._usable is None else self._usable.use_until
        self._k: LinkKey | None = None

    @property
    def usable(self) -> Usable:
        """What it opens; only what opens is granted."""
        assert self._usable is not None, "only what opens is granted"
        return self._usable

    @property
    def key(self) -> LinkKey:
        """K(S,p,t) and what is derived from it, of a link that may be used."""
        if self._k is None:
            self._k = LinkKey(self.usable.k)
        return self._k


Make = tuple[object, ...]
"""What records of one make have in common: policy, source, schema, revision, links but for handles, and the
categories and wraps of their compartments.
"""


class Routed(NamedTuple):
    """A record, its decision, and how each of its links stands.

    Of one part, records of one make have the same `make`, and those decided alike the same `decision`.
    """

    tagged: RecordTagged
    flag: str | None
    make: Make
    decision: Decision
    policies: Policies
    links: tuple[LinkNow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """A record that broke this stage, and the quarantine bucket it is sealed under."""

    record: Record
    period: Period
    terms: Terms
    key: bytes


@dataclass(slots=True, kw_only=True)
class RouteWork(Judged):
    """A judged part of `records.*`."""

    items: list[Routed]
    spoilt: list[Spoilt]
    plans: Plans
    now: Micros
    control_offset: int
    kinds: list[RouteKind] | None = None
    """The kind of each item, once somebody asked."""


def read_records(vault: Vault, part: Part, spoilt: frozenset[int]) -> list[Record]:
    """Decode our own records; one that cannot be read is a bug of ours, not an input."""
    return [_read(vault, part, inbound, spoilt) for inbound in part.records if not is_tick(inbound)]


def _read(vault: Vault, part: Part, inbound: Inbound, spoilt: frozenset[int]) -> Record:
    flag = next((value.decode("ascii", "replace") for name, value in inbound.headers if name == FLAG), None)
    try:
        tagged = codec.decode_as(RecordTagged, inbound.value or b"")
    except Rejected as rejected:
        if inbound.offset not in spoilt:
            raise ValueError(rejected.code) from None
        tagged = None
    if inbound.offset in spoilt:
        place = tagged.record_id if tagged else place_id(vault, part.topic, part.partition, inbound.offset)
        return Record(inbound=inbound, tagged=None, place=place)
    return Record(inbound=inbound, tagged=tagged, flag=flag)


def decide(tx: Tx, records: Sequence[Record], plans: Plans) -> RouteWork:
    """Commit 1: decide every record as of now, and write down who must be told should its keys end."""
    whole = [(record, record.tagged) for record in records if record.tagged is not None]
    today = plans.in_force(tx.now) or plans.latest
    judge = _Judge(tx, plans, today)
    links = iter(judge.links([tagged for _, tagged in whole]))
    newest = tx.superseded({tagged.record_id for _, tagged in whole})
    items = []
    for record, tagged in whole:
        old = newest.get(tagged.record_id, 0) > tagged.revision
        items.append(judge.routed(tagged, record.flag, next(links), superseded=old))
    _tell(tx, items)
    return RouteWork(
        seq=tx.seq,
        plan={},
        items=items,
        spoilt=[_set_aside(tx, record, today.quarantine) for record in records if record.tagged is None],
        plans=plans,
        now=tx.now,
        control_offset=tx.control_offset,
    )


class _Judge:
    """Decides the records of one part; what depends on no single record is worked out once."""

    def __init__(self, tx: Tx, plans: Plans, today: PolicyPlan) -> None:
        self._tx, self._plans, self._today = tx, plans, today
        self._processors = {state.name: state for state in tx.processors()}
        self._policies: dict[int, Policies] = {}
        self._buckets: dict[tuple[int, int, Period, Terms], BucketId] = {}
        self._decisions: dict[tuple[object, ...], tuple[Make, Decision]] = {}

    def links(self, records: Sequence[RecordTagged]) -> Iterator[tuple[LinkNow, ...]]:
        """How the links of every record stand; their rows are read in bulk."""
        asks = [
            Ask(self._bucket(tagged.policy, link), link.handle, tagged.record_id)
            for tagged in records
            for link in tagged.links
        ]
        found = iter(zip(asks, find(self._tx, asks), strict=True))
        known: dict[tuple[int, int, BucketId, SubjectNumber | None, int], LinkNow] = {}
        for tagged in records:
            own = []
            for link in tagged.links:
                ask, each = next(found)
                name = (tagged.policy, link.purpose, ask.bucket, each.number, each.generation)
                now = known.get(name)
                if now is None:
                    used = _use(self._then(tagged.policy), link.purpose, each, self._tx.now)
                    now = known[name] = LinkNow(ask.bucket, each, used)
                own.append(now)
            yield tuple(own)

    def routed(
        self, tagged: RecordTagged, flag: str | None, links: tuple[LinkNow, ...], *, superseded: bool
    ) -> Routed:
        """Decide one record; records of one make whose links stand alike are decided alike."""
        make, policies = make_of(tagged), self._then(tagged.policy)
        alike = tuple([(now.state.closed, now.state.restricted, now.state.denied) for now in links])
        name = (make, alike, superseded)
        found = self._decisions.get(name)
        if found is None:
            states = [now.state for now in links]
            decided = route(tagged, policies, states, self._processors, self._tx.now, superseded=superseded)
            found = self._decisions[name] = (make, decided)
        return Routed(tagged, flag, *found, policies, links)

    def _then(self, version: int) -> Policies:
        found = self._policies.get(version)
        if found is None:
            found = Policies(then=self._plans.version(version), today=self._today)
            self._policies[version] = found
        return found

    def _bucket(self, version: int, link: Link) -> BucketId:
        name = (version, link.purpose, link.period, link.terms)
        found = self._buckets.get(name)
        if found is None:
            purpose = self._plans.version(version).purposes[link.purpose].name
            found = self._buckets[name] = BucketId(purpose, link.period, link.terms)
        return found


def make_of(tagged: RecordTagged) -> Make:
    """The make of a record."""
    return (
        tagged.policy,
        tagged.source,
        tagged.schema_id,
        tagged.revision,
        tuple([(link.purpose, link.period, link.terms) for link in tagged.links]),
        tuple(
            [(tuple(box.categories), tuple([wrap.link for wrap in box.wraps])) for box in tagged.compartments]
        ),
    )


def _use(policies: Policies, number: int, found: Found, now: Micros) -> Usable | Closed:
    """Judge a link by the purpose as today's policy has it, or as it was where today's has dropped it."""
    then = policies.then.purposes[number]
    today = policies.today.purpose_numbers.get(then.name)
    return may_use(found, then if today is None else policies.today.purposes[today], now)


def link_state(used: Usable | Closed) -> LinkState:
    """What routing needs to know of a link."""
    if isinstance(used, Usable):
        return LinkState(use_until=used.use_until)
    if used.code == "restricted":
        return LinkState(restricted=True)
    code = _ENDED.get(used.code, used.code)
    return LinkState(closed=code, denied=code in ("withdrawn", "objected"))


_ENDED = {
    "unknown": "erased",  # towards outsiders an erased person is unknown; an entry says which it was
    "no_consent": "withdrawn",
    "hidden": "expired",
    "destroyed": "expired",
}
"""Why a link is over, as an entry says it, where an opening has another word."""


def _tell(tx: Tx, items: Iterable[Routed]) -> None:
    """One row too many costs a lapse nobody needed; one too few leaves data at a processor for ever (model
    m2).
    """
    of_bucket: set[tuple[BucketId, str]] = set()
    of_subject: set[tuple[SubjectNumber, str]] = set()
    for item in items:
        for verdict in item.decision.verdicts:
            name = item.policies.then.processors[verdict.processor].name
            for grant in verdict.grants:
                now = item.links[grant.link]
                of_bucket.add((now.bucket, name))
                of_subject.add((now.usable.number, name))
    tx.tell_buckets(sorted(of_bucket))
    tx.tell_subjects(sorted(of_subject))


def _set_aside(tx: Tx, record: Record, purpose: PurposePlan) -> Spoilt:
    bound = bind(purpose, tx.now)
    tx.ensure_buckets([BucketWanted(id=bound.bucket, due=bound.due)])
    key = tx.bucket_keys([bound.bucket])[bound.bucket]
    return Spoilt(record=record, period=bound.bucket.period, terms=bound.bucket.terms, key=key)


def entry_of(item: Routed, work: RouteWork) -> RecordDecided:
    """What `decisions` says of a record."""
    tagged, decision = item.tagged, item.decision
    return RecordDecided(
        record_id=tagged.record_id,
        revision=tagged.revision,
        source=tagged.source,
        policy=tagged.policy,
        control_offset=work.control_offset,
        state=decision.state,
        decided_at=work.now,
        outcome=decision.outcome,
        code=decision.code or item.flag,
        slot=tagged.slot,
        links=tagged.links,
        verdicts=list(decision.verdicts),
    )


def spoilt_entry(item: Spoilt, work: RouteWork) -> RecordDecided:
    """What `decisions` says of a record that broke this stage."""
    return RecordDecided(
        record_id=RecordId(item.record.place),
        revision=1,
        source="",
        policy=work.plans.latest.version,
        control_offset=work.control_offset,
        state=0,
        decided_at=work.now,
        outcome="quarantined",
        code="bug",
        slot=Slot(item.record.place[0]),
        links=[],
        verdicts=[],
    )
