"""The policy as people write it: one frozen model per part of the YAML file, in the order of the file.

Only shapes are checked here; what contradicts what is found by `schemas.policy.checks`. The names of the
fields are the keys of the file; `schemas/policy.schema.json` is generated from these models.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag

from schemas.models import IdentifierKind, Right
from schemas.policy_words import (
    Asker,
    Assurance,
    Basis,
    CategoryOfCookies,
    Channel,
    Connector,
    FieldName,
    Key,
    Mechanism,
    PixelMode,
    PurposeName,
    Region,
    Signal,
    Slug,
    Words,
)
from schemas.retention import Duration, Instant, Retention, complaint


class Part(BaseModel):
    """Any part of a policy: frozen, exact about types, refusing unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _origin(value: str) -> str:
    scheme, _, host = value.partition("://")
    local = host.split(":")[0] in {"localhost", "127.0.0.1"}
    plain = host and not set(host) & set("/?#@*") and host == host.lower() and host.isascii()
    if not plain or (scheme != "https" and not (scheme == "http" and local)):
        raise complaint(
            "this is not an exact origin", "write https://host or https://host:port, without a path or *"
        )
    return value


def _address(value: str) -> str:
    if not value.startswith(("https://", "http://localhost", "http://127.0.0.1", "/")) or value.startswith(
        "//"
    ):
        raise complaint("this address is neither https nor a path of the site", "write https://… or /thanks")
    return value


def _endpoint(value: str) -> str:
    host = value.partition("://")[2].split("/")[0]
    local = host.split(":")[0] in {"localhost", "127.0.0.1"}
    if (
        "@" in host
        or not host
        or not (value.startswith("https://") or (value.startswith("http://") and local))
    ):
        raise complaint(
            "this is not an https address", "write https://host/path, without a name or password in it"
        )
    return value


def _public_key(value: str) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise complaint(
            "this is not an Ed25519 public key", "write its 32 bytes in base64, as `lapse init` prints them"
        )
    return value


def _one_or_many(value: object) -> str:
    return "#one" if isinstance(value, str) else "#many"


class Site(Part):
    """A web site that publishes: the exact origins its browsers send, and the name of its credential."""

    origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()
    credential: Slug | None = None


class FieldRule(Part):
    """What a field is: its category, and which identifier of a person it holds, if it holds one."""

    category: Key
    identifier: IdentifierKind | None = None


Fields = dict[
    FieldName,
    Annotated[Annotated[Key, Tag("#one")] | Annotated[FieldRule, Tag("#many")], Discriminator(_one_or_many)],
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
            Discriminator(_one_or_many),
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
    redirect: Annotated[str, AfterValidator(_address)] | None = None


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


class Safeguards(Part):
    """What carries a transfer to a third country."""

    mechanism: Mechanism
    since: Instant | None = None


class SubProcessor(Part):
    """Somebody a processor passes data on to."""

    region: Region
    safeguards: Safeguards | None = None


class Webhook(Part):
    """Where a business partner takes signed events; without an address the installation knows it."""

    url: Annotated[str, AfterValidator(_endpoint)] | None = None
    erasure_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    allow_private: bool = False


class Kafka(Part):
    """Where clear records go, and how long they may lie there."""

    format: Literal["json", "avro"] = "json"
    bootstrap: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:,_-]{1,500}$")] | None = None
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] | None = None
    retention: Duration = Duration.parse("P1D")


class Processor(Part):
    """A recipient: what it may have and for which purposes, where it is, and what it undertakes."""

    title: Words
    connector: Connector = "pull"
    grants: dict[PurposeName, Annotated[tuple[Key, ...], Field(min_length=1)]] = Field(min_length=1)
    region: Region
    safeguards: Safeguards | None = None
    assures: tuple[Assurance, ...]
    assurance_until: Instant | None = None
    review: Instant | None = None
    evidence: Words | None = None
    sub_processors: dict[Slug, SubProcessor] = {}
    erase_within: Duration = Duration.parse("P30D")
    lapse: Literal["bucket", "per_delivery"] = "bucket"
    topic_retention: Duration = Duration.parse("P7D")
    webhook: Webhook | None = None
    kafka: Kafka | None = None
    settings: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_.]{0,63}$")], str | int | bool] = {}
    suspended: Words | None = None


class Dimension(Part):
    """A field whose value is counted, if it is one of these; anything else counts as `other`."""

    field: FieldName
    values: tuple[Words, ...] = Field(min_length=1, max_length=400)


class Residue(Part):
    """What may stay: counts per period in cells of at least `k` people, one cell per combination of `by`."""

    k: int = Field(default=10, ge=10)
    period: Duration = Duration.parse("P1D")
    by: tuple[FieldName, ...] = ("source",)
    dimensions: dict[FieldName, Dimension] = {}


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
    operators: dict[Slug, Annotated[str, AfterValidator(_public_key)]] = {}
    sites: dict[Slug, Site] = Field(min_length=1)
    sources: Sources = Sources()
    purposes: dict[PurposeName, Purpose] = Field(min_length=1)
    forms: dict[Slug, Form] = {}
    cookie_categories: dict[CategoryOfCookies, CookieCategory] = {}
    pixel: Pixel = Pixel()
    processors: dict[Slug, Processor] = {}
    horizons: dict[Slug, Duration] = Field(min_length=1)
    residue: Residue = Residue()
    rights: dict[Right, RightRule] = {}
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
