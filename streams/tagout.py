"""What the tag stage writes: sealed records, quarantined input, and decisions for everything that
ends here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from schemas import codec
from schemas.ids import Handle, Slot
from schemas.models import Compartment, Link, Outcome, RecordDecided, RecordTagged
from schemas.plan import Plans, PolicyPlan
from streams import metrics, tagging
from streams.out import DECISIONS, Out, decision_batches
from streams.ports import Outbound
from streams.quarantine import Aside, keepable, set_aside
from streams.stage import Part
from streams.tagplan import REVISION, Item, Keys, TagWork, bucket_of
from vault.handles import handle_key, make_handles, slot_of
from vault.keys import Draw, derive_k
from vault.sealing import Part as SealPart
from vault.sealing import RecordHeader, encode_fields, seal_record
from vault.values import BucketId


class TagOutput:
    """Seals and sends a judged part."""

    def __init__(self, out: Out, *, slot_key: bytes, draw: Draw) -> None:
        self._out = out
        self._slot_key = slot_key
        self._draw = draw

    async def send(self, part: Part, work: TagWork) -> None:
        """Send everything a part causes; returns once all of it is acknowledged."""
        plans = work.plans
        accepted = [item for item in work.items if item.entry.fate == "tagged" and item.keys]
        handles = _handles(accepted, plans)
        records = [self._tagged(item, plans, work, handles) for item in accepted]
        records += [
            self._quarantined(part, item)
            for item in work.items
            if item.entry.fate == "quarantined" and item.keys and keepable(item.arrived.record.value)
        ]
        entries = [entry for item in work.items if (entry := self._decided(item, work, plans)) is not None]
        records += [
            self._out.to_partition(DECISIONS, part.partition, batch) for batch in decision_batches(entries)
        ]
        await self._out.send(records)
        for entry in entries:
            metrics.OUTCOMES.labels(entry.outcome, entry.code or "").inc()

    def _tagged(
        self, item: Item, plans: Plans, work: TagWork, handles: Mapping[tuple[bytes, int], Handle]
    ) -> Outbound:
        entry, event = item.entry, item.arrived.event
        assert event is not None and entry.subject is not None and item.arrived.schema_id is not None
        policy = plans.version(entry.policy)
        source = tagging.source_of(event)
        links = [
            Link(
                purpose=key.link.purpose,
                period=key.link.period,
                terms=key.link.terms,
                handle=handles[entry.record_id, key.link.purpose],
            )
            for key in item.keys
        ]
        header = RecordHeader(entry.record_id, REVISION, source, policy.version, links)
        record = RecordTagged(
            record_id=entry.record_id,
            revision=REVISION,
            source=source,
            schema_id=item.arrived.schema_id,
            policy=policy.version,
            tagged_at=work.now,
            slot=slot_of(self._slot_key, entry.subject),
            links=links,
            compartments=self._compartments(item, policy, header),
        )
        horizon = policy.horizon(max(key.due for key in item.keys) - work.now)
        return self._out.to_slot(f"records.{horizon}", record.slot, codec.encode(record), flag=entry.code)

    def _compartments(self, item: Item, policy: PolicyPlan, header: RecordHeader) -> list[Compartment]:
        event = item.arrived.event
        assert event is not None
        given = tagging.clear_fields(event)
        mask = sum(1 << key.link.purpose for key in item.keys)
        parts = [
            SealPart(
                sorted(
                    {c for name, c in zip(plan.fields, plan.field_categories, strict=True) if name in given}
                ),
                plan.links,
                encode_fields([*(given.get(name) for name in plan.fields[:-1]), item.entry.at]),
            )
            for plan in policy.compartments(header.source, mask)
            if not given.keys().isdisjoint(plan.fields)
        ]
        return seal_record(
            header, parts, [derive_k(key.bucket, key.subject) for key in item.keys], self._draw
        )

    def _quarantined(self, part: Part, item: Item) -> Outbound:
        entry, (key,), record = item.entry, item.keys, item.arrived.record
        assert record.value is not None and entry.code is not None
        aside = Aside(
            record_id=entry.record_id,
            schema_id=item.arrived.schema_id,
            received_at=entry.at,
            code=entry.code,
            path=entry.path,
            period=key.link.period,
            terms=key.link.terms,
        )
        return set_aside(self._out, part, aside, record.value, key.bucket, self._draw)

    def _decided(self, item: Item, work: TagWork, plans: Plans) -> RecordDecided | None:
        """The entry of what ends here; accepted records are decided by route."""
        entry = item.entry
        outcome, code = _ending(item)
        if outcome is None:
            return None
        event = item.arrived.event
        return RecordDecided(
            record_id=entry.record_id,
            revision=REVISION,
            source=tagging.source_of(event) if event else item.arrived.topic,
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


def _dead_links(item: Item) -> list[Link]:
    """The buckets an expired record was counted in; a handle would lead nowhere, so there is none."""
    nowhere = Handle(bytes(16))
    return [
        Link(purpose=link.purpose, period=link.period, terms=link.terms, handle=nowhere)
        for link in item.entry.links
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


def _handles(items: Sequence[Item], plans: Plans) -> dict[tuple[bytes, int], Handle]:
    """Handles of every link, by record id and purpose: one block each, made bucket by bucket."""
    by_bucket: dict[BucketId, list[tuple[Item, Keys]]] = defaultdict(list)
    for item in items:
        policy = plans.version(item.entry.policy)
        for key in item.keys:
            by_bucket[bucket_of(policy, key.link)].append((item, key))
    return dict(_bucket_handles(by_bucket.values()))


def _bucket_handles(
    buckets: Iterable[list[tuple[Item, Keys]]],
) -> Iterable[tuple[tuple[bytes, int], Handle]]:
    for pairs in buckets:
        named = [(i.entry.subject, k.link.generation, i.entry.record_id) for i, k in pairs if i.entry.subject]
        handles = make_handles(handle_key(pairs[0][1].bucket), named)
        for (item, key), handle in zip(pairs, handles, strict=True):
            yield (item.entry.record_id, key.link.purpose), handle
