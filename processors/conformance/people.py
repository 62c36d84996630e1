"""Made-up people and deliveries of them: every value is one of a kind, so that it is found anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from processors.conformance.keys import SOURCE, Keys
from schemas.codec import encode
from schemas.ids import DeliveryId, SubjectRef
from schemas.models import RecordDelivered

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


def made(
    name: str,
    *,
    keys: Keys,
    seed: str,
    person: str,
    subject: bytes,
    purposes: Mapping[str, Sequence[str]],
    period: int,
    revision: int,
    decided: int,
    like: Given | None = None,
) -> Given:
    """Return a delivery of these fields (ours) for these purposes: one compartment per set of purposes.

    Its values are its own, or those of the delivery that it is `like`.
    """
    marks = {n: marker(n, digest(seed, person, name, str(revision), n)) for n in purposes}
    marks = marks if like is None else {n: like.marks[n] for n in purposes}
    values = {n: value_of(n, mark) for n, mark in marks.items()}
    for_what = {n: tuple(sorted(each)) for n, each in purposes.items()}
    delivery = DeliveryId(digest(seed, person, name)[:16])
    cut = [
        ({n: values[n] for n in values if for_what[n] == part}, part)
        for part in sorted(set(for_what.values()))
    ]
    compartments, grants = keys.seal(delivery, revision, person, cut, period, decided)
    record = RecordDelivered(
        delivery_id=delivery,
        subject_ref=SubjectRef(subject),
        revision=revision,
        source=SOURCE,
        schema_id=1,
        compartments=compartments,
        grants=grants,
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
