"""What the vault knows, as frozen values; nothing here does I/O or cryptography.

Structs of msgspec: they are sealed as msgpack, where a field added later must come last and have a default.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from schemas.ids import (
    CommandId,
    DeliveryId,
    Micros,
    Period,
    RequestId,
    Sequence,
    SubjectNumber,
    SubjectRef,
    Terms,
)
from schemas.models import Cause, Right

CLOCK_SLACK = Micros(5 * 60 * 1_000_000)
"""Closed rows reach this far past `until`: the clamp for clocks of web servers and browsers."""

NEVER = Micros(-(2**62))
"""Before every event: the floor of somebody who never withdrew."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What every value here is."""


# ---- buckets -----------------------------------------------------------------------------------------------
class BucketId(NamedTuple):
    """Names one bucket: everything held for this purpose from this period under these terms."""

    purpose: str
    period: Period
    terms: Terms


BucketState = Literal["open", "hidden", "destroyed"]


class BucketWanted(Value, frozen=True, kw_only=True):
    """A bucket a chunk needs: created where absent, unless it is already due."""

    id: BucketId
    due: Micros
    cap: Micros | None = None


class BucketRow(Value, frozen=True, kw_only=True):
    """One bucket as it stands; a `hidden` one still has its key (a brake) while `ended_at` is None."""

    id: BucketId
    due: Micros
    cap: Micros | None = None
    state: BucketState = "open"
    tally: int = 0
    first_seen: Micros
    last_seen: Micros
    hidden_at: Micros | None = None
    ended_at: Micros | None = None
    destroyed_at: Micros | None = None
    reason: str | None = None

    def usable(self, now: Micros) -> bool:
        """Say whether anything may be sealed or opened under this bucket at `now`."""
        return self.state == "open" and now < self.due


# ---- subjects ----------------------------------------------------------------------------------------------
class PurposeState(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What the vault knows of one person and one purpose; `key` is None while no generation lives."""

    key: bytes | None = None
    generation: int = 0
    last_generation: int = 0
    granted: bool | None = None
    objected: bool = False
    stated_at: Micros = NEVER
    floor: Micros = NEVER
    oldest: Micros | None = None
    restricted: bool = False
    due: Micros | None = None
    erased: bool = False

    def __repr__(self) -> str:  # keys must not reach a log by way of a traceback
        return f"PurposeState(generation={self.generation}, granted={self.granted})"


class Checked(Value, frozen=True, kw_only=True):
    """What processor `by` found out about an address (its alias hash), sealed under the purpose of that."""

    by: str
    address: bytes
    bucket: "BucketId"
    generation: int
    sealed: bytes


class SubjectState(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One person, as a chunk sees it; `version` is the row's when it was read (0: not stored yet)."""

    number: SubjectNumber
    version: int = 0
    purposes: Mapping[str, PurposeState] = {}
    last_open: Micros | None = None
    shared: bool = False
    erased: bool = False
    checked: tuple[Checked, ...] = ()

    def purpose(self, name: str) -> PurposeState:
        """Return the state of one purpose, empty where nothing was ever said or held."""
        return self.purposes.get(name, _EMPTY)

    def having(self, name: str, state: PurposeState) -> "SubjectState":
        """Return this person with one purpose's state replaced."""
        return msgspec.structs.replace(self, purposes={**self.purposes, name: state})


_EMPTY = PurposeState()


class Statement(Value, frozen=True, kw_only=True):
    """What a person said about one purpose, at its effective time; `objection`: GDPR Art. 21."""

    purpose: str
    granted: bool
    at: Micros
    objection: bool = False


class Ended(Value, frozen=True, kw_only=True):
    """A generation whose subject key a statement or an erasure destroys."""

    purpose: str
    generation: int
    key: bytes

    def __repr__(self) -> str:  # as above
        return f"Ended({self.purpose}, {self.generation})"


class Purpose(Protocol):
    """What `admit` and `usable` read of a purpose's plan (`schemas.plan.PurposePlan` fits)."""

    @property
    def name(self) -> str:
        """The purpose's name."""
        ...

    @property
    def basis(self) -> str:
        """The lawful basis: consent, contract, legal_obligation, legitimate_interests and so on."""
        ...


# ---- identity ----------------------------------------------------------------------------------------------
class AliasRow(Value, frozen=True, kw_only=True):
    """One identifier's link; closed when `until` is set; `subject` None: nobody is behind it."""

    hash: bytes
    subject: SubjectNumber | None
    since: Micros
    until: Micros | None = None


class Resolved(Value, frozen=True, kw_only=True):
    """Whom an event's identifiers name at its effective time; `closed` where an erasure reaches the event."""

    subjects: tuple[SubjectNumber, ...] = ()
    closed: bool = False
    shared: bool = False


# ---- opening -----------------------------------------------------------------------------------------------
class Closed(Value, frozen=True, kw_only=True):
    """Why something does not open; unknown, erased and tampered are alike, `since` None."""

    code: str
    cause: Cause | None = None
    since: Micros | None = None


# ---- outbox, judged commands, processors, requests ---------------------------------------------------------
class OutboxRow(Value, frozen=True, kw_only=True):
    """A message that a committed transaction owes; produced by `id`, deleted when acknowledged."""

    id: int
    kind: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    written_at: Micros


class Recipient(Value, frozen=True, kw_only=True):
    """A processor that may have to be told: its topic, that topic's partitions, how long it has to answer.

    It answers what lay on every partition once for `each` (as our connectors do), or once at all.
    """

    name: str
    topic: str
    partitions: int
    erase_within: Micros
    each: bool = True


class Judged(Value, frozen=True, kw_only=True):
    """How a command ended: `code` None is applied; `detail` is JSON without personal data."""

    code: str | None
    detail: bytes
    seq: Sequence
    at: Micros


class ProcessorState(Value, frozen=True, kw_only=True):
    """What control says of a processor; what was never approved is not."""

    name: str
    approved: bool = False
    suspended: bool = False
    reason: str | None = None
    since: Micros = NEVER
    assurance_until: Micros | None = None
    evidence: str | None = None
    recalled_at: Micros | None = None


class RequestState(Value, frozen=True, kw_only=True):
    """A data subject's request on its way; hashes and notes are sealed at rest."""

    request_id: RequestId
    right: Right
    state: str
    received_at: Micros
    alias_hashes: tuple[bytes, ...] = ()
    purposes: tuple[str, ...] = ()
    until: Micros | None = None
    kept: tuple[str, ...] = ()
    detail: bytes = b""


class Erased(Value, frozen=True, kw_only=True):
    """What an erasure did: whose rows it reached, what it destroyed, what was kept and restricted."""

    subjects: tuple[SubjectNumber, ...] = ()
    ended: tuple[tuple[SubjectNumber, str], ...] = ()
    kept: tuple[tuple[SubjectNumber, str], ...] = ()
    alias_hashes: tuple[bytes, ...] = ()


class PolicyRow(Value, frozen=True, kw_only=True):
    """A published policy version: the YAML text as signed."""

    version: int
    effective: Micros
    sha256: bytes
    body: str


class RetentionOrder(Value, frozen=True, kw_only=True):
    """An order that made one purpose's retention shorter."""

    command_id: CommandId
    purpose: str
    terms: Terms
    retention: str
    at: Micros


class ClockState(Value, frozen=True, kw_only=True):
    """What expiry remembers of its clock: the brake, what set it, and when."""

    brake: str | None = None
    since: Micros | None = None


# ---- holds -------------------------------------------------------------------------------------------------
class HeldPair(NamedTuple):
    """One bucket and one generation of a held person: what one K(S,p,t) opens."""

    bucket: BucketId
    subject: SubjectNumber
    generation: int


class Hold(Value, frozen=True, kw_only=True):
    """A legal hold: `links` says whom each identifier named, `gone` what had been destroyed before it."""

    hold_id: bytes
    placed_at: Micros
    released_at: Micros | None = None
    purposes: tuple[str, ...] = ()
    subjects: tuple[SubjectNumber, ...] = ()
    links: tuple[tuple[bytes, SubjectNumber | None], ...] = ()
    gone: tuple[HeldPair, ...] = ()
    reason: str = ""

    @property
    def on(self) -> bool:
        """Say whether the hold still stands."""
        return self.released_at is None


class HeldKey(Value, frozen=True, kw_only=True):
    """A key that opens only under a hold's id: K(S,p,t) of one bucket and generation."""

    pair: HeldPair
    k: bytes

    def __repr__(self) -> str:  # as above
        return f"HeldKey({self.pair.bucket})"


# ---- what connectors keep (model m5) -----------------------------------------------------------------------
class Holding(Value, frozen=True, kw_only=True):
    """One delivery's claim on a vendor's object, for one purpose."""

    delivery_id: DeliveryId
    purpose: str
    period: Period
    terms: Terms
    subject_ref: SubjectRef
    decided: Sequence
    ending: bool = False


class VendorObject(Value, frozen=True, kw_only=True):
    """One object at one vendor; `ref` is a keyed hash (at most 32 bytes), `document` is sealed at rest."""

    processor: str
    ref: bytes
    document: bytes
    due: Micros | None = None
    lease: bytes | None = None
    lease_until: Micros = Micros(0)
    holdings: tuple[Holding, ...] = ()


# ---- residue -----------------------------------------------------------------------------------------------
class ResidueEntry(Value, frozen=True, kw_only=True):
    """One accepted event counted into a cell: `subject` None where nobody is behind it."""

    period: str
    label: str
    subject: SubjectNumber | None
    events: int = 1


class ResidueCell(Value, frozen=True, kw_only=True):
    """One cell as counted so far: events, and distinct people."""

    period: str
    label: str
    events: int
    people: int
