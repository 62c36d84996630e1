"""What route decided about a part: records, how their links stand, what those decided alike share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from schemas.ids import Micros, Period, RecordId, Slot, Terms
from schemas.layouts import TaggedCells
from schemas.models import RecordDecided
from schemas.plan import Plans
from streams.ports import Inbound
from streams.routing import Decision, LinkState, Policies
from streams.stage import Judged
from vault.opening import Found, Usable
from vault.values import BucketId, Closed

if TYPE_CHECKING:
    from streams.routekind import RouteKind


class Record(NamedTuple):
    """A record read from `records.*` and what tag said of it; `tagged` None if a bug was bisected to it."""

    record: Inbound
    tagged: TaggedCells | None
    place: bytes = b""
    flag: str | None = None


class LinkNow:
    """One link of a record as it stands at commit 1; records of one person under one bucket share it.

    `look` is all that a decision and its delivery depend on but for the person.
    """

    __slots__ = ("_usable", "bucket", "found", "look", "state", "until", "used")

    def __init__(self, bucket: BucketId, found: Found, used: Usable | Closed) -> None:
        self.bucket = bucket
        self.found = found
        self.used = used
        self.state = link_state(used)
        self._usable = used if isinstance(used, Usable) else None
        self.until = None if self._usable is None else self._usable.use_until
        self.look = (self.state.closed, self.state.restricted, self.state.denied, self.until)

    @property
    def usable(self) -> Usable:
        """What it opens; only what opens is granted."""
        assert self._usable is not None, "only what opens is granted"
        return self._usable

    @property
    def key(self) -> bytes:
        """K(S,p,t) of a link that may be used."""
        assert self._usable is not None, "only what opens is granted"
        return self._usable.k


class Alike:
    """What records share that are of one make and flag, and whose links look alike.

    `told` says for each link who must be told of its end; `kind` is how they go out, once somebody asked;
    `corrects`: they take the place of older revisions.
    """

    __slots__ = ("corrects", "decision", "flag", "kind", "policies", "told")

    def __init__(
        self,
        decision: Decision,
        flag: str | None,
        policies: Policies,
        links: int,
        *,
        corrects: bool = False,
    ) -> None:
        self.corrects = corrects
        self.decision = decision
        self.flag = flag
        self.policies = policies
        self.kind: RouteKind | None = None
        told: list[set[str]] = [set() for _ in range(links)]
        for verdict in decision.verdicts:
            for grant in verdict.grants:
                told[grant.link].add(policies.then.processors[verdict.processor].name)
        self.told = [frozenset(each) for each in told]


class Routed(NamedTuple):
    """A record, what it shares with others of its part, and how each of its links stands."""

    tagged: TaggedCells
    alike: Alike
    links: tuple[LinkNow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """A record that broke this stage, and the quarantine bucket it is sealed under."""

    record: Record
    period: Period
    terms: Terms
    key: bytes


@dataclass(slots=True, kw_only=True)
class RouteWork(Judged):
    """A judged part of `records.*`."""

    items: list[Routed]
    spoilt: list[Spoilt]
    plans: Plans
    now: Micros
    control_offset: int


def link_state(used: Usable | Closed) -> LinkState:
    """What routing needs to know of a link."""
    if isinstance(used, Usable):
        return LinkState(use_until=used.use_until)
    if used.code == "restricted":
        return LinkState(restricted=True)
    code = _ENDED.get(used.code, used.code)
    return LinkState(closed=code, denied=code in ("withdrawn", "objected"))


_ENDED = {
    "unknown": "erased",  # towards outsiders an erased person is unknown; an entry says which it was
    "no_consent": "withdrawn",
    "hidden": "expired",
    "destroyed": "expired",
}
"""Why a link is over, as an entry says it, where an opening has another word."""


def entry_of(item: Routed, work: RouteWork) -> RecordDecided:
    """What `decisions` says of a record."""
    tagged, decision = item.tagged.record(), item.alike.decision
    return RecordDecided(
        record_id=tagged.record_id,
        revision=tagged.revision,
        source=tagged.source,
        policy=tagged.policy,
        control_offset=work.control_offset,
        state=decision.state,
        decided_at=work.now,
        outcome=decision.outcome,
        code=decision.code or item.alike.flag,
        slot=tagged.slot,
        links=tagged.links,
        verdicts=list(decision.verdicts),
    )


def spoilt_entry(item: Spoilt, work: RouteWork) -> RecordDecided:
    """What `decisions` says of a record that broke this stage."""
    return RecordDecided(
        record_id=RecordId(item.record.place),
        revision=1,
        source="",
        policy=work.plans.latest.version,
        control_offset=work.control_offset,
        state=0,
        decided_at=work.now,
        outcome="quarantined",
        code="bug",
        slot=Slot(item.record.place[0]),
        links=[],
        verdicts=[],
    )
