"""Consent, generations, erasure and rebirth in any order, late, again and again, against an oracle (m3).

The oracle knows only what was sent and when it was applied; it never looks at a row. What the vault adds to
model m3: any number of identifiers, objections, kept purposes. What DESIGN.md takes out of it: a discarded
event that ties an erased identifier to another one erases nothing by itself; that is an officer's task.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.ids import Micros, SubjectNumber
from tests.unit.vault.worlds import START, Plan, World, open_world
from vault.ending import apply_statements, erase
from vault.keys import new_key
from vault.port import Tx
from vault.subjects import admit, resolve, with_key
from vault.values import CLOCK_SLACK, AliasRow, Statement, SubjectState

HOUR = 3_600_000_000
NAMES = ("a", "b", "c")
PURPOSES = ("p", "q", "law")
KEPT = "law"
PLANS = {"p": Plan(name="p"), "q": Plan(name="q"), "law": Plan(name="law", basis="legal_obligation")}


@dataclass(frozen=True)
class Event:
    """A form (f), a signal (w) or an observation (x): when it happened, whom it names, what it says."""

    kind: str
    at: int
    names: tuple[str, ...]
    said: tuple[tuple[str, bool], ...]


@dataclass
class Sealed:
    """Something sealed: from which event, for which purpose, under whose generation and key."""

    event: Event
    purpose: str
    number: SubjectNumber
    generation: int
    key: bytes
    step: int


@dataclass
class Oracle:
    """What was done, in order: denials and erasures applied to whom, with the time they speak of."""

    sealed: list[Sealed] = field(default_factory=list)
    denials: list[tuple[int, SubjectNumber, str, int]] = field(default_factory=list)
    erasures: list[tuple[int, frozenset[str], frozenset[SubjectNumber], int]] = field(default_factory=list)
    links: dict[str, set[SubjectNumber]] = field(default_factory=dict)


EVENTS = st.builds(
    Event,
    kind=st.sampled_from("fffwwx"),
    at=st.integers(0, 4),
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(tuple),
    said=st.lists(st.tuples(st.sampled_from("ppq"), st.booleans()), max_size=2, unique_by=lambda s: s[0]).map(
        tuple
    ),
)


class PeopleMachine(RuleBasedStateMachine):
    """The smallest honest tag and govern over a real vault."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.world: World = open_world(self.kind, Path(mkdtemp(prefix="lapse-people-")))
        self.oracle = Oracle()
        self.clock = 0
        self.steps = 0
        self.sent: list[Event] = []

    def teardown(self) -> None:
        """Let go of the files."""
        self.world.vault.close()

    def time(self, hours: int) -> Micros:
        """Hours of the story as the vault's time."""
        return Micros(START + hours * HOUR)

    @rule()
    def an_hour_passes(self) -> None:
        """Time goes on."""
        self.clock += 1
        self.world.vault.clock.set_manual(self.time(self.clock))

    @rule(event=EVENTS)
    def an_event_arrives(self, event: Event) -> None:
        """Now, or late: whatever it says happened at `at`, never in the future."""
        event = Event(
            event.kind, min(event.at, self.clock), event.names, event.said if event.kind != "x" else ()
        )
        self.sent.append(event)
        self.handle(event)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_event_arrives_again(self, data: Any) -> None:
        """Redelivery."""
        self.handle(data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: len(self.oracle.sealed) > 2 * len(self.oracle.erasures))
    @rule(name=st.sampled_from(NAMES), seldom=st.integers(0, 3))
    def somebody_is_erased(self, name: str, seldom: int) -> None:
        """A request for one identifier, decided now; seldom, so that stories go on."""
        if seldom:
            return
        with self.world.write() as tx:
            done = erase(tx, [self.world.hash(name)], tx.now, self.world.herald, keep=[KEPT])
        self.steps += 1
        names = {n for n in NAMES if self.world.hash(n) in done.alias_hashes}
        people = frozenset(done.subjects)
        reached = frozenset().union(*(self.oracle.links.get(n, set()) for n in names | {name}))
        assert people == reached, "an erasure reaches whoever its identifiers led to"
        self.oracle.erasures.append((self.steps, frozenset(names), people, self.clock))
        for linked in self.oracle.links.values():
            linked -= people

    def handle(self, event: Event) -> None:
        """Tag and govern: resolve, fold, admit, seal; one transaction."""
        self.steps += 1
        at = self.time(event.at)
        with self.world.write() as tx:
            hashes = [self.world.hash(n) for n in event.names]
            found = resolve([row for rows in tx.aliases(hashes).values() for row in rows], at)
            if found.closed or (not found.subjects and event.kind == "x"):
                return
            state = tx.subjects(found.subjects)[found.subjects[0]] if found.subjects else tx.new_subject()
            tx.put_subjects([state])
            tx.put_aliases([AliasRow(hash=h, subject=state.number, since=tx.now) for h in hashes])
            said = [Statement(purpose=p, granted=granted, at=at) for p, granted in event.said]
            state = apply_statements(tx, state, said, self.world.herald)
            if event.kind != "w":
                self.seal(tx, state, event, at)
        for name in event.names:
            self.oracle.links.setdefault(name, set()).add(state.number)
        denied = [(self.steps, state.number, p, event.at) for p, granted in event.said if not granted]
        self.oracle.denials += denied

    def seal(self, tx: Tx, state: SubjectState, event: Event, at: Micros) -> None:
        """Seal for every purpose that admits the event."""
        for purpose in PURPOSES:
            if admit(state, PLANS[purpose], at) is None:
                state = with_key(state, purpose, at, new_key)
                held = state.purpose(purpose)
                assert held.key is not None
                sealed = Sealed(event, purpose, state.number, held.generation, held.key, self.steps)
                self.oracle.sealed.append(sealed)
        tx.put_subjects([state])

    def readable(self) -> list[Sealed]:
        """What opens now: its generation lives, with the key that sealed."""
        with self.world.read() as tx:
            people = tx.subjects({s.number for s in self.oracle.sealed})
        return [
            s
            for s in self.oracle.sealed
            if people[s.number].purpose(s.purpose).generation == s.generation
            and people[s.number].purpose(s.purpose).key == s.key
        ]

    @invariant()
    def nothing_outlives_a_withdrawal(self) -> None:
        """7c: what is as old as an applied withdrawal does not open, whenever either arrived."""
        for s in self.readable():
            for _, number, purpose, at in self.oracle.denials:
                assert not (number == s.number and purpose == s.purpose and s.event.at <= at)

    @invariant()
    def nothing_outlives_an_erasure(self) -> None:
        """7: nothing of the people reached opens but what the law keeps; nothing older comes in later."""
        for s in self.readable():
            for step, names, people, at in self.oracle.erasures:
                if s.step < step:
                    assert s.number not in people or s.purpose == KEPT
                else:
                    late = self.time(s.event.at) <= self.time(at) + CLOCK_SLACK
                    assert not (late and names & set(s.event.names))

    @invariant()
    def a_rebirth_shares_nothing(self) -> None:
        """8: after an erasure nobody is sealed under a number, or a key, from before it."""
        for step, _, people, _ in self.oracle.erasures:
            assert not [s for s in self.oracle.sealed if s.step > step and s.number in people]
        keys = {(s.number, s.purpose, s.generation): s.key for s in self.oracle.sealed}
        assert len(set(keys.values())) == len(keys)

    @invariant()
    def what_nobody_ended_opens(self) -> None:
        """5 and 12: unless a denial of this purpose or an erasure was applied since, it opens."""
        opens = {id(s) for s in self.readable()}
        for s in self.oracle.sealed:
            ended = any(
                step >= s.step and number == s.number and purpose == s.purpose
                for step, number, purpose, _ in self.oracle.denials
            )
            erased = any(step > s.step and s.number in people for step, _, people, _ in self.oracle.erasures)
            assert ended or (erased and s.purpose != KEPT) or id(s) in opens


class PeopleOnDiskMachine(PeopleMachine):
    """The same over a file."""

    kind = "sqlite"


_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
PeopleMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30, **_CALM)  # type: ignore[arg-type]
PeopleOnDiskMachine.TestCase.settings = settings(max_examples=3, stateful_step_count=15, **_CALM)  # type: ignore[arg-type]
TestPeople = PeopleMachine.TestCase
TestPeopleOnDisk = PeopleOnDiskMachine.TestCase
