"""One frozen model per record that travels; `avro/` holds the same shapes for every other language.

Times are `Micros`, ids are 16 bytes, purposes and categories inside Lapse are numbers of the policy's plan,
towards outsiders names. msgspec, because a decoded dict becomes a checked model in 0.3 us where pydantic
takes 1.5.
"""

from typing import Any, Literal

import msgspec

from schemas.ids import (
    CommandId,
    DeliveryId,
    EventId,
    Handle,
    LapseId,
    Micros,
    Period,
    RecordId,
    RequestId,
    Sequence,
    Slot,
    SubjectRef,
    Terms,
)

IdentifierKind = Literal["email", "cookie", "phone", "account", "token"]
Via = Literal["banner", "unsubscribe", "form", "operator", "processor", "gpc"]
OpenKind = Literal["apple_mpp", "gmail_proxy", "gmail_prefetch", "machine", "direct"]
Right = Literal["access", "erasure", "rectification", "restriction", "objection", "portability"]
Anchor = Literal["last_activity", "account_closed", "contract_ended", "request_fulfilled"]
ProcessorNotice = Literal["assurance_ended", "object_edited", "unsubscribed", "verified"]
Outcome = Literal["routed", "discarded", "quarantined", "expired", "kept_in_vault"]
Cause = Literal["retention", "withdrawal", "objection", "erasure", "rectification", "recall"]
RequestOutcome = Literal["answered", "refused"]
ReceiptOutcome = Literal[
    "delivered",
    "not_opened",
    "refused_by_vendor",
    "completed",
    "already_absent",
    "accepted_async",
    "overwritten_only",
    "manual_required",
    "not_applicable",
    "failed_permanent",
]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every record is: frozen, keyword-only, refusing unknown fields.

    msgspec does not inherit `kw_only`, and mypy not `frozen`, so each record says both.
    """


class Clear(Record, frozen=True, kw_only=True):
    """A record that holds personal data in clear: its repr names the kind alone, because reprs reach logs."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


# ---- intake: in clear, null keys ---------------------------------------------------------------------------
class Identifier(Clear, frozen=True, kw_only=True):
    """A name by which a data subject is known outside."""

    kind: IdentifierKind
    value: str


class ConsentStatement(Record, frozen=True, kw_only=True):
    """What a person said about one purpose, under which notice."""

    purpose: str
    granted: bool
    notice: str | None = None


class FormSubmitted(Clear, frozen=True, kw_only=True):
    """A form a person sent; `notice` is the version of the privacy notice shown beside it."""

    event_id: EventId
    collected_at: Micros
    site: str
    form: str
    identifiers: list[Identifier]
    fields: dict[str, str]
    consents: list[ConsentStatement]
    notice: str | None = None
    signals: list[str] = []
    backfill: bool = False


class EmailOpened(Clear, frozen=True, kw_only=True):
    """A mail's clear gif was fetched; `token` leads to a person only inside the vault."""

    event_id: EventId
    collected_at: Micros
    site: str
    token: str
    open_kind: OpenKind
    ip: str | None = None
    user_agent: str | None = None


class CookieObserved(Clear, frozen=True, kw_only=True):
    """A browser showed how the site is used."""

    event_id: EventId
    collected_at: Micros
    site: str
    cookie_id: str | None = None
    name: str
    url: str
    referrer: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    properties: dict[str, str] = {}
    consents: list[ConsentStatement] = []
    notice: str | None = None
    signals: list[str] = []


class ConsentStated(Record, frozen=True, kw_only=True, tag_field="type", tag="ConsentStated"):
    """Signal: consent given or withdrawn outside a form."""

    consents: list[ConsentStatement]


class RightsRequested(Record, frozen=True, kw_only=True, tag_field="type", tag="RightsRequested"):
    """Signal: a data subject asked for one of their rights (GDPR Art. 15-21)."""

    request_id: RequestId
    right: Right
    purposes: list[str] = []


class AnchorReached(Record, frozen=True, kw_only=True, tag_field="type", tag="AnchorReached"):
    """Signal: the event from which an anchored retention runs has happened."""

    anchor: Anchor
    reached_at: Micros


class ProcessorNotified(Clear, frozen=True, kw_only=True, tag_field="type", tag="ProcessorNotified"):
    """Signal: a processor told us something, about itself or about one of its objects."""

    processor: str
    notice: ProcessorNotice
    object_ref: str | None = None
    detail: str | None = None


SignalBody = ConsentStated | RightsRequested | AnchorReached | ProcessorNotified


class SignalReceived(Clear, frozen=True, kw_only=True):
    """What changes a person's state without being data about their behaviour."""

    event_id: EventId
    collected_at: Micros
    site: str
    identifiers: list[Identifier]
    via: Via
    body: SignalBody


# ---- records and decisions: pseudonymous, numbers of the plan ----------------------------------------------
class Link(Record, frozen=True, kw_only=True):
    """One purpose a record is held for: its number in the plan, bucket, and the handle that dies with it."""

    purpose: int
    period: Period
    terms: Terms
    handle: Handle


class Wrap(Record, frozen=True, kw_only=True):
    """A content key wrapped under the key of link number `link`; empty where the key is derived."""

    link: int
    key: bytes


class Compartment(Record, frozen=True, kw_only=True):
    """Fields with the same purpose set, sealed together; `categories` are numbers of the plan."""

    categories: list[int]
    sealed: bytes
    wraps: list[Wrap]


class RecordTagged(Record, frozen=True, kw_only=True):
    """An accepted event: sealed, with the purposes it is held for.

    `source` is `form/<form>`, `email-open` or `cookie`.
    """

    record_id: RecordId
    revision: int
    source: str
    schema_id: int
    policy: int
    tagged_at: Micros
    slot: Slot
    links: list[Link]
    compartments: list[Compartment]


class FieldsCorrected(Clear, frozen=True, kw_only=True):
    """On `intake.form`: an operator's correction of a record (GDPR Art. 16), its fields as they are from now.

    `fields` are all of them; policy, source, time and links are the record's. Signed as a command is.
    """

    command_id: CommandId
    ordered_by: str
    at: Micros
    key_id: str
    signature: bytes
    record_id: RecordId
    revision: int
    source: str
    policy: int
    collected_at: Micros
    links: list[Link]
    fields: dict[str, str]


class VerdictGrant(Record, frozen=True, kw_only=True):
    """A processor may have these categories for the purpose of link number `link`."""

    link: int
    categories: list[int]


class VerdictRefusal(Record, frozen=True, kw_only=True):
    """Why a processor does not get something; no category means the whole link."""

    link: int
    category: int | None = None
    code: str


class Verdict(Record, frozen=True, kw_only=True):
    """What was decided for one processor (its number in the plan of the entry's `policy`)."""

    processor: int
    grants: list[VerdictGrant]
    refusals: list[VerdictRefusal]


class RecordDecided(Record, frozen=True, kw_only=True):
    """What was decided for one record and why: enough to decide it again later.

    `state` is a mask, two bits per purpose number: 0 unknown, 1 live, 2 denied, 3 ended.
    """

    record_id: RecordId
    revision: int
    source: str
    policy: int
    control_offset: int
    state: int
    decided_at: Micros
    outcome: Outcome
    code: str | None = None
    slot: Slot
    links: list[Link]
    verdicts: list[Verdict]


class DecisionBatch(Record, frozen=True, kw_only=True):
    """The decisions of one chunk, packed: one message on `decisions`."""

    entries: list[RecordDecided]


class RequestStepped(Record, frozen=True, kw_only=True):
    """On `decisions`: a data subject's request moved on."""

    request_id: RequestId
    right: Right
    step: str
    at: Micros
    code: str | None = None
    processor: str | None = None


class FieldsRevealed(Record, frozen=True, kw_only=True):
    """On `decisions`: somebody opened a record, for a stated reason, or a person's records for their request.

    Of several records none is named (`record_id` is zero): `root` commits to them under a salt that stands in
    the answer alone, for a list of them would link them for ever.
    """

    reveal_id: bytes
    record_id: RecordId
    revision: int
    purposes: list[str]
    reason: str
    revealed_by: str
    at: Micros
    request_id: RequestId | None = None
    records: int = 1
    root: bytes | None = None


class Quarantined(Record, frozen=True, kw_only=True):
    """Unreadable or suspect input, sealed whole under the reserved purpose `quarantine` (at most 14 days).

    `record_id` is derived from topic, partition and offset where no event id could be read. `path` is a
    schema path.
    """

    record_id: RecordId
    topic: str
    schema_id: int | None
    received_at: Micros
    code: str
    path: str | None = None
    period: Period
    terms: Terms
    sealed: bytes


# ---- towards processors: names, sealed for one recipient ---------------------------------------------------
class DeliveredWrap(Record, frozen=True, kw_only=True):
    """A delivery's content key wrapped under the key of grant number `grant`."""

    grant: int
    key: bytes


class DeliveredCompartment(Record, frozen=True, kw_only=True):
    """Fields of one category granted by the same set of purposes, sealed together."""

    categories: list[str]
    sealed: bytes
    wraps: list[DeliveredWrap]


class Grant(Record, frozen=True, kw_only=True):
    """A purpose a processor may use this delivery for, until `use_until`.

    `decided` is the vault's sequence number.
    """

    purpose: str
    period: Period
    terms: Terms
    handle: Handle
    decided: Sequence
    use_until: Micros


class RecordDelivered(Record, frozen=True, kw_only=True):
    """What one processor may have of one record; opened at the moment of use through the key endpoint."""

    delivery_id: DeliveryId
    subject_ref: SubjectRef
    revision: int
    source: str
    schema_id: int
    compartments: list[DeliveredCompartment]
    grants: list[Grant]


class OpenedPurpose(Record, frozen=True, kw_only=True):
    """A purpose an opened delivery may be used for, until `use_until`."""

    purpose: str
    use_until: Micros


class RecordOpened(Clear, frozen=True, kw_only=True):
    """On `plain.<name>`: a delivery in clear, for a consumer that cannot ask for keys; kept at most 24 h.

    `decided` is the largest of its grants' sequence numbers.
    """

    delivery_id: DeliveryId
    subject_ref: SubjectRef
    revision: int
    source: str
    fields: dict[str, str]
    purposes: list[OpenedPurpose]
    decided: Sequence
    opened_at: Micros


class BucketScope(Record, frozen=True, kw_only=True, tag_field="type", tag="Bucket"):
    """Everything held for this purpose from this period under these terms."""

    purpose: str
    period: Period
    terms: Terms


class SubjectScope(Record, frozen=True, kw_only=True, tag_field="type", tag="Subject"):
    """One person's data for these purposes.

    On `lifecycle` the reference is a tag that nobody can join with other topics.
    """

    subject_ref: SubjectRef
    purposes: list[str]


class RecordScope(Record, frozen=True, kw_only=True, tag_field="type", tag="Record"):
    """One delivery, for these purposes."""

    delivery_id: DeliveryId
    purposes: list[str]


class ProcessorScope(Record, frozen=True, kw_only=True, tag_field="type", tag="Processor"):
    """Everything the processor ever received."""


Scope = BucketScope | SubjectScope | RecordScope | ProcessorScope


class Depersonalized(Record, frozen=True, kw_only=True):
    """Data became unreadable, and whoever received it must remove its copy by `answer_by`.

    It reaches only deliveries whose grants were `decided` before `reaches`.
    """

    lapse_id: LapseId
    cause: Cause
    scope: Scope
    reaches: Sequence
    control_offset: int
    effective_at: Micros
    records: int
    root: bytes | None = None
    answer_by: Micros | None = None


class ReceiptGiven(Record, frozen=True, kw_only=True):
    """What a processor answers about a delivery or a lapse (`about` is its id); never more than is known."""

    receipt_id: bytes
    processor: str
    about: bytes
    outcome: ReceiptOutcome
    at: Micros
    evidence: bytes
    code: str | None = None
    signature: bytes | None = None


class CheckpointSigned(Record, frozen=True, kw_only=True):
    """On `lifecycle`: the Merkle root over everything before it, signed by the service key."""

    size: int
    root: bytes
    at: Micros
    key_id: str
    signature: bytes


class CellCounted(Record, frozen=True, kw_only=True):
    """One cell of residue: at least k people, enumerated labels only."""

    label: str
    events: int
    people: int


class ResidueCounted(Record, frozen=True, kw_only=True):
    """What may stay of one period: counts, shuffled, no ids."""

    period: str
    cells: list[CellCounted]


# ---- control: signed commands, one partition, a total order ------------------------------------------------
class Command(Record, frozen=True, kw_only=True):
    """What every command carries; `signature` is Ed25519 over `schemas.signing.message(command)`."""

    command_id: CommandId
    ordered_by: str
    approved_by: str | None = None
    at: Micros
    key_id: str
    signature: bytes


class PolicyPublished(Command, frozen=True, kw_only=True):
    """A policy version is in force from its effective date; `body` is the YAML text."""

    version: int
    sha256: bytes
    body: str


class ProcessorApproved(Command, frozen=True, kw_only=True):
    """A processor may receive (again), under this assurance."""

    processor: str
    assurance_until: Micros | None = None
    evidence: str | None = None


class ProcessorSuspended(Command, frozen=True, kw_only=True):
    """A processor opens nothing from now on; with `recall` it must give back what it holds."""

    processor: str
    reason: str
    recall: bool = False


class HoldPlaced(Command, frozen=True, kw_only=True):
    """Keep what is held of one person for these purposes readable under this hold's id alone."""

    hold_id: bytes
    alias_hashes: list[bytes]
    purposes: list[str]
    reason: str


class HoldReleased(Command, frozen=True, kw_only=True):
    """The hold has ended; what it escrowed is destroyed."""

    hold_id: bytes


class RequestDecided(Command, frozen=True, kw_only=True):
    """An officer's decision on a request, or a withdrawal the system applied.

    It holds enough to do it again after a restore.
    """

    request_id: RequestId
    right: Right
    alias_hashes: list[bytes]
    purposes: list[str]
    generations: list[int] = []
    until: Micros
    reason: str


class RestrictionLifted(Command, frozen=True, kw_only=True):
    """What was restricted of a person is used again, for these purposes or for all (GDPR Art. 18 (3))."""

    request_id: RequestId
    alias_hashes: list[bytes]
    purposes: list[str]
    reason: str


class RequestClosed(Command, frozen=True, kw_only=True):
    """A request was answered, or is not granted; `reason` is what the person was told."""

    request_id: RequestId
    right: Right
    outcome: RequestOutcome
    reason: str


class RecordRectified(Command, frozen=True, kw_only=True):
    """Applied by the system: only this revision opens any more; a restored vault applies it again."""

    record_id: RecordId
    revision: int


class RetentionOrdered(Command, frozen=True, kw_only=True):
    """A purpose's retention becomes shorter; it can never become longer this way."""

    purpose: str
    terms: Terms
    retention: str
