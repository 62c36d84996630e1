"""The policy as people write it: one frozen model per part of the YAML file, in the order of the file.

Only shapes are checked here; what contradicts what is found by `schemas.policy.checks`. The names of the
fields are the keys of the file; `schemas/policy.schema.json` is generated from these models.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, Tag

from schemas.models import IdentifierKind, Right
from schemas.policy.part import Part, address, one_or_many, origin, public_key
from schemas.policy.recipients import Processor
from schemas.policy_words import (
    Asker,
    Basis,
    CategoryOfCookies,
    Channel,
    FieldName,
    Key,
    PixelMode,
    PurposeName,
    Signal,
    Slug,
    Words,
)
from schemas.retention import Duration, Instant, Retention


class Site(Part):
    """A web site that publishes: the exact origins its browsers send, and the name of its credential."""

    origins: tuple[Annotated[str, AfterValidator(origin)], ...] = ()
    credential: Slug | None = None


class FieldRule(Part):
    """What a field is: its category, and which identifier of a person it holds, if it holds one."""

    category: Key
    identifier: IdentifierKind | None = None


Fields = dict[
    FieldName,
    Annotated[Annotated[Key, Tag("#one")] | Annotated[FieldRule, Tag("#many")], Discriminator(one_or_many)],
]
"""Field -> category, or category and identifier."""


class FormSource(Part):
    """The vocabulary of all forms: each form names those of these fields it has."""

    fields: Fields


class OpenSource(Part):
    """Clear gifs in mail: the purposes of recording one opening (in pixel mode `individual` alone)."""

    purposes: tuple[PurposeName, ...] = ()
    fields: Fields


class CookieSource(Part):
    """Cookies and browser events; their purposes are those of the cookie categories."""

    fields: Fields


class Sources(Part):
    """Where data comes from."""

    form: FormSource | None = None
    email_open: OpenSource | None = Field(default=None, alias="email-open")
    cookie: CookieSource | None = None


class Purpose(Part):
    """What data is held for, why that is lawful, and how long. `period` is the width of a bucket's period."""

    title: Words
    says: Words | None = None
    use: Key
    basis: Basis
    because: Words | None = None
    categories: tuple[Key, ...] = Field(min_length=1)
    channel: Channel | None = None
    retention: Retention
    period: Duration = Duration.parse("P1D")
    terms: int = Field(default=1, ge=1, le=1_000_000)
    opt_out: (
        Annotated[
            Annotated[Signal, Tag("#one")] | Annotated[tuple[Signal, ...], Tag("#many")],
            Discriminator(one_or_many),
        ]
        | None
    ) = None
    keeps_on_erasure: bool | None = None


class Form(Part):
    """A form: its fields, the purposes it states and the notice shown beside it."""

    title: Words
    purposes: tuple[PurposeName, ...] = Field(min_length=1)
    notice: Words
    fields: tuple[FieldName, ...] = Field(min_length=1)
    sites: tuple[Slug, ...] = ()
    published_by: Literal["anyone", "servers"] = "anyone"
    honeypot: FieldName | None = None
    minimum_fill: Duration | None = None
    redirect: Annotated[str, AfterValidator(address)] | None = None


class CookieCategory(Part):
    """A category of the preference centre: what it means, the purposes it stands for, the cookies it sets."""

    title: Words
    says: Words
    purposes: tuple[PurposeName, ...] = ()
    cookies: tuple[Words, ...] = ()


class Pixel(Part):
    """What a mail's clear gif may record; `last_open` is the purpose that keeps a person's last-open date."""

    mode: PixelMode = "date_only"
    last_open: PurposeName | None = None
    token_life: Duration = Duration.parse("P180D")


class Dimension(Part):
    """A field whose value is counted, if it is one of these; anything else counts as `other`."""

    field: FieldName
    values: tuple[Words, ...] = Field(min_length=1, max_length=400)


class Residue(Part):
    """What may stay: counts per period in cells of at least `k` people, one cell per combination of `by`."""

    k: int = Field(default=10, ge=10)
    period: Duration = Duration.parse("P1D")
    by: tuple[FieldName, ...] = ("source",)
    dimensions: dict[FieldName, Dimension] = Field(default_factory=dict)


class RightRule(Part):
    """Who may exercise a right, and within how many days it is answered."""

    may_ask: tuple[Asker, ...] = Field(default=("subject", "representative"), min_length=1)
    answer_days: int = Field(default=30, ge=1, le=30)
    extension_days: int = Field(default=60, ge=0, le=60)


class Quarantine(Part):
    """How long unreadable or suspect input is kept, sealed; `period` is the width of its buckets."""

    keep: Duration = Duration.parse("P14D")
    period: Duration = Duration.parse("P1D")
    terms: int = Field(default=1, ge=1, le=1_000_000)


class Brakes(Part):
    """What slows an irreversible step down.

    `destroy_per_tick`: buckets one tick may destroy; `hidden_for`: between a policy's early end and the
    destruction; `clock_step`: a jump of the clock that needs confirming.
    """

    second_person: bool = False
    destroy_per_tick: int = Field(default=1000, ge=1)
    hidden_for: Duration = Duration.parse("P1D")
    clock_step: Duration = Duration.parse("PT15M")


class Identity(Part):
    """How identifiers of one person come together.

    `purpose` is what links between them are held for (none: only within one event), `shared_after` the number
    of sightings a day past which an identifier counts as shared.
    """

    purpose: PurposeName | None = None
    shared_after: int = Field(default=100, ge=2)


class Policy(Part):
    """A machine-readable privacy policy: everything Lapse may do with personal data, and nothing else."""

    version: int = Field(ge=1, le=1_000_000)
    name: Words
    effective: Instant
    material: bool = False
    announced: Instant | None = None
    operators: dict[Slug, Annotated[str, AfterValidator(public_key)]] = Field(default_factory=dict)
    sites: dict[Slug, Site] = Field(min_length=1)
    sources: Sources = Sources()
    purposes: dict[PurposeName, Purpose] = Field(min_length=1)
    forms: dict[Slug, Form] = Field(default_factory=dict)
    cookie_categories: dict[CategoryOfCookies, CookieCategory] = Field(default_factory=dict)
    pixel: Pixel = Pixel()
    processors: dict[Slug, Processor] = Field(default_factory=dict)
    horizons: dict[Slug, Duration] = Field(min_length=1)
    residue: Residue = Residue()
    rights: dict[Right, RightRule] = Field(default_factory=dict)
    quarantine: Quarantine = Quarantine()
    brakes: Brakes = Brakes()
    identity: Identity = Identity()
    proof: Duration = Duration.parse("P3Y")
    _sha256: bytes = PrivateAttr(default=b"")

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the text it was loaded from."""
        return self._sha256

    def model_post_init(self, context: Any, /) -> None:
        """Remember the digest the loader hands over beside the text."""
        self._sha256 = context["sha256"] if context else b""
