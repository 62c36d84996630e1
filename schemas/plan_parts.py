"""The smaller parts of a compiled policy: plain frozen values, spans and instants in microseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.ids import Micros
from schemas.models import IdentifierKind
from schemas.policy_words import Asker, Connector

SourceKind = Literal["form", "email-open", "cookie"]
"""Which record a source's events are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompartmentPlan:
    """Fields of one source that the same purposes justify, in sealing order; last comes `collected_at`.

    `field_categories` runs beside `fields` (-1 for `collected_at`). `links` are positions in the record's
    links, which has one per bit of its mask, lowest purpose first; `purposes` are their numbers.
    """

    fields: tuple[str, ...]
    field_categories: tuple[int, ...]
    categories: tuple[int, ...]
    links: tuple[int, ...]
    purposes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """One source: what its fields are, which identify, and the purposes it states.

    `purposes` (and `mask`) justify at least one of its fields; `asks` are the purposes for which consent may
    be stated here, also where the data comes from elsewhere.
    """

    name: str
    kind: SourceKind
    title: str
    fields: dict[str, int]
    identifiers: dict[str, IdentifierKind]
    purposes: tuple[int, ...]
    mask: int
    asks: tuple[int, ...] = ()
    notice: str | None = None
    honeypot: str | None = None
    min_fill: int = 0
    redirect: str | None = None
    servers_only: bool = False
    sites: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookPlan:
    """Where a business partner takes events and erasures; no address: the composition root knows it."""

    url: str | None
    erasure_url: str | None
    allow_private: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaPlan:
    """Where clear records go: `plain.<name>` here, or a topic of another cluster; kept for `retention`."""

    format: Literal["json", "avro"]
    bootstrap: str | None
    topic: str
    retention: Micros


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorPlan:
    """One recipient: what it may have (purpose number -> category numbers), where it is, how it is told."""

    number: int
    name: str
    title: str
    connector: Connector
    grants: dict[int, frozenset[int]]
    mask: int
    region: str
    safeguards: str | None
    assurance_until: Micros | None
    review: Micros | None
    evidence: str | None
    suspended: str | None
    erase_within: Micros
    lapse: Literal["bucket", "per_delivery"]
    topic_retention: Micros
    webhook: WebhookPlan | None
    kafka: KafkaPlan | None
    settings: dict[str, str | int | bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class HorizonPlan:
    """A topic `records.<name>` and how long it keeps, in microseconds."""

    name: str
    retention: Micros


@dataclass(frozen=True, kw_only=True, slots=True)
class ResiduePlan:
    """What may stay: counts in cells of at least `k` people per period of `width`.

    `dimensions`: name -> (field, values counted by name); `by` says which of them, and `source`, make a cell.
    """

    k: int
    width: Micros
    by: tuple[str, ...]
    dimensions: dict[str, tuple[str, frozenset[str]]]

    def label(self, source: str, fields: Mapping[str, str | None]) -> str:
        """Return the cell an event counts in, such as `source=form/request-demo country=DE`."""
        return " ".join(f"{name}={self._value(name, source, fields)}" for name in self.by)

    def _value(self, name: str, source: str, fields: Mapping[str, str | None]) -> str:
        if name == "source":
            return source
        where, values = self.dimensions[name]
        value = fields.get(where)
        return value if value in values else "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class SitePlan:
    """A web site that publishes."""

    name: str
    origins: frozenset[str]
    credential: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CookieCategoryPlan:
    """A category of the preference centre; accepting it grants its purposes."""

    name: str
    title: str
    says: str
    purposes: tuple[int, ...]
    cookies: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RightPlan:
    """Who may exercise a right, within how many days it is answered, and whether the policy names it."""

    may_ask: tuple[Asker, ...]
    answer_days: int
    extension_days: int
    named: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class BrakesPlan:
    """What slows an irreversible step down; spans in microseconds."""

    second_person: bool
    destroy_per_tick: int
    hidden_for: Micros
    clock_step: Micros
