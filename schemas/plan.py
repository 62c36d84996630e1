"""A policy compiled for the hot path: numbers instead of names, sets instead of searches.

Numbers are positions in the policy's lists and mean something only together with the policy's version;
outsiders and the vault use names. Purpose number i is bit i of a mask.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from schemas.errors import BadInput, NotFound, Refused
from schemas.ids import Micros, Period, Terms
from schemas.models import Right
from schemas.plan_parts import (
    BrakesPlan,
    CompartmentPlan,
    CookieCategoryPlan,
    HorizonPlan,
    KafkaPlan,
    ProcessorPlan,
    ResiduePlan,
    RightPlan,
    SitePlan,
    SourceKind,
    SourcePlan,
    WebhookPlan,
)
from schemas.policy_words import COLLECTED_AT, Basis, Channel, PixelMode
from schemas.retention import Anchored, Fixed, Retention, anchored_due, due, never_longer

__all__ = [
    "BrakesPlan",
    "CompartmentPlan",
    "CookieCategoryPlan",
    "HorizonPlan",
    "KafkaPlan",
    "Plans",
    "PolicyPlan",
    "ProcessorPlan",
    "PurposePlan",
    "ResiduePlan",
    "RightPlan",
    "SitePlan",
    "SourceKind",
    "SourcePlan",
    "WebhookPlan",
]

MEMO = 4096
"""Entries a memo may have before it is emptied: what strangers can vary must not grow without bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PurposePlan:
    """One purpose: why it is lawful, what it covers, and when a period's key dies."""

    number: int
    name: str
    title: str
    says: str | None
    basis: Basis
    use: str
    categories: frozenset[int]
    retention: Retention
    width: Micros
    terms: Terms
    opt_out: frozenset[str]
    keeps_on_erasure: bool
    channel: Channel | None
    memo: dict[Period, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the hot path works out once per period; at most `MEMO` entries."""
    _dues: dict[Period, Micros] = field(default_factory=dict, repr=False, compare=False)

    @property
    def bit(self) -> int:
        """Its bit in a mask of purposes."""
        return 1 << self.number

    def period(self, collected_at: int) -> Period:
        """Return the index of the period an instant falls into."""
        return Period(collected_at // self.width)

    def start(self, period: int) -> Micros:
        """Return a period's first instant."""
        return Micros(period * self.width)

    def due(self, period: Period) -> Micros:
        """Return when the period's key dies: start and retention, or the cap of an anchored one."""
        found = self._dues.get(period)
        if found is None:
            if len(self._dues) >= MEMO:
                self._dues.clear()
            found = self._dues[period] = due(self.retention, period * self.width)
        return found

    def anchored_due(self, reached_at: int, period: int) -> Micros | None:
        """Return when one person's data of a period lapses after the anchor; None if nothing is anchored."""
        if not isinstance(self.retention, Anchored):
            return None
        return anchored_due(self.retention, reached_at, period * self.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyPlan:
    """One policy version, compiled."""

    version: int
    name: str
    effective: Micros
    sha256: bytes
    operators: dict[str, bytes]
    sites: dict[str, SitePlan]
    purposes: tuple[PurposePlan, ...]
    categories: tuple[str, ...]
    sources: dict[str, SourcePlan]
    processors: tuple[ProcessorPlan, ...]
    horizons: tuple[HorizonPlan, ...]
    pixel_mode: PixelMode
    last_open: int | None
    token_life: Micros
    cookie_categories: dict[str, CookieCategoryPlan]
    residue: ResiduePlan
    rights: dict[Right, RightPlan]
    quarantine: PurposePlan
    brakes: BrakesPlan
    link_purpose: int | None
    shared_after: int
    proof: Micros
    longest: Micros
    purpose_numbers: dict[str, int]
    category_numbers: dict[str, int]
    processor_numbers: dict[str, int]
    _compartments: dict[tuple[str, int], tuple[CompartmentPlan, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the hot path works out once per set of fields and purposes; at most `MEMO` entries."""

    def purpose(self, name: str) -> PurposePlan:
        """Return the purpose of this name, `quarantine` among them; NotFound if there is none."""
        if name == self.quarantine.name:
            return self.quarantine
        number = self.purpose_numbers.get(name)
        if number is None:
            raise NotFound(
                "unknown_purpose", "the policy has no purpose of this name", f"policy {self.version}"
            )
        return self.purposes[number]

    def processor(self, name: str) -> ProcessorPlan:
        """Return the processor of this name; NotFound if there is none."""
        number = self.processor_numbers.get(name)
        if number is None:
            raise NotFound("not_found", "the policy has no processor of this name", f"policy {self.version}")
        return self.processors[number]

    def category_id(self, name: str) -> int:
        """Return the number of a field's category; NotFound if no source has a field of it."""
        number = self.category_numbers.get(name)
        if number is None:
            raise NotFound("not_found", "no source has a field of this category", f"policy {self.version}")
        return number

    def compartments(self, source: str, mask: int) -> tuple[CompartmentPlan, ...]:
        """Return how an event of a source in `sources`, admitted for the purposes in `mask`, is cut up.

        Fields that no purpose of the mask justifies are in no compartment: they are dropped, not sealed.
        """
        key = (source, mask)
        found = self._compartments.get(key)
        if found is None:
            if len(self._compartments) >= MEMO:
                self._compartments.clear()
            found = self._compartments[key] = _cut(self.sources[source], self.purposes, mask)
        return found

    def shortened(self, purpose: str, terms: int, retention: str) -> "PolicyPlan":
        """Return the plan after a `RetentionOrdered`: the purpose is held for `retention` (ISO 8601) alone.

        An order about other terms than the plan's changes nothing here. BadInput for what is no span, Refused
        for what could end later than before, NotFound for an unknown purpose.
        """
        old = self.purpose(purpose)
        if old.terms != terms:
            return self
        try:
            new = Fixed.model_validate({"for": retention})
        except ValidationError:
            do = "write it like P6M, P30D or PT20S"
            raise BadInput("bad_argument", "this is not an ISO 8601 duration", "retention", do) from None
        if not new.for_.shortest or not never_longer(new, old.retention):
            do = "order a shorter one; a longer retention is a new policy version with new terms"
            raise Refused("bad_policy", "the retention would not be shorter than before", "retention", do)
        shorter = replace(old, retention=new, memo={}, _dues={})
        if shorter.number < 0:
            return replace(self, quarantine=shorter, memo={})
        purposes = tuple(shorter if p.number == shorter.number else p for p in self.purposes)
        return replace(self, purposes=purposes, memo={}, _compartments={})

    def horizon(self, span: int) -> str:
        """Return the shortest horizon that is long enough for `span` microseconds more."""
        return next((h.name for h in self.horizons if h.retention >= span), self.horizons[-1].name)


_EVER = -(2**63), 2**63
"""Before and after every instant."""


class Plans:
    """Every published version of a policy, and which of them is in force when."""

    def __init__(self, plans: Iterable[PolicyPlan]) -> None:
        self._by_version = {plan.version: plan for plan in sorted(plans, key=lambda plan: plan.version)}

    @property
    def latest(self) -> PolicyPlan:
        """The highest version, in force or about to be; NotFound if there is none."""
        if not self._by_version:
            raise NotFound("not_found", "no policy is published", "", "publish one")
        return next(reversed(self._by_version.values()))

    def version(self, number: int) -> PolicyPlan:
        """Return one version; NotFound if it was never published."""
        found = self._by_version.get(number)
        if found is None:
            raise NotFound("not_found", "no such policy version", f"policy {number}")
        return found

    def in_force(self, at: int) -> PolicyPlan | None:
        """Return the version in force at an instant: the highest that is effective; None before the first."""
        found = None
        for plan in self._by_version.values():
            if plan.effective <= at:
                found = plan
        return found

    def today(self, at: int) -> PolicyPlan:
        """Return what commands are judged by at an instant: the version in force, else the highest.

        NotFound if there is none.
        """
        return self.in_force(at) or self.latest

    def span(self, at: int) -> tuple[int, int]:
        """Return from when and until when the same version is in force as at an instant, at least."""
        starts = [plan.effective for plan in self._by_version.values()]
        since = max((start for start in starts if start <= at), default=_EVER[0])
        return since, min((start for start in starts if start > at), default=_EVER[1])

    def __iter__(self) -> Iterator[PolicyPlan]:
        return iter(self._by_version.values())

    def __len__(self) -> int:
        return len(self._by_version)


def _cut(source: SourcePlan, purposes: tuple[PurposePlan, ...], mask: int) -> tuple[CompartmentPlan, ...]:
    """Group a source's fields by the set of purposes that justify them."""
    numbers = [purpose.number for purpose in purposes if mask & purpose.bit]
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, category in source.fields.items():
        by = tuple(n for n in numbers if source.mask >> n & 1 and category in purposes[n].categories)
        if by:
            groups.setdefault(by, []).append(name)
    return tuple(
        CompartmentPlan(
            fields=(*names, COLLECTED_AT),
            field_categories=(*(source.fields[name] for name in names), -1),
            categories=tuple(sorted({source.fields[name] for name in names})),
            links=tuple(numbers.index(n) for n in by),
            purposes=by,
        )
        for by, names in groups.items()
    )
