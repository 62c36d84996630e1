"""What must stand at a vendor at the end: worked out from deliveries and ends, with no connector's code.

A person's object must show the union of what some purpose still justifies, each field by its latest delivery,
and nothing else. What a receipt says is left (`overwritten_only`, `manual_required`) may stand as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from processors.conformance.people import Given
from processors.manifest import Manifest

GONE = frozenset({"completed", "already_absent"})
"""Outcomes after which nothing may be left."""
LEFT = frozenset({"manual_required", "accepted_async"})
"""Outcomes after which everything may still stand."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What `GET /_held` answered."""

    document: Mapping[str, Any] = field(repr=False)

    def objects_with(self, marks: Iterable[str]) -> list[Mapping[str, str]]:
        """Return the fields of every object that shows one of these values."""
        wanted = list(marks)
        found = (_flat(each.get("fields", {})) for each in self.document.get("objects", ()))
        return [each for each in found if any(mark in value for mark in wanted for value in each.values())]

    def shows(self, mark: str) -> bool:
        """Return whether a value stands anywhere, bins and by-ways included."""
        return mark in json.dumps(self.document)


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must and what may stand of one person: vendor's name of the field -> the value's mark."""

    must: Mapping[str, str]
    may: frozenset[str]
    whole: bool
    """Whether the vendor can have such an object at all: everything it requires is there."""


def living(given: Sequence[Given], fields: Mapping[str, str]) -> dict[str, str]:
    """Return the vendor's field -> mark of what is still justified, by the latest delivery of each field."""
    found: dict[str, str] = {}
    for each in sorted((g for g in given if g.order >= 0), key=lambda g: g.order):
        found |= {fields[name]: each.marks[name] for name in each.living() if name in fields}
    return found


def expected(
    given: Sequence[Given], fields: Mapping[str, str], manifest: Manifest, outcomes: Mapping[bytes, str]
) -> Expected:
    """Return what must and may stand of the person these deliveries are of."""
    must = living(given, fields)
    required = {manifest.fields.get(name, name) for name in manifest.required}
    may: set[str] = set()
    for each in given:
        for lapse in set(each.ended.values()):
            left = _left(outcomes.get(lapse), each.ended_by(lapse), fields, required)
            may |= {each.marks[name] for name in left}
    return Expected(must=must, may=frozenset(may), whole=required <= must.keys())


def _left(outcome: str | None, ended: set[str], fields: Mapping[str, str], required: set[str]) -> set[str]:
    if outcome in LEFT:
        return ended
    if outcome == "overwritten_only":  # what the object is called by may stay, and nothing else
        return {name for name in ended if fields.get(name) in required}
    return set()


def faults(person: str, given: Sequence[Given], shelf: Shelf, want: Expected) -> list[str]:
    """Return what is wrong at the vendor about one person, in words without values."""
    names = {mark: f"{name} of {each.name}" for each in given for name, mark in each.marks.items()}
    objects = shelf.objects_with(names)
    wrong = [f"{person} is {len(objects)} objects there"] if len(objects) > 1 else []
    allowed = set(want.must.values()) | want.may
    wrong += [
        f"{what} stands there and may not"
        for mark, what in names.items()
        if mark not in allowed and shelf.shows(mark)
    ]
    if not want.whole:
        return wrong
    stand = objects[0] if objects else {}
    wrong += [
        f"{names[mark]} does not stand in {theirs}"
        for theirs, mark in sorted(want.must.items())
        if mark not in stand.get(theirs, "")
    ]
    return wrong
