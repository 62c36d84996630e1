"""Deliveries, an opener and a recipient whose behaviour a test decides, on the real vault in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from processors.answers import Answer, Done, Retry
from processors.calls import Call, Erase, OpenedPart
from processors.ledger import Ledger
from processors.values import Timing
from schemas.codec import decode_as, encode
from schemas.ids import DeliveryId, Handle, LapseId, Micros, Period, SubjectRef, Terms
from schemas.ids import Sequence as Seq
from schemas.models import (
    BucketScope,
    Cause,
    DeliveredCompartment,
    DeliveredWrap,
    Depersonalized,
    Grant,
    ReceiptGiven,
    RecordDelivered,
    Scope,
    SubjectScope,
)
from vault import memory_vault
from vault.port import Tx, Vault

NAME = "partner"
SECRET = b"s" * 32


def id16(text: str) -> bytes:
    """Return 16 bytes that stand for a name."""
    return hashlib.sha256(text.encode()).digest()[:16]


def delivery(
    name: str,
    *,
    subject: str = "ann",
    parts: Sequence[tuple[Mapping[str, str], Sequence[str]]],
    decided: int = 1,
    revision: int = 1,
    period: int = 7,
) -> RecordDelivered:
    """Return a delivery: per part its fields and the purposes that open it; `sealed` is not sealed at all."""
    purposes = sorted({purpose for _, names in parts for purpose in names})
    return RecordDelivered(
        delivery_id=DeliveryId(id16(name)),
        subject_ref=SubjectRef(id16(subject)),
        revision=revision,
        source="form/contact",
        schema_id=1,
        compartments=[
            DeliveredCompartment(
                categories=["user.contact"],
                sealed=json.dumps(dict(fields)).encode(),
                wraps=[DeliveredWrap(grant=purposes.index(p), key=bytes(40)) for p in names],
            )
            for fields, names in parts
        ],
        grants=[
            Grant(
                purpose=purpose,
                period=Period(period),
                terms=Terms(1),
                handle=Handle(bytes(16)),
                decided=Seq(decided),
                use_until=Micros(10**15),
            )
            for purpose in purposes
        ],
    )


def lapse(name: str, scope: Scope, *, reaches: int = 1000, cause: Cause = "withdrawal") -> Depersonalized:
    """Return a lapse of this scope."""
    return Depersonalized(
        lapse_id=LapseId(id16(name)),
        cause=cause,
        scope=scope,
        reaches=Seq(reaches),
        control_offset=0,
        effective_at=Micros(0),
        records=0,
    )


def of_subject(subject: str, *purposes: str) -> SubjectScope:
    """Return the scope of one person's purposes."""
    return SubjectScope(subject_ref=SubjectRef(id16(subject)), purposes=list(purposes))


def of_bucket(purpose: str, period: int = 7) -> BucketScope:
    """Return the scope of one bucket."""
    return BucketScope(purpose=purpose, period=Period(period), terms=Terms(1))


@dataclass
class Keys:
    """An opener: opens whatever is not named dead; `closed` closes everything for the time being."""

    dead: set[tuple[bytes, str]] = field(default_factory=set)
    closed: str | None = None
    hidden: set[bytes] = field(default_factory=set)
    opened: int = 0

    def open(self, tx: Tx, deliveries: Sequence[RecordDelivered]) -> list[tuple[OpenedPart, ...]]:
        """Open each compartment by any of its wraps whose purpose lives."""
        return [tuple(self._part(d, c) for c in d.compartments) for d in deliveries]

    def shut(self, tx: Tx) -> str | None:
        """Return what closes everything."""
        return self.closed

    def _part(self, of: RecordDelivered, part: DeliveredCompartment) -> OpenedPart:
        self.opened += 1
        if self.closed:
            return self.closed
        if of.delivery_id in self.hidden:
            return "hidden"
        purposes = {of.grants[w.grant].purpose for w in part.wraps}
        if any((of.delivery_id, purpose) not in self.dead for purpose in purposes):
            return dict(json.loads(part.sealed))
        return "withdrawn"


@dataclass
class Vendor:
    """A recipient that holds objects and answers as it is told to; by default it does what it is asked."""

    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    """What to answer instead, one by one; what may have landed then has landed."""
    calls: list[Call] = field(default_factory=list)
    ends: dict[str, Answer] = field(default_factory=dict)
    refreshed: int = 0
    readable: bool = False
    closed: bool = False
    one: bool = False
    """Everything is one object, as where a recipient tells people apart by an address two of them share."""

    def key(self, of: RecordDelivered) -> str:
        """One object per person, or a single one."""
        return "shared" if self.one else of.subject_ref.hex()

    async def call(self, call: Call) -> Answer:
        """Carry it out, or answer what was asked for."""
        self.calls.append(call)
        if self.answers:
            answer = self.answers.pop(0)
            if getattr(answer, "landed", isinstance(answer, Done)):
                self.apply(call)
            return answer
        return self.apply(call)

    def apply(self, call: Call) -> Done:
        """Do it."""
        if isinstance(call, Erase):
            was = self.objects.pop(call.key, None)
            return Done(outcome="completed" if was is not None else "already_absent", evidence=b"e" * 32)
        held = self.objects.setdefault(call.key, {})
        for name in call.blank:
            held.pop(name, None)
        held.update(call.set)
        return Done(outcome="delivered", evidence=b"d" * 32)

    async def refresh(self) -> None:
        """Count."""
        self.refreshed += 1

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | None:
        """Return the fields held, if the recipient can be read at all."""
        return frozenset(self.objects.get(key, ())) if self.readable else None

    async def follow(self, request: str) -> Answer | None:
        """How an accepted erasure stands: it is still going on, until a test says that it has ended."""
        return self.ends.get(request, Retry(code="vendor_busy"))

    async def check(self) -> None:
        """Nothing to prove."""

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


@dataclass
class Wall:
    """A wall clock that moves when told."""

    now: Micros = Micros(1_000_000_000)

    def __call__(self) -> Micros:
        """Return the time."""
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now = Micros(self.now + int(seconds * 1_000_000))


def ledger(vendor: Vendor, keys: Keys, timing: Timing | None = None) -> Ledger:
    """Return a ledger over these."""
    return Ledger(
        processor=NAME,
        recipient=vendor,
        opener=keys,
        secret=SECRET,
        receipt_partitions=4,
        timing=timing or Timing(),
    )


def new_vault() -> Vault:
    """Return an empty vault in memory."""
    return memory_vault(Micros(1_700_000_000_000_000))


def sealed(*deliveries: RecordDelivered) -> list[tuple[RecordDelivered, bytes]]:
    """Return deliveries with the bytes they travel as."""
    return [(d, encode(d)) for d in deliveries]


def receipts(vault: Vault) -> list[ReceiptGiven]:
    """Return every receipt owed so far, in order."""
    with vault.transaction(write=False) as tx:
        return [decode_as(ReceiptGiven, row.value) for row in tx.outbox(10_000) if row.topic == "receipts"]


def outcomes(vault: Vault, about: bytes | Iterable[bytes]) -> list[str]:
    """Return the outcomes told about one id, or any of several, in order."""
    wanted = {about} if isinstance(about, bytes) else set(about)
    return [r.outcome for r in receipts(vault) if r.about in wanted]
