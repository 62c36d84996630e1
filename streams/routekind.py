"""What records of one kind share on their way out of route: laid out once, used for each of them.

Records are of one kind when they are of one make, decided alike, flagged alike and usable for as long: then
their entries, the way they are opened and the deliveries made of them differ in ids, handles and values
alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from schemas.frames import DecisionFrame, DeliveredFrame, FrameGrant
from schemas.ids import Micros
from schemas.layouts import places
from schemas.models import Verdict
from schemas.plan import CompartmentPlan
from schemas.policy_words import COLLECTED_AT
from schemas.times import rfc3339
from streams.routeplan import Routed, RouteWork, entry_of
from vault.deliverymoulds import DeliveryMould, DeliveryMouldGrant, FieldsText
from vault.moulds import Boxes, RecordMould
from vault.sealing import decode_fields

Texts = dict[int, bytes]
"""Encoded fields in clear, by category number: never leaves the function that seals them again."""


class Given(NamedTuple):
    """A delivery's layout: `categories` are those of its compartments, in order."""

    mould: DeliveryMould
    frame: DeliveredFrame
    categories: Sequence[int]


class _Box(NamedTuple):
    number: int
    sealed: int
    wraps: Sequence[tuple[int, int | None]]
    """Link, and place of the wrap in the record's cells."""
    categories: Sequence[tuple[int, FieldsText]]


class Granted:
    """What one processor may have of records of a kind; `links` is the link of each grant."""

    def __init__(self, item: Routed, verdict: Verdict, seq: int) -> None:
        make, then = item.tagged.make, item.alike.policies.then
        self.name = then.processors[verdict.processor].name
        self.topic = f"processor.{self.name}"
        self.links = tuple(grant.link for grant in verdict.grants)
        self._categories = [frozenset(grant.categories) for grant in verdict.grants]
        self._names = then.categories
        self._record = (make.revision, make.source, make.schema_id)
        self._grants = []
        for grant in verdict.grants:
            now, (_, period, terms) = item.links[grant.link], make.links[grant.link]
            self._grants.append((now.bucket.purpose, period, terms, seq, now.usable.use_until))

    @property
    def categories(self) -> frozenset[int]:
        """Every category it may have for some purpose."""
        return frozenset().union(*self._categories)

    def given(self, present: Collection[int]) -> Given:
        """How to deliver a record of which these categories opened."""
        categories = sorted(self.categories.intersection(present))
        parts = [
            (self._names[c], [n for n, held in enumerate(self._categories) if c in held]) for c in categories
        ]
        revision, source, schema_id = self._record
        mould = DeliveryMould(
            processor=self.name,
            revision=revision,
            source=source,
            grants=[DeliveryMouldGrant(*grant) for grant in self._grants],
            parts=parts,
        )
        frame = DeliveredFrame(
            revision=revision,
            source=source,
            schema_id=schema_id,
            grants=[FrameGrant(*grant) for grant in self._grants],
            parts=parts,
        )
        return Given(mould, frame, categories)


class RouteKind:
    """Records of one kind, by the first of them."""

    def __init__(self, item: Routed, work: RouteWork) -> None:
        entry = entry_of(item, work)
        self.entry, self.outcome, self.code = DecisionFrame(entry), entry.outcome, entry.code
        verdicts = [verdict for verdict in item.alike.decision.verdicts if verdict.grants]
        self.granted = [Granted(item, verdict, work.seq) for verdict in verdicts]
        self._boxes = _boxes(item, frozenset().union(*(each.categories for each in self.granted)))
        self._given: dict[tuple[int, ...], list[Given]] = {}
        make = item.tagged.make
        self._mould = RecordMould(
            revision=make.revision,
            source=make.source,
            policy=make.policy,
            links=make.links,
            parts=[(categories, [link for link, _ in wraps]) for categories, wraps in make.boxes],
        )

    def given(self, present: tuple[int, ...]) -> list[Given]:
        """How to deliver records of which these categories opened, to each who is granted something."""
        found = self._given.get(present)
        if found is None:
            found = self._given[present] = [granted.given(present) for granted in self.granted]
        return found

    def open(self, items: Sequence[Routed]) -> list[Texts]:
        """Open what somebody may have of records of this kind, after every link was judged (`may_use`).

        Of each the fields of each category as a delivery holds them, with the time of collection.
        """
        cells = [item.tagged.cells for item in items]
        boxes = [
            Boxes(
                n,
                [each[at] for each in cells],
                [(link, None if own is None else [each[own] for each in cells]) for link, own in wraps],
            )
            for n, at, wraps, _ in self._boxes
        ]
        links = zip(*(item.links for item in items), strict=True)
        keys = [None if column[0].until is None else [now.key for now in column] for column in links]
        handles = [*zip(*(item.tagged.handles for item in items), strict=True)]
        opened = self._mould.open([each[0] for each in cells], handles, keys, boxes)
        texts: list[Texts] = [{} for _ in items]
        times: dict[int, str] = {}
        for clears, (_, _, _, categories) in zip(opened, self._boxes, strict=True):
            for own, clear in zip(texts, clears, strict=True):
                if clear is not None:
                    _read(clear, categories, own, times)
        return texts


def _read(
    clear: bytes, categories: Sequence[tuple[int, FieldsText]], into: Texts, times: dict[int, str]
) -> None:
    """Put what a compartment holds under its categories; `times` are those written before."""
    values = decode_fields(clear)
    collected_at = values[-1]
    assert isinstance(collected_at, int), "the last field is when the event was collected"
    when = times.get(collected_at)
    if when is None:
        when = times[collected_at] = rfc3339(Micros(collected_at))
    for category, fields in categories:
        text = fields.text(values, when)
        if text is not None:
            into[category] = text


def _boxes(item: Routed, wanted: frozenset[int]) -> list[_Box]:
    """The compartments that hold a wanted category, and where the fields of each lie."""
    make, policy = item.tagged.make, item.alike.policies.then
    mask = sum(1 << purpose for purpose, _, _ in make.links)
    plans = {plan.links: plan for plan in policy.compartments(make.source, mask)}
    found = []
    for number, ((_, wraps), (sealed, keys)) in enumerate(zip(make.boxes, places(make), strict=True)):
        links = tuple([link for link, _ in wraps])
        plan = plans[links]
        categories = [(c, FieldsText(_fields(plan, c), COLLECTED_AT)) for c in plan.categories if c in wanted]
        if categories:
            found.append(_Box(number, sealed, list(zip(links, keys, strict=True)), categories))
    return found


def _fields(plan: CompartmentPlan, category: int) -> list[tuple[int, str]]:
    pairs = enumerate(zip(plan.fields, plan.field_categories, strict=True))
    return [(at, name) for at, (name, own) in pairs if own == category]
