"""What records of one kind share on their way out of route: laid out once, used for each of them.

Records are of one kind when they are of one make, decided alike, flagged alike and usable for as long: then
their entries, the way they are opened and the deliveries made of them differ in ids, handles and values
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.frames import DecisionFrame, DeliveredFrame, FrameGrant
from schemas.ids import Micros
from schemas.models import Verdict
from schemas.plan import CompartmentPlan
from schemas.policy_words import COLLECTED_AT
from streams.routestage import Routed, RouteWork, entry_of
from streams.times import rfc3339
from vault.moulds import DeliveryMould, DeliveryMouldGrant, RecordMould
from vault.sealing import decode_fields, encode_delivered

Texts = dict[int, bytes]
"""Encoded fields in clear, by category number: never leaves the function that seals them again."""


class Given(NamedTuple):
    """A delivery's layout: `categories` are those of its compartments, in order."""

    mould: DeliveryMould
    frame: DeliveredFrame
    categories: Sequence[int]


class _Box(NamedTuple):
    number: int
    categories: Sequence[tuple[int, Sequence[tuple[int, str]]]]
    """Category number, and position and name of each of its fields."""


class Granted:
    """What one processor may have of records of a kind; `links` is the link of each grant."""

    def __init__(self, item: Routed, verdict: Verdict, seq: int) -> None:
        tagged, then = item.tagged, item.policies.then
        self.name = then.processors[verdict.processor].name
        self.topic = f"processor.{self.name}"
        self.links = tuple(grant.link for grant in verdict.grants)
        self._categories = [frozenset(grant.categories) for grant in verdict.grants]
        self._names = then.categories
        self._record = (tagged.revision, tagged.source, tagged.schema_id)
        self._grants = []
        for grant in verdict.grants:
            now, link = item.links[grant.link], tagged.links[grant.link]
            until = now.usable.use_until
            self._grants.append((now.bucket.purpose, link.period, link.terms, seq, until))
        self._given: dict[tuple[int, ...], Given] = {}

    @property
    def categories(self) -> frozenset[int]:
        """Every category it may have for some purpose."""
        return frozenset().union(*self._categories)

    def given(self, present: tuple[int, ...]) -> Given:
        """How to deliver a record of which these categories opened."""
        found = self._given.get(present)
        if found is None:
            found = self._given[present] = self._lay_out(present)
        return found

    def _lay_out(self, present: tuple[int, ...]) -> Given:
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
        verdicts = [verdict for verdict in item.decision.verdicts if verdict.grants]
        self.granted = [Granted(item, verdict, work.seq) for verdict in verdicts]
        self._boxes = _boxes(item, frozenset().union(*(each.categories for each in self.granted)))
        self._numbers = [box.number for box in self._boxes]
        tagged = item.tagged
        self._mould = RecordMould(
            revision=tagged.revision,
            source=tagged.source,
            policy=tagged.policy,
            links=[(link.purpose, link.period, link.terms) for link in tagged.links],
            parts=[(box.categories, [wrap.link for wrap in box.wraps]) for box in tagged.compartments],
        )

    def open(self, item: Routed) -> Texts:
        """Open what somebody may have of a record, after every link was judged (`may_use`): the fields of
        each category as a delivery holds them, with the time of collection.
        """
        opened = self._mould.open(
            item.tagged, [None if now.until is None else now.key for now in item.links], self._numbers
        )
        texts: Texts = {}
        said, when = None, ""
        for number, categories in self._boxes:
            clear = opened[number]
            if clear is None:
                continue
            values = decode_fields(clear)
            collected_at = values[-1]
            assert isinstance(collected_at, int), "the last field is when the event was collected"
            if collected_at != said:
                said, when = collected_at, rfc3339(Micros(collected_at))
            for category, fields in categories:
                found = {name: str(values[at]) for at, name in fields if values[at] is not None}
                if found:
                    texts[category] = encode_delivered({**found, COLLECTED_AT: when})
        return texts


def _boxes(item: Routed, wanted: frozenset[int]) -> list[_Box]:
    """The compartments that hold a wanted category, and where the fields of each lie."""
    tagged, policy = item.tagged, item.policies.then
    mask = sum(1 << link.purpose for link in tagged.links)
    plans = {plan.links: plan for plan in policy.compartments(tagged.source, mask)}
    found = []
    for number, box in enumerate(tagged.compartments):
        plan = plans[tuple(wrap.link for wrap in box.wraps)]
        categories = [(c, _fields(plan, c)) for c in plan.categories if c in wanted]
        if categories:
            found.append(_Box(number, categories))
    return found


def _fields(plan: CompartmentPlan, category: int) -> list[tuple[int, str]]:
    pairs = enumerate(zip(plan.fields, plan.field_categories, strict=True))
    return [(at, name) for at, (name, own) in pairs if own == category]
