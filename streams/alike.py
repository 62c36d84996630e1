"""Judging events that are like others: what a part's events have in common is worked out once.

Events of one *make* come from one site and source under one policy, have the same fields and say the same of
consent and signals. Within a span of time they fall into the same buckets, and a person who stands as before
is linked as before. So most events need a look at their person and nothing else. What is new, odd, refused
or late is judged by `streams.tagging` alone, of which every answer given here is a copy: a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.ids import Micros, SubjectNumber
from schemas.models import EmailOpened, FormSubmitted
from schemas.plan import PolicyPlan, PurposePlan, SourcePlan
from streams import tagging
from streams.intake import Arrived
from streams.tagpad import Pad
from streams.tagplan import Entry, LinkPlan
from vault.subjects import admit, fold
from vault.values import PurposeState, Statement, SubjectState

_NOBODY = SubjectState(number=SubjectNumber(0))


class _Rule(NamedTuple):
    """One purpose the source states, and the bucket of a span; `over`: it takes nothing any more."""

    purpose: PurposePlan
    bound: tagging.Bound
    over: bool


class _Standing(NamedTuple):
    """How somebody's events of a span are linked while their state is this one, from a time on."""

    state: SubjectState
    since: Micros
    links: tuple[LinkPlan, ...]


class _Newcomer(NamedTuple):
    """What somebody never seen before becomes: purposes granted, purposes held for, and the links."""

    granted: tuple[str, ...]
    held: tuple[str, ...]
    links: tuple[LinkPlan, ...]


class _Span:
    """A make within a time in which the periods of all its purposes stay the same."""

    __slots__ = ("newcomer", "rules", "since", "standing", "until")

    def __init__(self, since: int, until: int, rules: Sequence[_Rule]) -> None:
        self.since, self.until, self.rules = since, until, rules
        self.standing: dict[SubjectNumber, _Standing] = {}
        self.newcomer: _Newcomer | None = None


class _Make:
    """What events of one make have in common."""

    __slots__ = ("policy", "purposes", "said", "source", "span")

    def __init__(self, event: tagging.Event, policy: PolicyPlan, source: SourcePlan) -> None:
        self.policy, self.source = policy, source
        consents, signals = ([], []) if isinstance(event, EmailOpened) else (event.consents, event.signals)
        self.said = tuple([(said.purpose, said.granted) for said in consents])
        self.purposes = [
            purpose
            for purpose in (policy.purposes[number] for number in source.purposes)
            if not purpose.opt_out.intersection(signals)
        ]
        self.span = _Span(0, 0, ())


class Alike:
    """Judges the events of one part that are like others."""

    def __init__(self, pad: Pad) -> None:
        self._pad = pad
        self._people = pad.people
        self._makes: dict[tuple[object, ...], _Make | None] = {}

    def entry(self, each: Arrived) -> Entry | None:
        """What is decided about an event that nobody has seen before; None where it is not like others."""
        event, policy, when = each.event, each.policy, each.when
        if event is None or policy is None or when is None or each.code is not None or len(each.hashes) != 1:
            return None
        make = self._make(each, event, policy)
        if make is None or each.received - event.collected_at > tagging.OLDEST:
            return None
        span, at = make.span, when.at
        if not span.since <= at < span.until:
            span = make.span = self._span(make, at)
        hash_ = each.hashes[0]
        rows = self._people.aliases.get(hash_)
        if rows is None:
            number = self._new(each, make, span)
            links = None if span.newcomer is None else span.newcomer.links
        elif len(rows) == 1 and rows[0].until is None:
            number = rows[0].subject
            links = None if number is None else self._links(each, make, span, number)
        else:
            return None
        if number is None or links is None:
            return None
        return Entry(each.record_id, "tagged", when.flag, None, at, policy.version, number, links)

    def _make(self, each: Arrived, event: tagging.Event, policy: PolicyPlan) -> _Make | None:
        if isinstance(event, EmailOpened):
            name: tuple[object, ...] = (policy.version, event.site, *each.given)
        else:
            # Events read alike share these lists; all of the part live, so no other has their identity.
            shared = id(event.consents), id(event.signals)
            name = (policy.version, event.site, each.source, *shared, *each.given)
        try:
            return self._makes[name]
        except KeyError:
            found = self._makes[name] = _made(each, event, policy)
            return found

    def _span(self, make: _Make, at: Micros) -> _Span:
        since, until = -(2**63), 2**63
        rules = []
        for purpose in make.purposes:
            start = purpose.start(purpose.period(at))
            since, until = max(since, start), min(until, start + purpose.width)
            bound = tagging.bind(purpose, at)
            over = bound.due <= self._pad.now or bound.bucket in self._pad.shut
            rules.append(_Rule(purpose, bound, over))
        return _Span(since, until, rules)

    def _links(
        self, each: Arrived, make: _Make, span: _Span, number: SubjectNumber
    ) -> tuple[LinkPlan, ...] | None:
        """The links of an event of somebody known; None where something refuses it."""
        assert each.event is not None and each.when is not None and each.policy is not None
        at, states = each.when.at, self._people.states
        for purpose, granted in make.said:
            known = states[number].purposes.get(purpose)
            if known is None or not granted or not known.granted or known.stated_at < at:
                said = tagging.statements(each.event, each.policy, at)
                self._people.say(number, said, each.policy)
                break
        found = span.standing.get(number)
        if found is None or found.state is not states[number] or at < found.since:
            found = self._standing(make, span, number, at, each)
            if found is None:
                return None
            span.standing[number] = found
        return found.links

    def _standing(
        self, make: _Make, span: _Span, number: SubjectNumber, at: Micros, each: Arrived
    ) -> _Standing | None:
        state = self._people.states[number]
        admitted = self._admitted(span, state, at)
        if admitted is None:
            return None
        bounds = tagging.used(make.policy, make.source, admitted, each.given)
        if not bounds:
            return None
        names = [bound.bucket.purpose for bound in bounds]
        generations = self._people.hold(number, names, at)
        state = self._people.states[number]
        for bound in bounds:
            self._pad.want(make.policy.purposes[bound.purpose], bound)
        oldest = [state.purpose(name).oldest or at for name in names]
        floors = [state.purpose(rule.purpose.name).floor + 1 for rule in span.rules]
        return _Standing(state, Micros(max(oldest + floors)), self._pad.linked(bounds, generations))

    def _admitted(self, span: _Span, state: SubjectState, at: Micros) -> list[tagging.Bound] | None:
        """Bounds of the purposes that admit, as they do for whatever is later; None where that may change."""
        admitted = []
        for purpose, bound, over in span.rules:
            if at <= state.purpose(purpose.name).floor:
                return None
            if not over and admit(state, purpose, at) is None:
                admitted.append(bound)
        return admitted

    # ---- somebody never seen before ------------------------------------------------------------------------
    def _new(self, each: Arrived, make: _Make, span: _Span) -> SubjectNumber | None:
        """Make the person of an event: their statements folded, their keys made, their identifier linked."""
        assert each.when is not None and each.policy is not None
        at = each.when.at
        if not (make.said or isinstance(each.event, FormSubmitted)):
            return None
        newcomer = span.newcomer
        if newcomer is None:
            newcomer = span.newcomer = self._newcomer(make, span, at, each)
            if newcomer is None:
                return None
        purposes = {name: PurposeState(granted=True, stated_at=at) for name in newcomer.granted}
        new_key = self._people.new_key
        for name in newcomer.held:
            granted = name in purposes
            purposes[name] = PurposeState(
                key=new_key(),
                generation=1,
                last_generation=1,
                granted=True if granted else None,
                stated_at=at if granted else _NOT_SAID,
                oldest=at,
            )
        return self._people.welcome(each.hashes[0], purposes, at)

    def _newcomer(self, make: _Make, span: _Span, at: Micros, each: Arrived) -> _Newcomer | None:
        state = _NOBODY
        for purpose, granted in make.said:
            if not granted:
                return None
            state, _ = fold(state, Statement(purpose=purpose, granted=granted, at=at))
        bounds = tagging.used(make.policy, make.source, self._admitted(span, state, at) or [], each.given)
        if not bounds:
            return None
        for bound in bounds:
            self._pad.want(make.policy.purposes[bound.purpose], bound)
        links = self._pad.linked(bounds, [1] * len(bounds))
        return _Newcomer(tuple(state.purposes), tuple(bound.bucket.purpose for bound in bounds), links)


_NOT_SAID = PurposeState().stated_at


def _made(each: Arrived, event: tagging.Event, policy: PolicyPlan) -> _Make | None:
    """The make of an event; None where more than make, person and time decide, or nothing is to be kept."""
    source = policy.sources.get(each.source)
    if source is None or tagging.screen(event, policy, event.collected_at) is not None:
        return None
    if source.honeypot in each.given:
        return None
    if isinstance(event, EmailOpened) and policy.pixel_mode != "individual":
        return None
    return _Make(event, policy, source)
