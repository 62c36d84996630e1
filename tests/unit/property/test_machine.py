"""The whole flow under anything that may happen, in any order, with kills between any two effects.

An independent oracle says what must and what must not be readable; the rest is checked from outside, as the
invariants of the design are written. Numbers in comments are those of the invariants.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lapse.audit.oracle import Account, Happened, excess, overtaken
from schemas.errors import NotFound
from schemas.ids import EventId, Micros, RecordId, RequestId
from schemas.merkle import root
from schemas.models import (
    BucketScope,
    ConsentStated,
    ConsentStatement,
    CookieObserved,
    Depersonalized,
    FormSubmitted,
    HoldPlaced,
    HoldReleased,
    Identifier,
    ProcessorApproved,
    ProcessorSuspended,
    RecordDelivered,
    RecordScope,
    RequestDecided,
    RestrictionLifted,
    SignalReceived,
    SubjectScope,
)
from streams.leaves import leaf
from tests.unit.stages.world import SECOND, World, changed
from vault.deliveries import open_deliveries
from vault.handles import alias_hash, delivery_id
from vault.identity import normalise
from vault.opening import Ask, Usable, asks_of, find, may_use, open_fields
from vault.values import BucketId, Closed, HeldPair

PEOPLE = ("email:ann@example.com", "email:bob@example.com", "cookie:c-1")
SAYABLE = ("news", "profile", "opens", "analytics")
FOUND = ("bug", "offsets missing from the log", "chunks break together and not alone")
"""What no run may find."""
ROLES = ("control", "signals", "tag", "route")
kills = st.one_of(st.none(), st.integers(0, 14))
delays = st.sampled_from([0, 0, 0, SECOND, 5 * SECOND, 18 * SECOND])
said = st.dictionaries(st.sampled_from(SAYABLE), st.booleans(), max_size=2)


class Flow(RuleBasedStateMachine):
    """One installation, and what its oracle knows."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.account = Account(self.world.text)
        self.events: dict[RecordId, Happened] = {}
        self.published: list[FormSubmitted | CookieObserved] = []
        self.dues: dict[BucketId, int] = {}
        self.links: dict[tuple[RecordId, str], HeldPair] = {}
        self.holds: dict[bytes, str] = {}
        self.released: list[bytes] = []
        self.suspended: set[str] = set()
        self.quiet = False
        self.corrections = 0
        self.ever_erased: dict[str, int] = {}
        self.contested: set[RecordId] = set()

    def teardown(self) -> None:
        """End what the run began."""
        self.loop.close()

    def run_(self, step: Any) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(step)

    @initialize()
    def begin(self) -> None:
        """Processors are approved first."""
        self.run_(self.world.settle())

    # ---- what happens outside ------------------------------------------------------------------------------
    @rule(
        who=st.sampled_from(PEOPLE[:2]),
        form=st.sampled_from(["contact", "contact", "order"]),
        consents=said,
        gpc=st.booleans(),
        late=delays,
        partition=st.integers(0, 1),
    )
    def form(
        self, who: str, form: str, consents: dict[str, bool], gpc: bool, late: int, partition: int
    ) -> None:
        """A form arrives, perhaps late."""
        at = Micros(self.world.vault.clock.now() - late)
        event = self.world.form(
            email=who.partition(":")[2],
            form=form,
            site="shop" if form == "order" else "www",
            consents=consents,
            signals=["gpc"] if gpc else [],
            collected_at=at,
        )
        self._publish(event, who, f"form/{form}", frozenset(event.fields), consents, partition)

    @rule(consents=said, late=delays, partition=st.integers(0, 1))
    def cookie(self, consents: dict[str, bool], late: int, partition: int) -> None:
        """A browser shows what it does, perhaps with a choice."""
        event = CookieObserved(
            event_id=EventId(os.urandom(16)),
            collected_at=Micros(self.world.vault.clock.now() - late),
            site="www",
            cookie_id="c-1",
            name="view",
            url="https://www.example.com/",
            consents=[ConsentStatement(purpose=p, granted=g) for p, g in consents.items()],
        )
        fields = frozenset({"cookie_id", "name", "url"})
        self._publish(event, PEOPLE[2], "cookie", fields, consents, partition)

    def _publish(
        self, event: Any, who: str, source: str, fields: frozenset[str], consents: dict[str, bool], part: int
    ) -> None:
        self.published.append(event)
        kind = source.partition("/")[0]
        self.world.publish(event, f"intake.{kind}", part)
        self.events[self.world.record_id(event, kind)] = Happened(
            person=who,
            source=source,
            at=event.collected_at,
            received=self.world.vault.clock.now(),
            fields=fields,
            grants=frozenset(p for p, g in consents.items() if g),
            denies=frozenset(p for p, g in consents.items() if not g),
            signals=frozenset(event.signals),
        )
        for purpose, granted in consents.items():
            self.account.says(who, purpose, granted=granted, at=event.collected_at)
        self.quiet = False

    @precondition(lambda self: self.published)
    @rule(data=st.data(), other=st.booleans())
    def again(self, data: st.DataObject, other: bool) -> None:
        """An event arrives a second time, or another content under its id."""
        event = data.draw(st.sampled_from(self.published))
        kind = "form" if isinstance(event, FormSubmitted) else "cookie"
        if other:
            event = changed(event, notice="another", consents=[])
            self.contested.add(self.world.record_id(event, kind))
        self.world.publish(event, f"intake.{kind}", data.draw(st.integers(0, 1)))
        self.quiet = False

    @rule(who=st.sampled_from(PEOPLE), purpose=st.sampled_from(SAYABLE), granted=st.booleans(), late=delays)
    def signal(self, who: str, purpose: str, granted: bool, late: int) -> None:
        """Somebody says something outside a form."""
        kind, _, value = who.partition(":")
        at = Micros(self.world.vault.clock.now() - late)
        signal = SignalReceived(
            event_id=EventId(os.urandom(16)),
            collected_at=at,
            site="www",
            identifiers=[Identifier(kind=kind, value=value)],  # type: ignore[arg-type]  # one of the kinds
            via="banner",
            body=ConsentStated(consents=[ConsentStatement(purpose=purpose, granted=granted)]),
        )
        self.world.publish(signal, "intake.signal")
        self.account.says(who, purpose, granted=granted, at=at)
        self.quiet = False

    @rule(who=st.sampled_from(PEOPLE))
    def erase(self, who: str) -> None:
        """An operator orders an erasure."""
        now = self.world.vault.clock.now()
        self.world.command(
            RequestDecided(
                request_id=RequestId(os.urandom(16)),
                right="erasure",
                alias_hashes=[self._hash(who)],
                purposes=[],
                until=now,
                reason="asked",
                **self.world.head(),
            )
        )
        self.account.erases(who, now)
        # Who comes back is somebody new, of whom nothing is restricted.
        self.account.restricted = {each for each in self.account.restricted if each[0] != who}
        self.ever_erased[who] = now
        self.quiet = False

    @precondition(lambda self: self.world.tagged())
    @rule(data=st.data(), twice=st.booleans())
    def correct(self, data: st.DataObject, twice: bool) -> None:
        """An officer corrects what lies on the log by now, perhaps sent twice, perhaps beside another's."""
        forms = [e for e in self.published if isinstance(e, FormSubmitted) and self.world.tagged_as(e)]
        if not forms:
            return
        event = data.draw(st.sampled_from(forms))
        self.corrections += 1
        said = self.world.correction(event, name=f"Ann {self.corrections}")
        for _ in range(2 if twice else 1):
            self.world.publish(said, "intake.form", data.draw(st.integers(0, 1)))
        self.quiet = False

    @rule(who=st.sampled_from(PEOPLE), purpose=st.sampled_from((*SAYABLE, "answer", "tax")))
    def restrict(self, who: str, purpose: str) -> None:
        """An officer restricts a purpose of a person, known or not."""
        self.world.command(
            RequestDecided(
                request_id=RequestId(os.urandom(16)),
                right="restriction",
                alias_hashes=[self._hash(who)],
                purposes=[purpose],
                until=self.world.vault.clock.now(),
                reason="contested",
                **self.world.head(),
            )
        )
        self.account.restricted.add((who, purpose))
        self.quiet = False

    @precondition(lambda self: self.account.restricted)
    @rule(data=st.data(), everything=st.booleans())
    def lift(self, data: st.DataObject, everything: bool) -> None:
        """A restriction ends, or all of a person's."""
        who, purpose = data.draw(st.sampled_from(sorted(self.account.restricted)))
        self.world.command(
            RestrictionLifted(
                request_id=RequestId(os.urandom(16)),
                alias_hashes=[self._hash(who)],
                purposes=[] if everything else [purpose],
                reason="shown to be right",
                **self.world.head(),
            )
        )
        gone = {
            each for each in self.account.restricted if each[0] == who and (everything or each[1] == purpose)
        }
        self.account.restricted -= gone
        self.quiet = False

    @rule(processor=st.sampled_from(["crm", "mailer"]), back=st.booleans())
    def suspend(self, processor: str, back: bool) -> None:
        """A processor is suspended, or may go on."""
        if back:
            self.world.command(ProcessorApproved(processor=processor, **self.world.head()))
            self.suspended.discard(processor)
        else:
            self.world.command(ProcessorSuspended(processor=processor, reason="test", **self.world.head()))
            self.suspended.add(processor)
        self.quiet = False

    @rule(who=st.sampled_from(PEOPLE))
    def hold(self, who: str) -> None:
        """A legal hold is placed."""
        hold_id = os.urandom(16)
        self.world.command(
            HoldPlaced(
                hold_id=hold_id,
                alias_hashes=[self._hash(who)],
                purposes=["answer", "news", "profile", "tax", "opens", "analytics"],
                reason="claim",
                **self.world.head(),
            )
        )
        self.holds[hold_id] = who
        self.quiet = False

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A hold ends."""
        hold_id = data.draw(st.sampled_from(sorted(self.holds)))
        self.world.command(HoldReleased(hold_id=hold_id, **self.world.head()))
        del self.holds[hold_id]
        self.released.append(hold_id)
        self.quiet = False

    # ---- what the machine does -----------------------------------------------------------------------------
    @rule(role=st.sampled_from(ROLES), kill=kills, chunk=st.integers(1, 6), width=st.sampled_from([1, 2, 12]))
    def step(self, role: str, kill: int | None, chunk: int, width: int) -> None:
        """A role does a chunk, or one of each of some partitions together, perhaps killed at any effect."""
        self.run_(self.world.step(role, kill_after=kill, chunk=chunk, width=width))
        self.quiet = False

    @rule(role=st.sampled_from(ROLES), chunk=st.integers(1, 6), width=st.sampled_from([1, 2, 12]))
    def zombie(self, role: str, chunk: int, width: int) -> None:
        """A second worker that believes the partitions are its own does what the first one does."""
        self.run_(self.world.zombie_step(role, chunk=chunk, width=width))
        self.quiet = False

    @rule(kill=kills)
    def tick(self, kill: int | None) -> None:
        """Expire looks at the clock, perhaps killed."""
        self.run_(self.world.tick(kill_after=kill))
        self.quiet = False

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.5, 7.0, 21.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes before anybody looks."""
        self.world.vault.clock.set_manual(Micros(self.world.vault.clock.now() + int(seconds * SECOND)))
        self.quiet = False

    @rule()
    def settle(self) -> None:
        """Everything is worked off."""
        self.run_(self.world.settle())
        self.quiet = True

    # ---- what must hold ------------------------------------------------------------------------------------
    @invariant()
    def dues_never_grow(self) -> None:
        """6."""
        with self.world.vault.transaction(write=False) as tx:
            rows = tx.all_buckets()
        for row in rows:
            assert row.due <= self.dues.get(row.id, row.due), row.id
            self.dues[row.id] = row.due

    @invariant()
    def decisions_come_first(self) -> None:
        """2 and 10: nothing is delivered that was not decided before, nothing decided beyond the policy."""
        place = {at: n for n, at in enumerate(self.world.order)}
        decided: dict[tuple[RecordId, int], int] = {}
        for partition, offset, batch in self.world.read("decisions"):
            for entry in getattr(batch, "entries", ()):
                n = place["decisions", partition, offset]
                name = entry.record_id, entry.revision
                decided[name] = min(decided.get(name, n), n)
                if entry.source != "signal":
                    assert excess(entry, self.world.text) == []
        for processor in ("crm", "mailer"):
            secret = self.world.vault.secrets.processor(processor)
            ids = {delivery_id(secret, record): record for record in self.events}
            for partition, offset, record in self.world.read(f"processor.{processor}"):
                if isinstance(record, RecordDelivered):
                    n = place[f"processor.{processor}", partition, offset]
                    name = ids[record.delivery_id], record.revision
                    assert decided[name] < n, "delivered before it was decided"

    @invariant()
    def at_rest(self) -> None:
        """Everything that can only be said when nothing is on its way."""
        if not self.quiet:
            return
        self._every_event_ends_once()
        self._readable_is_right()
        self._told()
        self._counted()
        self._held()
        self._barred()
        self._corrected()
        self._reborn()

    def _every_event_ends_once(self) -> None:
        """1, as folded outcomes."""
        outcomes = self.world.outcomes()
        for record in self.events:
            assert record in outcomes, "an event vanished"
        assert not [f for f in self.world.findings if f[0] in FOUND]

    def _readable(self) -> dict[RecordId, set[str]]:
        found: dict[RecordId, set[str]] = {record: set() for record in self.events}
        names = {p.number: p.name for p in self.world.plan.purposes}
        with self.world.vault.transaction(write=False) as tx:
            newest = tx.superseded(self.events)
            for record in self.world.tagged():
                if record.revision < newest.get(record.record_id, 1):
                    continue
                asks = asks_of(record, names)
                for n, (each, ask) in enumerate(zip(find(tx, asks), asks, strict=True)):
                    purpose = self.world.plan.purpose(ask.bucket.purpose)
                    used = may_use(each, purpose, tx.now)
                    if isinstance(used, Usable):
                        pair = HeldPair(ask.bucket, used.number, used.generation)
                        self.links[record.record_id, purpose.name] = pair
                        alone = [used if i == n else Closed(code="unknown") for i in range(len(asks))]
                        if any(not isinstance(each, Closed) for each in open_fields(record, alone)):
                            found[record.record_id].add(purpose.name)
        return found

    def _readable_is_right(self) -> None:
        """4, 5, 7, 12: the oracle knows what must and what must not open."""
        now, readable = self.world.vault.clock.now(), self._readable()
        for record, event in self.events.items():
            for purpose in self.world.plan.purposes:
                opens = purpose.name in readable[record]
                why = self.account.forbids(event, purpose.name, now)
                assert not (opens and why), f"{event} opens for {purpose.name}: {why}"
                restricted = (event.person, purpose.name) in self.account.restricted
                assert not (opens and restricted), f"{event} opens for {purpose.name}: restricted"
                if record not in self.contested and self.account.requires(event, purpose.name, now):
                    assert opens, f"{event} does not open for {purpose.name}"

    def _told(self) -> None:
        """9: what has been delivered and no longer opens is followed by its lapse, in its partition."""
        for processor in ("crm", "mailer"):
            log = self.world.read(f"processor.{processor}")
            for partition, offset, record in log:
                if not isinstance(record, RecordDelivered):
                    continue
                later = [
                    r for p, o, r in log if p == partition and o > offset and isinstance(r, Depersonalized)
                ]
                for grant in record.grants:
                    if not self._ended(record, grant):
                        continue
                    assert any(_reaches(lapse, record, grant) for lapse in later), "a lapse was never told"

    def _ended(self, record: RecordDelivered, grant: Any) -> bool:
        """Whether a grant's bucket, or the key of its person, is gone."""
        bucket = BucketId(grant.purpose, grant.period, grant.terms)
        purpose = self.world.plan.purpose(grant.purpose)
        with self.world.vault.transaction(write=False) as tx:
            (found,) = find(tx, [Ask(bucket, grant.handle, record.delivery_id)])
            used = may_use(found, purpose, tx.now)
        return isinstance(used, Closed) and used.code not in ("restricted",)

    def _counted(self) -> None:
        """11 and 19: residue counts every accepted event once, tallies every record of a bucket once."""
        outcomes = self.world.outcomes()
        accepted = [r for r in self.events if outcomes[r][0] in ("routed", "expired", "kept_in_vault")]
        published = sum(c.events for _, _, r in self.world.read("residue") for c in getattr(r, "cells", ()))
        with self.world.vault.transaction(write=False) as tx:
            carried = sum(cell.events for cell in tx.residue())
            tallies = {row.id: row.tally for row in tx.all_buckets() if row.id.purpose != "quarantine"}
        assert published + carried == len(accepted)
        counted: dict[BucketId, set[tuple[RecordId, int]]] = {}
        for entry in self.world.entries():
            for link in entry.links:
                bucket = BucketId(self.world.plan.purposes[link.purpose].name, link.period, link.terms)
                counted.setdefault(bucket, set()).add((entry.record_id, entry.revision))
        assert {bucket: len(found) for bucket, found in counted.items()} == {
            b: n for b, n in tallies.items() if n
        }
        for lapse in self.world.lapses("lifecycle"):
            if isinstance(lapse.scope, BucketScope):
                bucket = BucketId(lapse.scope.purpose, lapse.scope.period, lapse.scope.terms)
                leaves = sorted(leaf(*each) for each in counted.get(bucket, ()))
                assert lapse.root == root(leaves) or lapse.records < len(leaves), (
                    "another root than the records'"
                )

    def _held(self) -> None:
        """13: what a hold was not told is gone opens under its id, and under none that was released."""
        with self.world.vault.transaction(write=False) as tx:
            for hold in tx.holds():
                if hold.hold_id not in self.holds:
                    continue
                keys = {key.pair for key in tx.hold_keys(hold.hold_id)}
                for (record, _), pair in self.links.items():
                    if (
                        self.events[record].person == self.holds[hold.hold_id]
                        and pair.subject in hold.subjects
                    ):
                        assert pair in keys or pair in hold.gone, "held, not told gone, and closed"
            for hold_id in self.released:
                try:
                    tx.hold_keys(hold_id)
                except NotFound:
                    continue
                raise AssertionError("a released hold opens")

    def _barred(self) -> None:
        """16: a suspended processor opens nothing; 4 and 7 for the others."""
        now = self.world.vault.clock.now()
        for processor in ("crm", "mailer"):
            to = self.world.recipiency(processor)
            deliveries = self.world.deliveries(processor)
            with self.world.vault.transaction(write=False) as tx:
                answers = open_deliveries(tx, to, deliveries)
            opened = [
                (delivery, each)
                for delivery, compartments in zip(deliveries, answers, strict=True)
                for each in compartments
                if not isinstance(each, Closed)
            ]
            assert not (processor in self.suspended and opened), "a suspended processor opens"
            secret = self.world.vault.secrets.processor(processor)
            ids = {delivery_id(secret, record): event for record, event in self.events.items()}
            for delivery, _ in opened:
                event = ids[delivery.delivery_id]
                allowed = [
                    g.purpose
                    for g in delivery.grants
                    if not self.account.forbids(event, g.purpose, now)
                    and (event.person, g.purpose) not in self.account.restricted
                ]
                assert allowed, f"{processor} opens {event} for no purpose left"

    def _corrected(self) -> None:
        """14: only the highest revision opens, and who was given an older one has it or was told."""
        with self.world.vault.transaction(write=False) as tx:
            newest = tx.superseded(self.events)
        assert overtaken(self.world.entries()) == []
        sealed = {(record.record_id, record.revision) for record in self.world.tagged()}
        for processor in ("crm", "mailer"):
            to, secret = self.world.recipiency(processor), self.world.vault.secrets.processor(processor)
            ids = {delivery_id(secret, record): record for record in self.events}
            deliveries, lapses = self.world.deliveries(processor), self.world.lapses(f"processor.{processor}")
            with self.world.vault.transaction(write=False) as tx:
                answers = open_deliveries(tx, to, deliveries)
            given = {(delivery.delivery_id, delivery.revision) for delivery in deliveries}
            for delivery, answer in zip(deliveries, answers, strict=True):
                record = ids[delivery.delivery_id]
                highest = newest.get(record, 1)
                if delivery.revision == highest:
                    continue
                assert all(isinstance(each, Closed) for each in answer), "an old revision opens"
                if (delivery.delivery_id, highest) in given or (record, highest) not in sealed:
                    continue
                for grant in delivery.grants:
                    told = any(_reaches(lapse, delivery, grant) for lapse in lapses)
                    assert told, "who is left with an old revision was not told"

    def _reborn(self) -> None:
        """8: what was collected after an erasure is about somebody else than what was collected before."""
        for processor in ("crm", "mailer"):
            secret = self.world.vault.secrets.processor(processor)
            ids = {delivery_id(secret, record): event for record, event in self.events.items()}
            for who, until in self.ever_erased.items():
                mine = [(ids[d.delivery_id], d) for d in self.world.deliveries(processor)]
                mine = [(event, d) for event, d in mine if event.person == who]
                before = {d.subject_ref for event, d in mine if event.at <= until}
                after = {d.subject_ref for event, d in mine if event.at > until}
                assert not before & after, "a rebirth shares a pseudonym with what came before"

    def _hash(self, who: str) -> bytes:
        kind, _, value = who.partition(":")
        spelled = normalise(kind, value)  # type: ignore[arg-type]  # one of the kinds
        return alias_hash(self.world.vault.secrets.alias, kind, spelled)


def _reaches(lapse: Depersonalized, record: RecordDelivered, grant: Any) -> bool:
    if grant.decided >= lapse.reaches:
        return False
    match lapse.scope:
        case BucketScope(purpose=purpose, period=period, terms=terms):
            return (purpose, period, terms) == (grant.purpose, grant.period, grant.terms)
        case SubjectScope(subject_ref=ref, purposes=purposes):
            return ref == record.subject_ref and grant.purpose in purposes
        case RecordScope(delivery_id=delivery, purposes=purposes):
            return delivery == record.delivery_id and grant.purpose in purposes
    return True


Flow.TestCase.settings = settings(
    max_examples=int(os.environ.get("LAPSE_EXAMPLES", "25")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFlow = Flow.TestCase
