"""Tagging, the pure part: for which purposes an event is held and how long, or why it is turned away.

The policy in force when the event was collected decides. Nothing here does I/O; the subject's state and the
time come in as arguments, so the same function judges live events, released ones and dry runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from schemas.ids import Micros, SubjectNumber
from schemas.models import CookieObserved, EmailOpened, FormSubmitted, IdentifierKind
from schemas.plan import MEMO, PolicyPlan, PurposePlan, SourcePlan
from vault.subjects import admit
from vault.values import CLOCK_SLACK, BucketId, Statement, SubjectState

Event = FormSubmitted | EmailOpened | CookieObserved
Identity = tuple[IdentifierKind, str]
"""Kind and value of an identifier, in clear: never leaves the process."""

MINUTE: int = 60_000_000
DAY: int = 1440 * MINUTE
OLDEST: int = 30 * DAY
"""An event collected longer ago needs `backfill`."""
BOT = "bot:"
"""Prefix of the signal by which the collector marks a suspect."""
PRECEDENCE = ("lapsed", "objected", "withdrawn", "gpc", "erased", "no_consent", "no_basis")
"""Of several purposes' refusals the first of these becomes the event's code."""


class Moment(NamedTuple):
    """When an event counts as collected, and what is to be said about its clock."""

    at: Micros
    flag: str | None = None


class Person(NamedTuple):
    """Whom an event is about, as far as known: `state` None is nobody yet; `erased` closes what is older."""

    state: SubjectState | None
    erased: bool = False
    may_be_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One purpose the event is held for: its key's bucket, when that is due, and its cap if anchored."""

    purpose: int
    bucket: BucketId
    due: Micros


class Tagged(NamedTuple):
    """Accepted: held for these purposes."""

    bounds: tuple[Bound, ...]
    flag: str | None = None

    @property
    def mask(self) -> int:
        """Bit i stands for purpose number i."""
        return sum(1 << bound.purpose for bound in self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A pixel hit of which only the last-open date stays, in the subject's row."""

    flag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Turned away: nothing is kept but the code."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Suspect or unreadable: kept sealed for at most 14 days; `path` is a schema path."""

    code: str
    path: str | None = None


Verdict = Tagged | Kept | Discarded | Quarantined


def source_of(event: Event) -> str:
    """Name of the event's source in the policy: `form/<form>`, `email-open` or `cookie`."""
    return f"form/{event.form}" if isinstance(event, FormSubmitted) else kind_of(event)


def kind_of(event: Event) -> Literal["form", "email-open", "cookie"]:
    """Source kind that goes into the record id: which form it was is part of the content, not of the id."""
    if isinstance(event, FormSubmitted):
        return "form"
    return "email-open" if isinstance(event, EmailOpened) else "cookie"


def moment(collected_at: Micros, received: Micros) -> Moment:
    """Effective time of an event: never after it was received (LogAppendTime, or a manual clock's now)."""
    if collected_at > received:
        flag = "clock_future" if collected_at > received + CLOCK_SLACK else None
        return Moment(at=received, flag=flag)
    return Moment(at=collected_at)


def identities(event: Event, source: SourcePlan | None, token: str | None = None) -> tuple[Identity, ...]:
    """What names the person: identifiers stated or by policy, a cookie, a token's message id."""
    found: dict[Identity, None] = {}
    match event:
        case FormSubmitted():
            found = dict.fromkeys([(i.kind, i.value) for i in event.identifiers])
            for field, kind in (source.identifiers if source else {}).items():
                if event.fields.get(field):
                    found[kind, event.fields[field]] = None
        case EmailOpened() if token:
            found["token", token] = None
        case CookieObserved() if event.cookie_id:
            found["cookie", event.cookie_id] = None
    return tuple(found)


def clear_fields(event: Event) -> dict[str, str]:
    """The event's fields by the names the policy gives them; absent ones are left out."""
    if isinstance(event, FormSubmitted):
        return event.fields
    given: dict[str, str | None]
    if isinstance(event, EmailOpened):
        given = {
            "token": event.token,
            "ip": event.ip,
            "user_agent": event.user_agent,
            "open_kind": event.open_kind,
        }
    else:
        given = {
            "cookie_id": event.cookie_id,
            "name": event.name,
            "url": event.url,
            "referrer": event.referrer,
            "ip": event.ip,
            "user_agent": event.user_agent,
        }
        for name, value in event.properties.items():
            given[f"properties.{name}"] = value
    if None in given.values():
        return {name: value for name, value in given.items() if value is not None}
    return cast(dict[str, str], given)


def statements(event: Event, policy: PolicyPlan, at: Micros) -> tuple[Statement, ...]:
    """What the event says about consent to purposes the policy knows."""
    if isinstance(event, EmailOpened):
        return ()
    return tuple(
        Statement(purpose=said.purpose, granted=said.granted, at=at)
        for said in event.consents
        if said.purpose in policy.purpose_numbers
    )


def screen(
    event: Event, policy: PolicyPlan | None, received: Micros, *, trusted: bool = False
) -> Discarded | Quarantined | None:
    """What is wrong with the event, whoever it is about; a `trusted` one was released by a person."""
    signals = () if isinstance(event, EmailOpened) else event.signals
    if not trusted and any(signal.startswith(BOT) for signal in signals):
        return Quarantined(code="bot")
    backfill = isinstance(event, FormSubmitted) and event.backfill
    if received - event.collected_at > OLDEST and not backfill and not trusted:
        return Quarantined(code="too_old")
    if policy is None:
        return Discarded(code="no_basis")
    source = policy.sources.get(source_of(event))
    if source is None:
        return Discarded(code="unknown_form" if isinstance(event, FormSubmitted) else "unknown_source")
    if event.site not in (source.sites or policy.sites):
        return Discarded(code="unknown_source")
    return _screen_content(event, policy, source, trusted)


def _screen_content(
    event: Event, policy: PolicyPlan, source: SourcePlan, trusted: bool
) -> Discarded | Quarantined | None:
    if isinstance(event, EmailOpened):
        return None
    if isinstance(event, FormSubmitted):
        if source.honeypot and not trusted and event.fields.get(source.honeypot):
            return Quarantined(code="bot")
        named: Iterable[str] = event.fields
    else:
        named = (f"properties.{name}" for name in event.properties)
    if any(name not in source.fields and name != source.honeypot for name in named):
        return Discarded(code="unknown_field")
    if any(said.purpose not in policy.purpose_numbers for said in event.consents):
        return Discarded(code="unknown_purpose")
    return None


def tag(
    event: Event,
    policy: PolicyPlan,
    subject: Person,
    now: Micros,
    when: Moment,
    shut: Container[BucketId] = frozenset(),
    given: Mapping[str, str] | None = None,
) -> Verdict:
    """Judge an event that passed `screen`, its own statements already folded into the subject's state.

    `shut` are buckets that take nothing any more although they are not due yet; `given` are its clear fields
    where they are known already.
    """
    if subject.erased:
        return Discarded(code="erased")
    state = subject.state
    if state is None:
        if isinstance(event, EmailOpened) or not subject.may_be_new:
            return Discarded(code="no_subject")
        state = SubjectState(number=SubjectNumber(0))
    source = policy.sources[source_of(event)]
    bounds, refusals = _admit(
        event, source, policy, state, when.at, lambda b: b.due <= now or b.bucket in shut
    )
    bounds_used = used(policy, source, bounds, clear_fields(event) if given is None else given)
    if bounds_used and not (isinstance(event, EmailOpened) and policy.pixel_mode != "individual"):
        return Tagged(bounds=bounds_used, flag=when.flag)
    if isinstance(event, EmailOpened) and policy.last_open is not None:
        return _last_open(policy.purposes[policy.last_open], state, when)
    return Discarded(code=min(refusals or ["no_basis"], key=PRECEDENCE.index))


def _last_open(purpose: PurposePlan, state: SubjectState, when: Moment) -> Kept | Discarded:
    """Without consent on record to individual tracking the date of the last open is all that stays."""
    refusal = admit(state, purpose, when.at)
    return Kept(flag=when.flag) if refusal is None else Discarded(code=refusal)


def _admit(
    event: Event,
    source: SourcePlan,
    policy: PolicyPlan,
    state: SubjectState,
    at: Micros,
    over: Callable[[Bound], bool],
) -> tuple[list[Bound], list[str]]:
    """Which stated purposes admit data collected at `at`, and why the others do not."""
    signals = () if isinstance(event, EmailOpened) else event.signals
    bounds, refusals = [], []
    for number in source.purposes:
        purpose = policy.purposes[number]
        # The table has one code for both signals: Do Not Track counts as Global Privacy Control does.
        opted_out = signals and purpose.opt_out.intersection(signals)
        refusal = "gpc" if opted_out else admit(state, purpose, at)
        if refusal is not None:
            refusals.append(refusal)
            continue
        bound = bind(purpose, at)
        if over(bound):
            refusals.append("lapsed")
        else:
            bounds.append(bound)
    return bounds, refusals


def bind(purpose: PurposePlan, at: Micros) -> Bound:
    """The bucket of data collected at `at`, and when it is due (at the latest, if anchored)."""
    period = purpose.period(at)
    found: Bound | None = purpose.memo.get(period)
    if found is None:
        if len(purpose.memo) >= MEMO:
            purpose.memo.clear()
        bucket = BucketId(purpose=purpose.name, period=period, terms=purpose.terms)
        found = Bound(purpose=purpose.number, bucket=bucket, due=purpose.due(period))
        purpose.memo[period] = found
    return found


def used(
    policy: PolicyPlan, source: SourcePlan, bounds: Sequence[Bound], given: Collection[str]
) -> tuple[Bound, ...]:
    """Leave out purposes that justify none of the fields the event really has; the lowest comes first."""
    own = {bound.purpose: bound for bound in bounds}
    name = (source.name, tuple(own), tuple(given))
    found: tuple[int, ...] | None = policy.memo.get(name)
    if found is None:
        if len(policy.memo) >= MEMO:
            policy.memo.clear()
        found = policy.memo[name] = _justifying(policy, source, own, given)
    return tuple([own[purpose] for purpose in found])


def _justifying(
    policy: PolicyPlan, source: SourcePlan, purposes: Iterable[int], given: Collection[str]
) -> tuple[int, ...]:
    fields = frozenset(given)
    cut = policy.compartments(source.name, sum(1 << purpose for purpose in purposes))
    held = [part.purposes for part in cut if not fields.isdisjoint(part.fields)]
    return tuple(sorted({purpose for justified in held for purpose in justified}))
