"""Who and what there is in a run: people, their deliveries, and the ends of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from processors.conformance.keys import Keys
from processors.conformance.party import Party
from processors.conformance.people import Given, digest, made
from processors.conformance.trace import Trace, names
from processors.conformance.values import START, Clock, Lapse
from schemas.ids import LapseId, Micros, Period, SubjectRef, Terms
from schemas.ids import Sequence as Seq
from schemas.models import BucketScope, Cause, Depersonalized, ProcessorScope, Scope, SubjectScope
from vault import memory_vault


class Cast:
    """What a run has made so far; what is made is decided now, and handed over when the situation says."""

    def __init__(self, party: Party, trace: Trace, seed: str, clock: Clock) -> None:
        self.party, self.trace, self.seed = party, trace, seed
        self.vault = memory_vault(START)
        self.keys = Keys(self.vault)
        self.given: list[Given] = []
        self.lapses: list[Lapse] = []
        self.clock = clock
        self._count, self._order = itertools.count(1), itertools.count()

    @property
    def fields(self) -> list[str]:
        """Our names of what this recipient is sent, the required ones first."""
        required = self.party.manifest.required
        return sorted(
            self.party.fields, key=lambda name: (name not in required, list(self.party.fields).index(name))
        )

    def subject(self, person: str) -> bytes:
        """Return a person's pseudonym for this processor."""
        return digest(self.seed, "here", person)[:16]

    def give(
        self,
        name: str,
        purposes: Mapping[str, Sequence[str]],
        *,
        person: str = "ann",
        period: int = 1,
        revision: int = 1,
        like: Given | None = None,
    ) -> Given:
        """Make a delivery: per field the purposes that justify it. It is decided now, and not handed over."""
        one = made(
            name,
            keys=self.keys,
            seed=self.seed,
            person=person,
            subject=self.subject(person),
            purposes=purposes,
            period=period,
            revision=revision,
            decided=next(self._count),
            like=like,
        )
        self.given.append(one)
        return one

    def all_for(self, *purposes: str) -> dict[str, tuple[str, ...]]:
        """Return every field for these purposes."""
        return dict.fromkeys(self.fields, purposes)

    def ends(
        self,
        *purposes: str,
        person: str = "ann",
        cause: Cause = "withdrawal",
        period: int | None = None,
        within: float | None = None,
    ) -> Lapse:
        """End purposes of a person, a period of one purpose, or (recall) everything.

        From now on nothing of it opens; the lapse is not handed over yet. It is to be answered `within` so
        many seconds.
        """
        scope: Scope
        if cause == "recall":
            scope, about = ProcessorScope(), "everything"
        elif period is not None:
            scope = BucketScope(purpose=purposes[0], period=Period(period), terms=Terms(1))
            about = f"{purposes[0]} of period {period}"
        else:
            scope = SubjectScope(subject_ref=SubjectRef(self.subject(person)), purposes=list(purposes))
            about = f"{names(purposes)} of {person}"
        number = next(self._count)
        event = Depersonalized(
            lapse_id=LapseId(digest(self.seed, "lapse", str(number))[:16]),
            cause=cause,
            scope=scope,
            reaches=Seq(number),
            control_offset=0,
            effective_at=START,
            records=0,
            answer_by=None if within is None else Micros(self.clock() + int(within * 1_000_000)),
        )
        self.keys.end(scope, person, cause, purposes)
        for each in self.given:
            self._end(each, event, person)
        lapse = Lapse(event, f"{cause} of {about}")
        self.lapses.append(lapse)
        self.trace.say(f"keys end: {lapse.about}")
        return lapse

    def _end(self, each: Given, event: Depersonalized, person: str) -> None:
        match event.scope:
            case SubjectScope(purposes=purposes):
                reached = set(purposes) if each.person == person else set()
            case BucketScope(purpose=purpose, period=period):
                reached = {purpose} if each.period == period else set()
            case _:
                reached = {p for several in each.purposes.values() for p in several}
        mine = {p for several in each.purposes.values() for p in several}
        for purpose in reached & mine:
            each.ended.setdefault(purpose, event.lapse_id)

    def handed(self, one: Given) -> None:
        """Note that a delivery is handed over: it replaces what is older of it, or is older itself."""
        others = [
            g
            for g in self.given
            if g.name == one.name and g.person == one.person and g is not one and g.order >= 0
        ]
        one.replaced |= any(g.revision > one.revision for g in others)
        for each in others:
            each.replaced |= each.revision < one.revision
        if one.order < 0:
            one.order = next(self._order)
        if one.revision > 1:
            self.keys.replace(one.record.delivery_id, one.revision)
