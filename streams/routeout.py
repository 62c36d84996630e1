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
from streams.routeplan import Routed, RouteWork, Spoilt, spoilt_entry
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
        entries, kinds = [], _kinds(work)
        for (tagged, _, _), kind in zip(work.items, kinds, strict=True):
            entries.append(kind.entry.encode(tagged.record_id, tagged.slot, tagged.handles))
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
        handed = [(item, kind) for item, kind in zip(work.items, _kinds(work), strict=True) if kind.granted]
        names = _Names(self.secrets)
        ids = [
            [names.delivery(granted.name, item.tagged.record_id) for granted in kind.granted]
            for item, kind in handed
        ]
        handles = _handles(handed, ids)
        records: list[Outbound] = []
        for (item, kind), own in zip(handed, ids, strict=True):
            records += self._deliveries(item, kind, own, handles, names)
        await self.out.send(records)
        for name, n in Counter(granted.name for _, kind in handed for granted in kind.granted).items():
            metrics.DELIVERIES.labels(name).inc(n)

    def _deliveries(
        self,
        item: Routed,
        kind: RouteKind,
        ids: Sequence[DeliveryId],
        handles: Iterator[Handle],
        names: _Names,
    ) -> Iterator[Outbound]:
        """Seal what each may have of one record."""
        texts, slot, links = kind.open(item), item.tagged.slot, item.links
        number = links[kind.granted[0].links[0]].usable.number
        given = kind.given(texts)
        drawn, at = self.draw(sum([mould.draws for mould, _, _ in given])), 0
        for granted, (mould, frame, categories), delivery in zip(kind.granted, given, ids, strict=True):
            keys = [links[link].key for link in granted.links]
            own = [next(handles) for _ in keys]
            clear = [texts[category] for category in categories]
            sealed = mould.seal(delivery, own, keys, clear, drawn[at : at + mould.draws])
            at += mould.draws
            ref = names.person(granted.name, number)
            value = frame.encode(delivery, ref, own, sealed)
            yield self.out.to_slot(granted.topic, slot, value, key=ref)

    def _set_aside(self, part: Part, item: Spoilt, now: Micros) -> Outbound | None:
        raw = item.record.record.value
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


class _Names:
    """Ids and pseudonyms towards processors; a person's is made once a part."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._known: dict[str, bytes] = {}
        self._people: dict[tuple[str, SubjectNumber], SubjectRef] = {}

    def delivery(self, processor: str, record: RecordId) -> DeliveryId:
        """Name a record."""
        return delivery_id(self._secret(processor), record)

    def person(self, processor: str, number: SubjectNumber) -> SubjectRef:
        """Name a person."""
        found = self._people.get((processor, number))
        if found is None:
            found = self._people[processor, number] = subject_ref(self._secret(processor), number)
        return found

    def _secret(self, processor: str) -> bytes:
        found = self._known.get(processor)
        if found is None:
            found = self._known[processor] = self._secrets.processor(processor)
        return found


def _kinds(work: RouteWork) -> list[RouteKind]:
    """The kind of every record.

    They are worked out anew for each part, for they name its time and sequence number.
    """
    kinds = []
    for item in work.items:
        kind = item.alike.kind
        if kind is None:
            kind = item.alike.kind = RouteKind(item, work)
        kinds.append(kind)
    return kinds


def _handles(
    handed: Sequence[tuple[Routed, RouteKind]], ids: Sequence[Sequence[DeliveryId]]
) -> Iterator[Handle]:
    """The handle of every grant, in order: one block each, made bucket by bucket."""
    named: dict[bytes, list[tuple[SubjectNumber, int, bytes]]] = defaultdict(list)
    order = []
    for (item, kind), own in zip(handed, ids, strict=True):
        for granted, delivery in zip(kind.granted, own, strict=True):
            for link in granted.links:
                now = item.links[link]
                assert now.found.key is not None, "what opens has a bucket key"
                named[now.found.key].append((now.usable.number, now.usable.generation, delivery))
                order.append(now.found.key)
    made = {bucket: iter(make_handles(handle_key(bucket), each)) for bucket, each in named.items()}
    return (next(made[bucket]) for bucket in order)
