"""Made-up people and what is delivered of them: every value is one of a kind, so that it is found wherever
it goes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from processors.calls import OpenedPart
from schemas.codec import encode
from schemas.ids import DeliveryId, Handle, Micros, Period, SubjectRef, Terms
from schemas.ids import Sequence as Seq
from schemas.models import DeliveredCompartment, DeliveredWrap, Grant, RecordDelivered
from vault.port import Tx

USE_UNTIL = Micros(10**16)
_WORDS = 12
_SHAPES = {"phone": "+49{digits}", "email": "{word}@example.org"}


def digest(*parts: str) -> bytes:
    """Return 32 bytes that stand for these words."""
    return hashlib.sha256("\n".join(parts).encode()).digest()


def marker(name: str, seed: bytes) -> str:
    """Return the part of a value that is found again in any encoding: letters and digits alone."""
    if _SHAPES.get(name, "").startswith("+"):
        return f"7{int.from_bytes(seed[:6]) % 10**11:011d}"
    return f"zq{seed.hex()[:_WORDS]}"


def value_of(name: str, mark: str) -> str:
    """Return a value of a field of ours that looks as such fields do."""
    return _SHAPES.get(name, "{word}").format(word=mark, digits=mark)


@dataclass(slots=True, kw_only=True, eq=False)
class Given:
    """A delivery as the suite knows it: what it says, for what, and which of its purposes have ended."""

    name: str
    person: str
    values: Mapping[str, str] = field(repr=False)
    marks: Mapping[str, str] = field(repr=False)
    purposes: Mapping[str, tuple[str, ...]]
    """Per field the purposes that justify it."""
    period: int
    revision: int
    record: RecordDelivered = field(repr=False)
    order: int = -1
    """Which of all it was handed over as; -1 before."""
    ended: dict[str, bytes] = field(default_factory=dict)
    """Purpose -> the lapse that ended it."""
    replaced: bool = False
    """A newer revision has taken its place."""

    def living(self) -> dict[str, str]:
        """Return the fields that some purpose still justifies."""
        if self.replaced:
            return {}
        return {n: v for n, v in self.values.items() if set(self.purposes[n]) - self.ended.keys()}

    def ended_by(self, lapse: bytes) -> set[str]:
        """Return the fields for which this lapse has ended a purpose and none is left."""
        return {
            name
            for name in self.values.keys() - self.living().keys()
            if any(self.ended.get(purpose) == lapse for purpose in self.purposes[name])
        }

    @property
    def sealed(self) -> bytes:
        """What travels."""
        return encode(self.record)


@dataclass(slots=True)
class Keys:
    """Opens what lives (a `processors.values.Opener`); the seal of a made-up delivery is none at all."""

    given: dict[tuple[bytes, int], Given] = field(default_factory=dict)

    def open(self, tx: Tx, deliveries: Sequence[RecordDelivered]) -> list[tuple[OpenedPart, ...]]:  # noqa: ARG002
        """Return per compartment its fields, or the code that keeps it closed: no vault is asked here."""
        return [tuple(self._part(each, part) for part in each.compartments) for each in deliveries]

    def shut(self, tx: Tx) -> str | None:  # noqa: ARG002
        """Nobody is suspended here."""
        return None

    def _part(self, of: RecordDelivered, part: DeliveredCompartment) -> OpenedPart:
        known = self.given[(of.delivery_id, of.revision)]
        open_ = {of.grants[wrap.grant].purpose for wrap in part.wraps} - known.ended.keys()
        return dict(json.loads(part.sealed)) if open_ and not known.replaced else "withdrawn"


def made(
    name: str,
    *,
    seed: str,
    person: str,
    subject: bytes,
    purposes: Mapping[str, Sequence[str]],
    period: int,
    revision: int,
    decided: int,
    like: Given | None = None,
) -> Given:
    """Return a delivery of these fields (ours) for these purposes: one compartment per set of purposes; its
    values are its own, or those of the delivery that it is `like`.
    """
    marks = {n: marker(n, digest(seed, person, name, str(revision), n)) for n in purposes}
    marks = marks if like is None else {n: like.marks[n] for n in purposes}
    values = {n: value_of(n, mark) for n, mark in marks.items()}
    for_what = {n: tuple(sorted(each)) for n, each in purposes.items()}
    all_ = sorted({purpose for each in for_what.values() for purpose in each})
    parts = sorted(set(for_what.values()))
    record = RecordDelivered(
        delivery_id=DeliveryId(digest(seed, person, name)[:16]),
        subject_ref=SubjectRef(subject),
        revision=revision,
        source="form/contact",
        schema_id=1,
        compartments=[
            DeliveredCompartment(
                categories=["user.contact"],
                sealed=json.dumps({n: values[n] for n in values if for_what[n] == part}).encode(),
                wraps=[DeliveredWrap(grant=all_.index(purpose), key=bytes(40)) for purpose in part],
            )
            for part in parts
        ],
        grants=[
            Grant(
                purpose=purpose,
                period=Period(period),
                terms=Terms(1),
                handle=Handle(digest(seed, "handle", person, name, purpose)[:16]),
                decided=Seq(decided),
                use_until=USE_UNTIL,
            )
            for purpose in all_
        ],
    )
    return Given(
        name=name,
        person=person,
        values=values,
        marks=marks,
        purposes=for_what,
        period=period,
        revision=revision,
        record=record,
    )
