"""What the route stage writes: decisions of a part, then what each processor may have, sealed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

from schemas.frames import DecisionFrame, pack_decisions
from schemas.ids import DeliveryId, Handle, Micros, RecordId, SubjectNumber, SubjectRef
from streams import metrics
from streams.out import DECISIONS, Out, packed
from streams.ports import Outbound
from streams.quarantine import Aside, keepable, set_aside
from streams.routekind import Given, Granted, RouteKind
from streams.routeplan import Routed, RouteWork, Spoilt, spoilt_entry
from streams.stage import Part
from vault.handles import delivery_ids, handle_key, handles_of, people_blocks, subject_refs
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
        names, kinds = _Names(self.secrets), _kinds(work)
        alike: dict[int, list[int]] = {}
        for at, kind in enumerate(kinds):
            if kind.granted:
                alike.setdefault(id(kind), []).append(at)
        made: list[list[Outbound]] = [[] for _ in kinds]
        for own in alike.values():
            kind = kinds[own[0]]
            for at, each in zip(
                own, self._deliveries(kind, [work.items[at] for at in own], names), strict=True
            ):
                made[at] = each
            for granted in kind.granted:
                metrics.DELIVERIES.labels(granted.name).inc(len(own))
        await self.out.send([record for each in made for record in each])

    def _deliveries(self, kind: RouteKind, items: Sequence[Routed], names: _Names) -> list[list[Outbound]]:
        """Seal what each may have of records of one kind; returns those of each record."""
        texts, made = kind.open(items), list[list[Outbound]]([] for _ in items)
        alike: dict[tuple[int, ...], list[int]] = {}
        for at, own in enumerate(texts):
            alike.setdefault((*own,), []).append(at)
        for present, places in alike.items():
            some = [items[at] for at in places]
            people = _People(some)
            for granted, given in zip(kind.granted, kind.given(present), strict=True):
                clear = [[texts[at][category] for at in places] for category in given.categories]
                sealed = self._sealed(granted, given, clear, people, names)
                for at, record in zip(places, sealed, strict=True):
                    made[at].append(record)
        return made

    def _sealed(
        self,
        granted: Granted,
        given: Given,
        clear: Sequence[Sequence[bytes]],
        people: _People,
        names: _Names,
    ) -> list[Outbound]:
        """What one processor gets of records alike, a column at a time."""
        mould, frame, _ = given
        ids = names.deliveries(granted.name, people.records)
        refs = names.people(granted.name, people.numbers(granted.links[0]))
        handles = [people.handles(link, ids) for link in granted.links]
        keys = [people.keys(link) for link in granted.links]
        sealed = mould.seal(ids, handles, keys, clear, self.draw(mould.draws * len(ids)))
        values = frame.encode(ids, refs, handles, sealed)
        places = self.out.places(granted.topic)
        partitions = [places[slot] for slot in people.slots]
        return [*map(Outbound, repeat(granted.topic), partitions, refs, values)]

    def _set_aside(self, part: Part, item: Spoilt, now: Micros) -> Outbound | None:
        raw = item.record.record.value
        if raw is None or not keepable(raw):
            return None
        aside = Aside(
            topic=part.topic,  # what is spoilt is done alone: it came in this part
            record_id=RecordId(item.record.place),
            schema_id=None,
            received_at=now,
            code="bug",
            path=None,
            period=item.period,
            terms=item.terms,
        )
        return set_aside(self.out, part.partition, aside, raw, item.key, self.draw)


class _People:
    """Some records of one kind, and whose their links are, link by link."""

    def __init__(self, items: Sequence[Routed]) -> None:
        self.records = [item.tagged.record_id for item in items]
        self.slots = [item.tagged.slot for item in items]
        self._links = [*zip(*(item.links for item in items), strict=True)]
        self._blocks: dict[int, bytes] = {}

    def numbers(self, link: int) -> list[SubjectNumber]:
        """Whose a link is, of each record."""
        return [now.usable.number for now in self._links[link]]

    def keys(self, link: int) -> list[bytes]:
        """K(S,p,t) of a link, of each record."""
        return [now.key for now in self._links[link]]

    def handles(self, link: int, ids: Sequence[DeliveryId]) -> list[Handle]:
        """The handle of a link under each of these names; records of one kind have the same buckets."""
        column = self._links[link]
        blocks = self._blocks.get(link)
        if blocks is None:
            used = [now.usable for now in column]
            blocks = self._blocks[link] = people_blocks([(each.number, each.generation) for each in used])
        key = column[0].found.key
        assert key is not None, "what opens has a bucket key"
        return handles_of(handle_key(key), blocks, ids)


class _Names:
    """Ids and pseudonyms towards processors; a person's is made once a part."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._known: dict[str, tuple[bytes, dict[SubjectNumber, SubjectRef]]] = {}

    def deliveries(self, processor: str, records: Sequence[RecordId]) -> list[DeliveryId]:
        """Name records."""
        return delivery_ids(self._of(processor)[0], records)

    def people(self, processor: str, numbers: Sequence[SubjectNumber]) -> list[SubjectRef]:
        """Name people."""
        secret, known = self._of(processor)
        new = [number for number in dict.fromkeys(numbers) if number not in known]
        if new:
            known.update(zip(new, subject_refs(secret, new), strict=True))
        return [known[number] for number in numbers]

    def _of(self, processor: str) -> tuple[bytes, dict[SubjectNumber, SubjectRef]]:
        found = self._known.get(processor)
        if found is None:
            found = self._known[processor] = self._secrets.processor(processor), {}
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
