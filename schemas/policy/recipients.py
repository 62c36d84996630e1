"""Who receives: the processors of a policy, as people write them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.policy.part import Part, endpoint
from schemas.policy_words import Assurance, Connector, Key, Mechanism, PurposeName, Region, Slug, Words
from schemas.retention import Duration, Instant


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

    url: Annotated[str, AfterValidator(endpoint)] | None = None
    erasure_url: Annotated[str, AfterValidator(endpoint)] | None = None
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
    sub_processors: dict[Slug, SubProcessor] = Field(default_factory=dict)
    erase_within: Duration = Duration.parse("P30D")
    lapse: Literal["bucket", "per_delivery"] = "bucket"
    topic_retention: Duration = Duration.parse("P7D")
    webhook: Webhook | None = None
    kafka: Kafka | None = None
    settings: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_.]{0,63}$")], str | int | bool] = Field(
        default_factory=dict
    )
    suspended: Words | None = None
