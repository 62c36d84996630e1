"""What the route stage writes: the decisions of a part, then for each processor what it may have, sealed
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas import codec
from schemas.ids import Handle, Micros, RecordId, SubjectNumber
from schemas.models import Grant, RecordDelivered, RecordTagged, Verdict
from schemas.plan import CompartmentPlan
from schemas.policy_words import COLLECTED_AT
from streams import metrics
from streams.out import DECISIONS, Out, decision_batches
from streams.ports import Outbound
from streams.quarantine import Aside, keepable, set_aside
from streams.routestage import Routed, RouteWork, Spoilt, entry_of, spoilt_entry
from streams.stage import Part
from streams.times import rfc3339
from vault.handles import delivery_id, handle_key, make_handles, subject_ref
from vault.keys import Draw
from vault.opening import Usable, open_fields
from vault.port import Secrets
from vault.sealing import DeliveredPart, DeliveryHeader, seal_delivery
from vault.values import Closed

Texts = dict[str, str]
"""Fields in clear, by name: never leaves the function that seals them again."""


class _Granted(NamedTuple):
    """One grant of a verdict, with the key behind it."""

    grant: Grant
    k: bytes
    categories: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOutput:
    """Seals and sends a judged part."""

    out: Out
    secrets: Secrets
    draw: Draw

    async def send_decisions(self, part: Part, work: RouteWork) -> None:
        """Send what was decided for every record; returns once it is acknowledged."""
        entries = [entry_of(item, work) for item in work.items]
        entries += [spoilt_entry(item, work) for item in work.spoilt]
        records = [self._set_aside(part, item, work.now) for item in work.spoilt]
        records += [
            self.out.to_partition(DECISIONS, part.partition, each) for each in decision_batches(entries)
        ]
        await self.out.send([record for record in records if record is not None])
        for entry in entries:
            metrics.OUTCOMES.labels(entry.outcome, entry.code or "").inc()

    async def send_deliveries(self, work: RouteWork) -> None:
        """Send every delivery of the part, in the order of its records; returns once all are acknowledged."""
        await self.out.send([record for item in work.items for record in self._deliveries(item, work)])

    def _deliveries(self, item: Routed, work: RouteWork) -> Iterator[Outbound]:
        """Nothing is opened for a record that nobody may have."""
        verdicts = [verdict for verdict in item.decision.verdicts if verdict.grants]
        if not verdicts:
            return
        fields = _open(item)
        for verdict in verdicts:
            name = item.policies.then.processors[verdict.processor].name
            record = self._delivery(item, work, verdict, name, fields)
            metrics.DELIVERIES.labels(name).inc()
            yield self.out.to_slot(
                f"processor.{name}", item.tagged.slot, codec.encode(record), key=record.subject_ref
            )

    def _delivery(
        self, item: Routed, work: RouteWork, verdict: Verdict, name: str, fields: Mapping[int, Texts]
    ) -> RecordDelivered:
        tagged, secret = item.tagged, self.secrets.processor(name)
        delivery = delivery_id(secret, tagged.record_id)
        granted = list(_grants(item, work, verdict, delivery))
        header = DeliveryHeader(delivery, tagged.revision, tagged.source, [each.grant for each in granted])
        parts = [
            DeliveredPart(
                item.policies.then.categories[category],
                [n for n, each in enumerate(granted) if category in each.categories],
                fields[category],
            )
            for category in sorted({c for each in granted for c in each.categories})
            if category in fields
        ]
        return RecordDelivered(
            delivery_id=delivery,
            subject_ref=subject_ref(secret, _number(item, verdict)),
            revision=tagged.revision,
            source=tagged.source,
            schema_id=tagged.schema_id,
            compartments=seal_delivery(header, parts, [each.k for each in granted], name, self.draw),
            grants=[each.grant for each in granted],
        )

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


def _grants(item: Routed, work: RouteWork, verdict: Verdict, delivery: bytes) -> Iterator[_Granted]:
    for each in verdict.grants:
        link, used, found = item.tagged.links[each.link], item.used[each.link], item.found[each.link]
        assert isinstance(used, Usable), "only what opens is granted"
        assert found.key is not None, "what opens has a bucket key"
        (handle,) = make_handles(handle_key(found.key), [(used.number, used.generation, delivery)])
        grant = Grant(
            purpose=item.policies.then.purposes[link.purpose].name,
            period=link.period,
            terms=link.terms,
            handle=Handle(handle),
            decided=work.seq,
            use_until=used.use_until,
        )
        yield _Granted(grant, used.k, frozenset(each.categories))


def _number(item: Routed, verdict: Verdict) -> SubjectNumber:
    used = item.used[verdict.grants[0].link]
    assert isinstance(used, Usable), "only what opens is granted"
    return used.number


def _open(item: Routed) -> dict[int, Texts]:
    """Open a record: its fields by category number of the policy at collection, each with the time of
    collection.
    """
    tagged, policy = item.tagged, item.policies.then
    plans = {plan.links: plan for plan in policy.compartments(tagged.source, _mask(tagged))}
    found: dict[int, Texts] = {}
    for compartment, values in zip(tagged.compartments, open_fields(tagged, item.used), strict=True):
        if isinstance(values, Closed):
            continue
        plan = plans[tuple(wrap.link for wrap in compartment.wraps)]
        for category, texts in _by_category(plan, values):
            found.setdefault(category, {}).update(texts)
    return found


def _mask(tagged: RecordTagged) -> int:
    return sum(1 << link.purpose for link in tagged.links)


def _by_category(
    plan: CompartmentPlan, values: list[str | int | dict[str, str] | None]
) -> Iterator[tuple[int, Texts]]:
    collected_at = values[-1]
    assert isinstance(collected_at, int), "the last field is when the event was collected"
    when = {COLLECTED_AT: rfc3339(Micros(collected_at))}
    for name, category, value in zip(plan.fields[:-1], plan.field_categories[:-1], values[:-1], strict=True):
        if value is not None:
            yield category, {name: str(value), **when}
