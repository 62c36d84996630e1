"""What the route stage writes: the decisions of a part, then for each processor what it may have, sealed
again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.frames import DecisionFrame, pack_decisions
from schemas.ids import DeliveryId, Handle, Micros, RecordId, SubjectNumber, SubjectRef
from streams import metrics
from streams.out import DECISIONS, Out, packed
from streams.ports import Outbound
from streams.quarantine import Aside, keepable, set_aside
from streams.routekind import RouteKind
from streams.routestage import Routed, RouteWork, Spoilt, spoilt_entry
from streams.stage import Part
from vault.handles import delivery_id, handle_key, make_handles, subject_ref
from vault.keys import Draw
from vault.port import Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOutput:
    """Seals and sends a judged part."""

    out: Out
    secrets: Secrets
    draw: Draw

    async def send_decisions(self, part: Part, work: RouteWork) -> None:
        """Send what was decided for every record; returns once it is acknowledged."""
        kinds = _kinds(work)
        entries = [
            kind.entry.encode(item.tagged.record_id, item.tagged.slot, item.tagged.links)
            for item, kind in zip(work.items, kinds, strict=True)
        ]
        counts = Counter((kind.outcome, kind.code) for kind in kinds)
        for spoilt in work.spoilt:
            entry = spoilt_entry(spoilt, work)
            entries.append(DecisionFrame(entry).encode(entry.record_id, entry.slot, []))
            counts[entry.outcome, entry.code] += 1
        records = [self._set_aside(part, item, work.now) for item in work.spoilt]
        records += [
            self.out.to_partition(DECISIONS, part.partition, each) for each in packed(entries, pack_decisions)
        ]
        await self.out.send([record for record in records if record is not None])
        for (outcome, code), n in counts.items():
            metrics.OUTCOMES.labels(outcome, code or "").inc(n)

    async def send_deliveries(self, work: RouteWork) -> None:
        """Send every delivery of the part, in the order of its records; returns once all are acknowledged."""
        records, counts = [], Counter[str]()
        handed = [
            _Handed(item, kind) for item, kind in zip(work.items, _kinds(work), strict=True) if kind.granted
        ]
        names = _Names(self.secrets)
        for each in handed:
            each.ids = [
                names.delivery(granted.name, each.item.tagged.record_id) for granted in each.kind.granted
            ]
        handles = _handles(handed)
        for each in handed:
            texts, slot = each.kind.open(each.item), each.item.tagged.slot
            for granted, delivery in zip(each.kind.granted, each.ids, strict=True):
                given = granted.given(tuple(texts))
                keys = [each.item.links[link].key for link in granted.links]
                own = [next(handles) for _ in granted.links]
                ref = names.person(granted.name, each.number)
                clear = [texts[category] for category in given.categories]
                sealed = given.mould.seal(delivery, own, keys, clear, self.draw)
                value = given.frame.encode(delivery, ref, own, sealed)
                records.append(self.out.to_slot(granted.topic, slot, value, key=ref))
                counts[granted.name] += 1
        await self.out.send(records)
        for name, n in counts.items():
            metrics.DELIVERIES.labels(name).inc(n)

    def _set_aside(self, part: Part, item: Spoilt, now: Micros) -> Outbound | None:
        raw = item.record.inbound.value
        if raw is None or not keepable(raw):
            return None
        aside = Aside(
            record_id=RecordId(item.record.place),
            schema_id=None,
            received_at=now,
            code="bug",
            path=None,
            period=item.period,
            terms=item.terms,
        )
        return set_aside(self.out, part, aside, raw, item.key, self.draw)


@dataclass(slots=True)
class _Handed:
    """A record somebody may have, and its id towards each who may."""

    item: Routed
    kind: RouteKind
    ids: Sequence[DeliveryId] = ()

    @property
    def number(self) -> SubjectNumber:
        """Whose record it is."""
        return self.item.links[self.kind.granted[0].links[0]].usable.number


class _Names:
    """Ids and pseudonyms towards processors; a person's is made once a part."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._people: dict[tuple[str, SubjectNumber], SubjectRef] = {}

    def delivery(self, processor: str, record: RecordId) -> DeliveryId:
        """Name a record."""
        return delivery_id(self._secrets.processor(processor), record)

    def person(self, processor: str, number: SubjectNumber) -> SubjectRef:
        """Name a person."""
        found = self._people.get((processor, number))
        if found is None:
            found = subject_ref(self._secrets.processor(processor), number)
            self._people[processor, number] = found
        return found


def _kinds(work: RouteWork) -> list[RouteKind]:
    """The kind of every record: make, decision, flag, and until when each link may be used.

    They are worked out anew for each part, for they name its time and sequence number.
    """
    if work.kinds is None:
        known: dict[tuple[object, ...], RouteKind] = {}
        work.kinds = []
        for item in work.items:
            name = (id(item.make), id(item.decision), item.flag, *[now.until for now in item.links])
            kind = known.get(name)
            if kind is None:
                kind = known[name] = RouteKind(item, work)
            work.kinds.append(kind)
    return work.kinds


def _handles(handed: Sequence[_Handed]) -> Iterator[Handle]:
    """The handle of every grant, in order: one block each, made bucket by bucket."""
    named: dict[bytes, list[tuple[SubjectNumber, int, bytes]]] = defaultdict(list)
    order = []
    for each in handed:
        for granted, delivery in zip(each.kind.granted, each.ids, strict=True):
            for link in granted.links:
                now = each.item.links[link]
                assert now.found.key is not None, "what opens has a bucket key"
                named[now.found.key].append((now.usable.number, now.usable.generation, delivery))
                order.append(now.found.key)
    made = {bucket: iter(make_handles(handle_key(bucket), each)) for bucket, each in named.items()}
    return (next(made[bucket]) for bucket in order)
