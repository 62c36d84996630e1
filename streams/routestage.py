"""The route stage: commit 1 reads people and buckets and writes who must be told; decisions, deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

from schemas.errors import Rejected
from schemas.ids import Micros, Period, Terms
from schemas.layouts import TaggedCells, TaggedReader
from schemas.plan import Plans, PolicyPlan, PurposePlan
from streams.intake import place_id
from streams.out import FLAG
from streams.ports import Inbound
from streams.routeplan import Alike, LinkNow, Record, Routed, RouteWork, Spoilt
from streams.routing import Policies, route
from streams.stage import Part, is_tick
from streams.tagging import bind
from vault.herald import Herald, announce_correction
from vault.opening import Found, Usable, find_named, may_use
from vault.port import Tx, Vault
from vault.values import BucketId, BucketWanted, Closed


class RecordReader:
    """Decodes our own records; one that cannot be read is a bug of ours, not an input."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._reader = TaggedReader()

    def part(self, part: Part, spoilt: frozenset[int]) -> list[Record]:
        """Read the records of a part, in order."""
        return [
            self._read(part, record, spoilt)
            for record in part.records
            if record.value is not None or not is_tick(record)
        ]

    def _read(self, part: Part, inbound: Inbound, spoilt: frozenset[int]) -> Record:
        flag = None
        if inbound.headers:
            said = (value for name, value in inbound.headers if name == FLAG)
            flag = next((value.decode("ascii", "replace") for value in said), None)
        try:
            tagged = self._reader.read(inbound.value or b"")
        except Rejected as rejected:
            if inbound.offset not in spoilt:
                raise ValueError(rejected.code) from None
            tagged = None
        if inbound.offset not in spoilt:
            return Record(inbound, tagged, b"", flag)
        place = (
            tagged.record_id if tagged else place_id(self._vault, part.topic, part.partition, inbound.offset)
        )
        return Record(inbound, None, place)


def decide(tx: Tx, records: Sequence[Record], plans: Plans, herald: Callable[[Plans], Herald]) -> RouteWork:
    """Commit 1: decide every record as of now, and write down who must be told should its keys end."""
    whole = [(record.tagged, record.flag) for record in records if record.tagged is not None]
    today = plans.today(tx.now)
    items = _Judge(tx, plans, today).routed(whole)
    _tell(tx, items)
    corrected = [item for item in items if item.alike.corrects]
    return RouteWork(
        seq=tx.seq,
        items=items,
        spoilt=[_set_aside(tx, record, today.quarantine) for record in records if record.tagged is None],
        plans=plans,
        now=tx.now,
        control_offset=tx.control_offset,
        owes=bool(corrected) and _end_old_copies(tx, corrected, herald(plans)),
    )


class _Judge:
    """Decides the records of one part; what depends on no single record is worked out once."""

    def __init__(self, tx: Tx, plans: Plans, today: PolicyPlan) -> None:
        self._tx, self._plans, self._today = tx, plans, today
        self._processors = {state.name: state for state in tx.processors()}
        self._policies: dict[int, Policies] = {}

    def routed(self, records: Sequence[tuple[TaggedCells, str | None]]) -> list[Routed]:
        """Decide records, in their order; those of one make go together."""
        makes: dict[int, list[int]] = {}
        for at, (tagged, _) in enumerate(records):
            places = makes.get(id(tagged.make))  # the reader gives records of one make the same one
            if places is None:
                places = makes[id(tagged.make)] = []
            places.append(at)
        newest = self._tx.superseded([tagged.record_id for tagged, _ in records])
        links = self._links([[records[at][0] for at in own] for own in makes.values()])
        items: list[tuple[int, Routed]] = []
        for own, linked in zip(makes.values(), links, strict=True):
            make, known = records[own[0]][0].make, dict[tuple[object, ...], Alike]()
            policies = self._then(make.policy)
            for at, now in zip(own, linked, strict=True):
                tagged, flag = records[at]
                old = bool(newest) and newest.get(tagged.record_id, 0) > make.revision
                name = (flag, old, *[link.look for link in now])
                alike = known.get(name)
                if alike is None:
                    alike = known[name] = self._alike(tagged, policies, now, flag, superseded=old)
                items.append((at, Routed(tagged, alike, now)))
        if len(makes) > 1:
            items.sort(key=itemgetter(0))
        return [item for _, item in items]

    def _alike(
        self,
        tagged: TaggedCells,
        policies: Policies,
        links: tuple[LinkNow, ...],
        flag: str | None,
        *,
        superseded: bool,
    ) -> Alike:
        record, states = tagged.record(), [now.state for now in links]
        decided = route(record, policies, states, self._processors, self._tx.now, superseded=superseded)
        corrects = record.revision > 1 and not superseded
        return Alike(decided, flag, policies, len(links), corrects=corrects)

    def _links(self, makes: Sequence[Sequence[TaggedCells]]) -> Iterator[list[tuple[LinkNow, ...]]]:
        """How the links of every record stand, make by make; rows are read in bulk."""
        asked: dict[BucketId, list[tuple[bytes, bytes]]] = {}
        for records in makes:
            make = records[0].make
            for n, link in enumerate(make.links):
                pairs = [(tagged.handles[n], tagged.record_id) for tagged in records]
                asked.setdefault(self._bucket(make.policy, link), []).extend(pairs)
        found = {bucket: iter(each) for bucket, each in find_named(self._tx, asked).items()}
        known: dict[tuple[int, int, BucketId], dict[int, LinkNow]] = {}
        for records in makes:
            make, columns = records[0].make, []
            for link in make.links:
                bucket = self._bucket(make.policy, link)
                same = known.setdefault((make.policy, link[0], bucket), {})
                columns.append(
                    [self._now(make.policy, link[0], bucket, next(found[bucket]), same) for _ in records]
                )
            yield list(zip(*columns, strict=True)) if columns else [()] * len(records)

    def _now(
        self, version: int, purpose: int, bucket: BucketId, found: Found, known: dict[int, LinkNow]
    ) -> LinkNow:
        now = known.get(id(found))  # records of one person under one bucket share what was found
        if now is None:
            used = _use(self._then(version), purpose, found, self._tx.now)
            now = known[id(found)] = LinkNow(bucket, found, used)
        return now

    def _then(self, version: int) -> Policies:
        found = self._policies.get(version)
        if found is None:
            found = Policies(then=self._plans.version(version), today=self._today)
            self._policies[version] = found
        return found

    def _bucket(self, version: int, link: tuple[int, int, int]) -> BucketId:
        purpose, period, terms = link
        name = self._then(version).then.purposes[purpose].name
        return BucketId(name, Period(period), Terms(terms))


def _use(policies: Policies, number: int, found: Found, now: Micros) -> Usable | Closed:
    """Judge a link by the purpose as today's policy has it, or as it was where today's has dropped it."""
    then = policies.then.purposes[number]
    today = policies.today.purpose_numbers.get(then.name)
    return may_use(found, then if today is None else policies.today.purposes[today], now)


def _tell(tx: Tx, items: Iterable[Routed]) -> None:
    """Write down who has to hear of a lapse of this part (model m2).

    One row too many costs a lapse nobody needed; one too few leaves data at a processor for ever.
    """
    told: dict[tuple[int, int], tuple[LinkNow, frozenset[str]]] = {}
    for _, alike, links in items:
        for now, names in zip(links, alike.told, strict=True):
            if names:
                told[id(now), id(names)] = now, names
    tx.tell_buckets(sorted({(now.bucket, name) for now, names in told.values() for name in names}))
    tx.tell_subjects(sorted({(now.usable.number, name) for now, names in told.values() for name in names}))


def _end_old_copies(tx: Tx, items: Iterable[Routed], herald: Herald) -> bool:
    """Tell whoever may have an old revision and gets nothing of this one; say whether anybody had to be told.

    It is decided here, in the commit that refuses the new revision: tag would look too early (model m8).
    Whoever gets the new one must not be told: at some recipients an erasure is for good.
    """
    owes = False
    for tagged, alike, links in items:
        then, living = alike.policies.then, [now for now in links if not now.state.closed]
        if not living or living[0].found.number is None:
            continue
        number, purposes = living[0].found.number, {now.bucket.purpose for now in living}
        told = {name for now in living for name in tx.told_of_bucket(now.bucket)}
        told &= set(tx.told_of_subject(number))
        for verdict in alike.decision.verdicts:
            processor = then.processors[verdict.processor]
            may = {then.purposes[purpose].name for purpose in processor.grants} & purposes
            if verdict.grants or not may or processor.name not in told:
                continue
            record = tagged.record_id, tagged.make.revision, tagged.slot
            announce_correction(tx, herald, processor.name, number, record, sorted(may))
            owes = True
    return owes


def _set_aside(tx: Tx, record: Record, purpose: PurposePlan) -> Spoilt:
    bound = bind(purpose, tx.now)
    tx.ensure_buckets([BucketWanted(id=bound.bucket, due=bound.due)])
    key = tx.bucket_keys([bound.bucket])[bound.bucket]
    return Spoilt(record=record, period=bound.bucket.period, terms=bound.bucket.terms, key=key)
