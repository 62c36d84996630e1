"""What the tag stage writes: sealed records, quarantined input, decisions of all that ends here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.avrobytes import number
from schemas.frames import TaggedFrame
from schemas.ids import Handle, Micros, RecordId, Slot, SubjectNumber
from schemas.models import Link, Outcome, RecordDecided
from schemas.plan import Plans, PolicyPlan
from streams import metrics, tagging
from streams.out import DECISIONS, Out, decision_batches
from streams.ports import Outbound
from streams.quarantine import Aside, keepable, set_aside
from streams.stage import Part
from streams.tagplan import REVISION, Item, TagWork
from vault.handles import handle_key, make_handles, slot_named, slot_names
from vault.keys import Draw
from vault.moulds import RecordMould
from vault.sealing import encode_fields

_MOST_KINDS = 4096
"""Kinds of records kept in hand: what strangers can vary, such as fields filled in, must not grow."""


class _Kind(NamedTuple):
    """What records of one kind share, and the fields of each compartment, in order."""

    mould: RecordMould
    frame: TaggedFrame
    fields: tuple[tuple[str, ...], ...]


class TagOutput:
    """Seals and sends a judged part."""

    def __init__(self, out: Out, *, slot_key: bytes, draw: Draw) -> None:
        self._out = out
        self._slots = slot_names(slot_key)
        self._draw = draw
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    async def send(self, part: Part, work: TagWork) -> None:
        """Send everything a part causes; returns once all of it is acknowledged."""
        plans = work.plans
        records = self._sealed(work)
        records += [
            self._quarantined(part, item)
            for item in work.items
            if item.entry.fate == "quarantined" and item.keys and keepable(item.arrived.record.value)
        ]
        ending = [item for item in work.items if _ends(item)]
        entries = [entry for item in ending if (entry := self._decided(item, work, plans)) is not None]
        partly = [self._entry(item, work, plans, "expired", "expired") for item in ending if _partly(item)]
        batches = decision_batches([*entries, *partly])
        records += [self._out.to_partition(DECISIONS, part.partition, batch) for batch in batches]
        await self._out.send(records)
        for (outcome, code), n in Counter((entry.outcome, entry.code or "") for entry in entries).items():
            metrics.OUTCOMES.labels(outcome, code).inc(n)

    def _sealed(self, work: TagWork) -> list[Outbound]:
        """Every accepted record, sealed, for the topic of its horizon: those of one kind together."""
        accepted = [item for item in work.items if item.entry.fate == "tagged" and item.keys]
        handles, slots = _handles(accepted), self._slots_of(accepted)
        topics: dict[tuple[int, Micros], str] = {}
        made = dict[int, Outbound]()
        for kind, places in self._alike(accepted, work.plans):
            some, theirs = [accepted[at] for at in places], [slots[at] for at in places]
            values = self._values(kind, some, theirs, [handles[at] for at in places], work.now)
            for at, item, slot, value in zip(places, some, theirs, values, strict=True):
                due = max([key.due for key in item.keys])
                topic = topics.get((item.entry.policy, due))
                if topic is None:
                    horizon = work.plans.version(item.entry.policy).horizon(due - work.now)
                    topic = topics[item.entry.policy, due] = f"records.{horizon}"
                made[at] = self._out.to_slot(topic, slot, value, flag=item.entry.code)
        return [made[at] for at in range(len(accepted))]

    def _values(
        self,
        kind: _Kind,
        items: Sequence[Item],
        slots: Sequence[Slot],
        handles: Sequence[tuple[Handle, ...]],
        now: Micros,
    ) -> list[bytes]:
        """Seal and encode records of one kind, a column at a time."""
        ids = [item.entry.record_id for item in items]
        columns = [*zip(*handles, strict=True)]
        keys = [[key.k for key in column] for column in zip(*(item.keys for item in items), strict=True)]
        clear = [
            [encode_fields([*map(item.arrived.given.get, names), item.entry.at]) for item in items]
            for names in kind.fields
        ]
        sealed = kind.mould.seal(ids, columns, keys, clear, self._draw(kind.mould.draws * len(ids)))
        return kind.frame.encode(ids, number(now), slots, columns, sealed)

    def _slots_of(self, items: Sequence[Item]) -> list[Slot]:
        """The virtual partition of each one's person; a person's is worked out once."""
        slots, found = dict[SubjectNumber, Slot](), list[Slot]()
        for item in items:
            subject = item.entry.subject
            assert subject is not None, "what is tagged is about somebody"
            slot = slots.get(subject)
            if slot is None:
                slot = slots[subject] = slot_named(self._slots, subject)
            found.append(slot)
        return found

    def _alike(self, items: Sequence[Item], plans: Plans) -> list[tuple[_Kind, list[int]]]:
        """The kinds of these items, and the places of each one's."""
        kinds: dict[int, tuple[_Kind, list[int]]] = {}
        near = dict[tuple[object, ...], list[int]]()
        for at, item in enumerate(items):
            (arrived, entry, keys), given = item, item.arrived.given
            name = (id(entry.links), len(keys), entry.revision, arrived.schema_id, arrived.source, *given)
            places = near.get(name) if len(keys) == len(entry.links) else None
            if places is None:
                kind = self._kind(item, given, plans)
                _, places = kinds.setdefault(id(kind), (kind, []))
                if len(keys) == len(entry.links):
                    near[name] = places
            places.append(at)
        return [*kinds.values()]

    def _kind(self, item: Item, given: Mapping[str, str], plans: Plans) -> _Kind:
        arrived, version = item.arrived, item.entry.policy
        assert arrived.schema_id is not None, "what is tagged was read"
        source, revision = arrived.source, item.entry.revision
        links = tuple([key.link.bucket for key in item.keys])
        name = (version, source, arrived.schema_id, revision, links, tuple(given))
        found = self._kinds.get(name)
        if found is None:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            policy, schema_id = plans.version(version), arrived.schema_id
            found = self._kinds[name] = _kind(policy, source, schema_id, revision, links, given)
        return found

    def _quarantined(self, part: Part, item: Item) -> Outbound:
        entry, (key,), record = item.entry, item.keys, item.arrived.record
        assert record.value is not None and entry.code is not None
        aside = Aside(
            topic=item.arrived.topic,
            record_id=entry.record_id,
            schema_id=item.arrived.schema_id,
            received_at=entry.at,
            code=entry.code,
            path=entry.path,
            period=key.link.period,
            terms=key.link.terms,
        )
        return set_aside(self._out, part.partition, aside, record.value, key.bucket.key, self._draw)

    def _decided(self, item: Item, work: TagWork, plans: Plans) -> RecordDecided | None:
        """The entry of what ends here; accepted records are decided by route."""
        outcome, code = _ending(item)
        return None if outcome is None else self._entry(item, work, plans, outcome, code)

    def _entry(
        self, item: Item, work: TagWork, plans: Plans, outcome: Outcome, code: str | None
    ) -> RecordDecided:
        entry = item.entry
        return RecordDecided(
            record_id=entry.record_id,
            revision=entry.revision,
            source=_source(item),
            policy=entry.policy or plans.latest.version,
            control_offset=work.control_offset,
            state=0,
            decided_at=work.now,
            outcome=outcome,
            code=code,
            # What ends here names nobody: the slot comes from the record's id, not from a person.
            slot=Slot(entry.record_id[0]),
            links=_dead_links(item) if outcome == "expired" else [],
            verdicts=[],
        )


def _source(item: Item) -> str:
    """The source as an entry says it: of what cannot be read or believed, the topic it came on."""
    if item.arrived.event is not None:
        return tagging.source_of(item.arrived.event)
    return item.arrived.source if item.entry.revision > REVISION else item.arrived.topic


def _ends(item: Item) -> bool:
    """Whether something of it ends at this stage, as nothing does of most."""
    return item.entry.fate != "tagged" or len(item.keys) != len(item.entry.links)


def _partly(item: Item) -> bool:
    """Whether some of the planned links died before the record was sealed, but not all.

    The record is sealed without them, so route never sees them; but they are counted, and their bucket's
    lapse will name the record. An entry says so, or nobody could rebuild the lapse's root from the log.
    """
    return item.entry.fate == "tagged" and 0 < len(item.keys) < len(item.entry.links)


def _dead_links(item: Item) -> list[Link]:
    """The buckets a record was counted in whose keys died; a handle would lead nowhere, so there is none."""
    nowhere, alive = Handle(bytes(16)), {key.link for key in item.keys}
    return [
        Link(purpose=link.purpose, period=link.period, terms=link.terms, handle=nowhere)
        for link in item.entry.links
        if link not in alive
    ]


def _ending(item: Item) -> tuple[Outcome | None, str | None]:
    """How a record ends at this stage, None where it goes on or is one already decided."""
    entry = item.entry
    match entry.fate:
        case "tagged":
            return (None, None) if item.keys else ("expired", "expired")
        case "kept":
            return "kept_in_vault", entry.code
        case "discarded":
            return "discarded", entry.code
        case "quarantined":
            return "quarantined", entry.code
        case "swallowed":
            return None, None


def _handles(items: Sequence[Item]) -> list[tuple[Handle, ...]]:
    """The handles of every item's links: one block each, made link by link for items with the same ones."""
    alike: dict[tuple[int, int], list[int]] = {}
    for at, (_, entry, keys) in enumerate(items):
        # Entries share their links; of those that have lost one, people share their keys.
        name = (id(entry.links), 0) if len(keys) == len(entry.links) else (0, id(keys))
        places = alike.get(name)
        if places is None:
            places = alike[name] = []
        places.append(at)
    found: list[tuple[Handle, ...]] = [()] * len(items)
    for places in alike.values():
        columns = [
            make_handles(handle_key(key.bucket.key), _named(items, places, key.link.generation))
            for key in items[places[0]].keys
        ]
        for at, own in zip(places, zip(*columns, strict=True), strict=True):
            found[at] = own
    return found


def _named(
    items: Sequence[Item], places: Sequence[int], generation: int
) -> Iterator[tuple[SubjectNumber, int, RecordId]]:
    for at in places:
        entry = items[at].entry
        assert entry.subject is not None, "what is tagged is about somebody"
        yield entry.subject, generation, entry.record_id


def _kind(
    policy: PolicyPlan,
    source: str,
    schema_id: int,
    revision: int,
    links: Sequence[tuple[int, int, int]],
    given: Container[str],
) -> _Kind:
    plans = [
        (plan, {c for name, c in zip(plan.fields, plan.field_categories, strict=True) if name in given})
        for plan in policy.compartments(source, sum(1 << purpose for purpose, _, _ in links))
    ]
    parts = [(sorted(categories), plan.links) for plan, categories in plans if categories]
    return _Kind(
        RecordMould(revision=revision, source=source, policy=policy.version, links=links, parts=parts),
        TaggedFrame(
            revision=revision,
            source=source,
            schema_id=schema_id,
            policy=policy.version,
            links=links,
            parts=parts,
        ),
        tuple(plan.fields[:-1] for plan, categories in plans if categories),
    )
