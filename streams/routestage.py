"""The route stage: commit 1 reads people and buckets and writes who must be told; then decisions, then
deliveries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import Micros, Period, RecordId, Slot, SubjectNumber, Terms
from schemas.models import RecordDecided, RecordTagged
from schemas.plan import Plans, PurposePlan
from streams.intake import place_id
from streams.out import FLAG
from streams.ports import Inbound
from streams.routing import Decision, LinkState, Policies, route
from streams.stage import Judged, Part, is_tick
from streams.tagging import bind
from vault.opening import Found, Usable, asks_of, find, may_use
from vault.port import Tx, Vault
from vault.values import BucketId, BucketWanted, Closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record read from `records.*`, with what tag said about it; `tagged` None where a bug was bisected to
    it.
    """

    inbound: Inbound
    tagged: RecordTagged | None
    place: bytes = b""
    flag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A record, its decision, and for each of its links what it opens or why it does not."""

    tagged: RecordTagged
    flag: str | None
    policies: Policies
    decision: Decision
    found: tuple[Found, ...]
    used: tuple[Usable | Closed, ...]


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
    asks = [asks_of(tagged, _names(plans, tagged)) for _, tagged in whole]
    found = iter(find(tx, [ask for each in asks for ask in each]))
    newest = tx.superseded({tagged.record_id for _, tagged in whole})
    processors = {state.name: state for state in tx.processors()}
    items = []
    for record, tagged in whole:
        policies = Policies(then=plans.version(tagged.policy), today=today)
        links = tuple(next(found) for _ in tagged.links)
        used = tuple(
            _use(policies, link.purpose, each, tx.now) for link, each in zip(tagged.links, links, strict=True)
        )
        states = [link_state(each) for each in used]
        old = newest.get(tagged.record_id, 0) > tagged.revision
        decision = route(tagged, policies, states, processors, tx.now, superseded=old)
        items.append(
            Routed(
                tagged=tagged, flag=record.flag, policies=policies, decision=decision, found=links, used=used
            )
        )
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


def _names(plans: Plans, tagged: RecordTagged) -> dict[int, str]:
    policy = plans.version(tagged.policy)
    return {link.purpose: policy.purposes[link.purpose].name for link in tagged.links}


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
        then = item.policies.then
        for verdict in item.decision.verdicts:
            name = then.processors[verdict.processor].name
            for grant in verdict.grants:
                link, used = item.tagged.links[grant.link], item.used[grant.link]
                assert isinstance(used, Usable), "only what opens is granted"
                of_bucket.add((BucketId(then.purposes[link.purpose].name, link.period, link.terms), name))
                of_subject.add((used.number, name))
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
