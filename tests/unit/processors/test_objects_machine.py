"""Models m5_vendor and m5_ends as a machine: deliveries, deaths, lapses, lost answers, zombies, crashes.

On the real vault in memory. At the end a recipient holds nothing whose grants have lapsed (V), and everything
that lives (5v); and where a withdrawal only overwrites, nothing of what was recalled is left.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.calls import Call, Erase, Write
from processors.values import Answered, Claim, Place
from schemas.models import ProcessorScope, RecordDelivered, RecordScope
from tests.unit.processors.kit import (
    Keys,
    Vendor,
    Wall,
    delivery,
    lapse,
    ledger,
    new_vault,
    of_subject,
    sealed,
)

FIELDS = ("email", "phone", "name")
PURPOSES = ("p", "q")
OBJECTS = 1
PLACES = [Place(topic_id=b"t" * 16, partition=n) for n in (0, 1)]


@dataclass
class Sent:
    """A delivery as the test knows it."""

    record: RecordDelivered
    subject: str
    parts: list[tuple[dict[str, str], list[str]]]
    order: int
    refused: bool = False
    reached: set[str] = field(default_factory=set)
    recalled: bool = False

    def values(self) -> set[str]:
        """Every value it brought."""
        return {value for fields, _ in self.parts for value in fields.values()}

    def living(self) -> dict[str, str]:
        """Fields that some purpose still justifies."""
        return {
            name: value
            for fields, purposes in self.parts
            if set(purposes) - self.reached
            for name, value in fields.items()
        }


@dataclass
class Overwriting(Vendor):
    """Takes a withdrawn object out of use and keeps it, per object in `left`, until another cause ends it."""

    left: dict[str, dict[str, str]] = field(default_factory=dict)

    def apply(self, call: Call) -> Done:
        """Do it."""
        left = self.left.setdefault(call.key, {})
        if isinstance(call, Erase) and call.causes <= {"withdrawal"}:
            left.update(self.objects.pop(call.key, {}))
            return Done(outcome="overwritten_only" if left else "already_absent")
        if isinstance(call, Write):
            for name in (*call.set, *call.blank):
                left.pop(name, None)
            return super().apply(call)
        there = bool(left)
        left.clear()
        done = super().apply(call)
        return Done(outcome="completed") if there else done


class Machine(RuleBasedStateMachine):
    """Two workers on two objects at one recipient."""

    deliveries = Bundle("deliveries")

    def __init__(self) -> None:
        super().__init__()
        self.vault, self.keys, self.vendor, self.wall = new_vault(), Keys(), Overwriting(), Wall()
        self.vendor.key = lambda of: f"object {of.subject_ref[0] % OBJECTS}"  # type: ignore[method-assign]
        self.ledger = ledger(self.vendor, self.keys)
        self.claims: list[tuple[Claim, bool]] = []
        self.sent: list[Sent] = []
        self.count = itertools.count()
        self.owners = (random.Random(1).randbytes(16) for _ in itertools.count())

    # ---- what happens --------------------------------------------------------------------------------------
    @rule(
        target=deliveries,
        subject=st.sampled_from(["ann", "ben", "cem"]),
        shape=st.lists(
            st.tuples(
                st.sets(st.sampled_from(FIELDS), min_size=1),
                st.lists(st.sampled_from(PURPOSES), min_size=1, unique=True),
            ),
            min_size=1,
            max_size=2,
        ),
    )
    def deliver(self, subject: str, shape: list[tuple[set[str], list[str]]]) -> Sent:
        """Route's delivery of one or two compartments."""
        number, taken = next(self.count), set[str]()
        parts: list[tuple[dict[str, str], list[str]]] = []
        for names, purposes in shape:
            parts.append(({n: f"{n} of {number}" for n in sorted(names - taken)}, purposes))
            taken |= names
        with self.vault.transaction() as tx:
            decided = int(tx.seq)
            record = delivery(f"d{number}", subject=subject, parts=parts, decided=decided)
            self.ledger.register(tx, sealed(record), self.wall())
        sent = Sent(record=record, subject=subject, parts=parts, order=number)
        self.sent.append(sent)
        return sent

    @rule(sent=deliveries)
    def deliver_again(self, sent: Sent) -> None:
        """A redelivery."""
        if sent.refused or sent.reached:
            return
        with self.vault.transaction() as tx:
            self.ledger.register(tx, sealed(sent.record), self.wall())

    @rule(sent=deliveries, purpose=st.sampled_from(PURPOSES), twice=st.booleans())
    def withdraw(self, sent: Sent, purpose: str, twice: bool) -> None:
        """A person's keys of a purpose die; the lapse is read from two partitions, possibly twice."""
        self._withdraw(sent.subject, purpose, PLACES * (2 if twice else 1))

    @rule()
    def withdraw_everything(self) -> None:
        """Nothing living remains: what stands there is overwritten."""
        for subject in sorted({each.subject for each in self.sent}):
            for purpose in PURPOSES:
                self._withdraw(subject, purpose, PLACES)

    def _withdraw(self, subject: str, purpose: str, places: list[Place]) -> None:
        with self.vault.transaction() as tx:
            reaches = int(tx.seq)
        for each in self.sent:
            if each.subject == subject:
                self.keys.dead.add((each.record.delivery_id, purpose))
                each.reached.add(purpose)
        event = lapse(f"l{next(self.count)}", of_subject(subject, purpose), reaches=reaches)
        for place in places:
            with self.vault.transaction() as tx:
                self.ledger.mark(tx, event, place, b"", self.wall())

    @rule(everything=st.booleans())
    def recall(self, everything: bool) -> None:
        """Taken back although every key lives: the whole processor, or the latest delivery."""
        if not self.sent:
            return
        with self.vault.transaction() as tx:
            reaches = int(tx.seq)
        last = self.sent[-1].record.delivery_id
        scope = ProcessorScope() if everything else RecordScope(delivery_id=last, purposes=list(PURPOSES))
        for each in self.sent:
            if everything or each.record.delivery_id == last:
                each.reached |= set(PURPOSES)
                each.recalled = True
        event = lapse(f"l{next(self.count)}", scope, reaches=reaches, cause="recall")
        for place in PLACES:
            with self.vault.transaction() as tx:
                self.ledger.mark(tx, event, place, b"", self.wall())

    @rule(closed=st.sampled_from([None, "suspended"]))
    def suspend(self, closed: str | None) -> None:
        """Everything closes for a while, or opens again."""
        self.keys.closed = closed

    @rule()
    def claim(self) -> None:
        """The loop takes what is due."""
        with self.vault.transaction() as tx:
            refs = self.ledger.due(tx, self.wall(), 10)
            got = self.ledger.claim(tx, refs[:1], self.wall(), self.owners)
        self.claims += [(claim, False) for claim in got]

    @rule(number=st.integers(0, OBJECTS - 1))
    def claim_out_of_turn(self, number: int) -> None:
        """A worker goes for an object because something came for it, whoever else may be at it."""
        with self.vault.transaction() as tx:
            ref = self.ledger.ref(f"object {number}")
            got = self.ledger.claim(tx, [ref], self.wall(), self.owners)
        self.claims += [(claim, False) for claim in got]

    @rule(
        number=st.integers(0, OBJECTS - 1),
        how=st.sampled_from(["ok", "ok", "lost, done", "lost, not done", "429", "refused"]),
    )
    def attempt(self, number: int, how: str) -> None:
        """The same with its answer."""
        before = len(self.claims)
        self.claim_out_of_turn(number)
        if len(self.claims) > before:
            self.answer(len(self.claims) - 1, how)

    @rule(
        which=st.integers(0, 3),
        how=st.sampled_from(["ok", "lost, done", "lost, not done", "429", "refused", "login"]),
    )
    def answer(self, which: int, how: str) -> None:
        """A call ends, if its deadline has not passed."""
        if not self.claims:
            return
        claim, _ = self.claims.pop(which % len(self.claims))
        if claim.until <= self.wall():
            return  # its deadline has passed: the call was given up
        answer = self._answered(claim, how)
        with self.vault.transaction() as tx:
            self.ledger.finish(tx, [Answered(claim=claim, answer=answer, draw=0.5)], self.wall())

    def _answered(self, claim: Claim, how: str) -> Answer:
        call = claim.attempt.call
        assert call is not None
        match how:
            case "ok":
                return self.vendor.apply(call)
            case "lost, done":
                self.vendor.apply(call)
                return Retry(code="vendor_timeout")
            case "lost, not done":
                return Retry(code="vendor_timeout")
            case "429":
                return Retry(code="vendor_busy", landed=False)
            case "login":
                return Pause(code="vendor_login")
        if isinstance(call, Write) and not claim.attempt.settles and len(claim.attempt.carried) == 1:
            for sent in self.sent:
                sent.refused |= any(sent.record.delivery_id == d for d, _ in claim.attempt.carried)
        return Permanent(code="vendor_refused")

    @rule(which=st.integers(0, 3), done=st.booleans())
    def crash(self, which: int, done: bool) -> None:
        """A worker dies in a call, which may have been carried out."""
        if self.claims:
            claim, _ = self.claims.pop(which % len(self.claims))
            if done and claim.until > self.wall() and claim.attempt.call is not None:
                self.vendor.apply(claim.attempt.call)

    @rule(seconds=st.sampled_from([1, 30, 100_000]))
    def time_passes(self, seconds: int) -> None:
        """Leases and parked objects come due."""
        self.wall.pass_(seconds)

    # ---- what must hold ------------------------------------------------------------------------------------
    @invariant()
    def one_attempt_per_object(self) -> None:
        """A lease is nobody else's."""
        live = [claim.ref for claim, _ in self.claims if claim.until > self.wall()]
        assert len(live) == len(set(live))

    def teardown(self) -> None:
        """Let everything be answered, then look at the recipient."""
        self.keys.closed = None
        self.claims.clear()
        for _ in range(200):
            self.wall.pass_(100_000)
            with self.vault.transaction() as tx:
                refs = self.ledger.due(tx, self.wall(), 100)
                claims = self.ledger.claim(tx, refs, self.wall(), self.owners)
            if not refs:
                break
            answers = [
                Answered(claim=c, answer=self.vendor.apply(c.attempt.call), draw=0.5)
                for c in claims
                if c.attempt.call is not None
            ]
            with self.vault.transaction() as tx:
                self.ledger.finish(tx, answers, self.wall())
        else:
            raise AssertionError("never settles")
        for number in range(OBJECTS):
            self._check(f"object {number}")

    def _check(self, key: str) -> None:
        mine = [s for s in self.sent if self.vendor.key(s.record) == key]
        held = self.vendor.objects.get(key, {})
        for name, value in held.items():
            assert value in {s.living().get(name) for s in mine}, f"V: {value} stays after its lapse"
        for value in self.vendor.left.get(key, {}).values():
            assert not any(s.recalled and value in s.values() for s in mine), f"V: {value} was recalled"
        for name in FIELDS:
            having = [s for s in mine if name in s.living() and not s.refused]
            if having:
                latest = max(having, key=lambda s: s.order)
                allowed = {latest.living()[name]}
                allowed |= {s.living()[name] for s in mine if s.refused and name in s.living()}
                assert held.get(name) in allowed, f"5v: {name} of a living delivery is not there"
        with self.vault.transaction() as tx:
            assert tx.objects_waiting("partner") == 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
