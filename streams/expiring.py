"""The expiry loop: buckets that are due end in order, on the vault's clock; brakes can stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from processors import assurance
from schemas.ids import Micros
from schemas.models import Cause
from schemas.plan import Plans, PolicyPlan
from streams import metrics
from streams.clockrules import Moved, Reading, judge
from streams.expanding import ask_expansion
from streams.faults import APPLIED, ENDED, Crash, never
from streams.lapsing import decide_lapse
from streams.leaves import rooted, take_roots
from streams.people import forget_last_open
from streams.planbook import PlanBook
from streams.policing import applied_version, apply_policy
from streams.stage import Finding
from vault.ending import end_buckets, end_purposes, finish_buckets
from vault.finishing import ended as unfinished
from vault.herald import Herald
from vault.port import Tx, Vault
from vault.values import BucketRow, ClockState, Hold, ProcessorState

READING = "clock/reading"
"""Meta: both clocks as expiry last saw them."""
LIFTED = "brake/lifted"
"""Meta: when somebody confirmed: what was due by then may go, in as many ticks as it takes."""
TOO_MANY = "destroys more than planned"
KEEP_READING = 1_000_000
"""Microseconds between two readings kept in the vault."""
WAITED, RESTS = 0.1, 10
"""Seconds from which on removing bytes has waited for readers, and how many times as long it rests then."""
NO_POLICY_STEP = 900_000_000
"""Microseconds the clock may step by before there is a policy that says it."""
TOGETHER = 100
"""Buckets ended in one transaction."""


def read_clocks(now: Micros) -> Reading:
    """Both clocks of this machine; the steady one counts sleep too."""
    return Reading(wall=now, steady=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot=_boot())


@cache
def _boot() -> str:
    """The name of this machine's present boot: no process outlives it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text(encoding="ascii").strip() if boot.exists() else "unknown"


def confirm(tx: Tx) -> None:
    """Let go of the brake: somebody looked and says the clock is right, or the destruction is meant."""
    state = tx.clock_state()
    tx.put_clock_state(replace(state, brake=None, since=None))
    tx.put_meta(READING, None)
    if state.brake == TOO_MANY:
        tx.put_meta(LIFTED, tx.now.to_bytes(8, "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at the vault shows: due and hidden buckets, holds, clocks, whatever else may be due."""

    now: Micros
    plans: Plans
    clock: ClockState
    kept: bytes | None
    applied: int
    lifted: Micros
    due: tuple[BucketRow, ...]
    waiting: tuple[BucketRow, ...]
    """Those due and those hidden."""
    holds: tuple[Hold, ...]
    anchored: bool
    late: tuple[ProcessorState, ...]
    """Processors whose assurance has run out."""
    unfinished: bool
    """Whether bytes of ended keys are still to be removed."""

    @property
    def policy(self) -> PolicyPlan:
        """Today's policy."""
        return self.plans.today(self.now)

    @property
    def step(self) -> int:
        """Microseconds by which the clock may step before expiry stops."""
        return self.policy.brakes.clock_step if len(self.plans) else NO_POLICY_STEP


@dataclass(slots=True, kw_only=True)
class Expiry:
    """Ends what is due; `clocks` reads both clocks (ignored while the vault's clock is a manual one)."""

    vault: Vault
    plans: PlanBook
    herald: Callable[[Plans], Herald]
    finding: Finding
    clocks: Callable[[Micros], Reading] = read_clocks
    crash: Crash = never
    steady: Callable[[], float] = time.monotonic
    host: Callable[[], float] = time.time
    _finish_at: float = 0.0
    _last: Reading | None = field(default=None)
    _kept: Reading | None = field(default=None)

    def tick(self) -> int:
        """Do what is due now; returns how many keys were destroyed, 0 while a brake holds."""
        seen = self._look()
        ended = 0 if self._braked(seen) or not len(seen.plans) else self._act(seen)
        metrics.TICKED.set(self.host())
        return ended

    def _look(self) -> Sight:
        """Read all a tick decides about in one transaction: most ticks find nothing to do."""
        with self.vault.transaction(write=False) as tx:
            plans, now = self.plans.within(tx), tx.now
            policy = plans.today(now) if len(plans) else None
            due = tx.due_buckets(now, policy.brakes.destroy_per_tick + 1 if policy else 1)
            hidden = tx.all_buckets(state="hidden")
            return Sight(
                now=now,
                plans=plans,
                clock=tx.clock_state(),
                kept=tx.meta(READING),
                applied=applied_version(tx),
                lifted=_lifted(tx),
                due=tuple(due),
                waiting=(*due, *hidden),
                holds=tuple(hold for hold in tx.holds() if hold.on) if due or hidden else (),
                anchored=bool(tx.anchors_due(now, 1)),
                late=tuple(p for p in tx.processors() if _over(p, policy, now)) if policy else (),
                unfinished=self.vault.overwrites and bool(unfinished(tx, hidden)),
            )

    def _act(self, seen: Sight) -> int:
        policy = seen.policy
        if policy.version != seen.applied:
            with self.vault.transaction() as tx:
                apply_policy(tx, policy)
            self.crash(APPLIED)
            seen = self._look()
        count = self._buckets(seen) + (self._anchored(seen.plans) if seen.anchored else 0)
        if count:
            self.crash(ENDED)
        self._assurances(seen.late)
        if count or seen.unfinished:
            self._finish()
        return count

    def _finish(self) -> None:
        """Have the bytes of ended keys removed; a store that had to wait for readers kept writers waiting."""
        if self.steady() < self._finish_at:
            return
        began = self.steady()
        finish_buckets(self.vault, self.crash)
        took = self.steady() - began
        self._finish_at = self.steady() + RESTS * took if took > WAITED else 0.0

    def _braked(self, seen: Sight) -> bool:
        """Whether expiry must not act: a brake holds, or the clock moved by itself just now."""
        metrics.OVERDUE.set((seen.now - seen.due[0].due) / 1e6 if seen.due else 0.0)
        metrics.BRAKE.labels(TOO_MANY).set(seen.clock.brake == TOO_MANY)
        metrics.BRAKE.labels("clock").set(seen.clock.brake not in (None, TOO_MANY))
        if seen.clock.brake is not None:
            self._last = self._kept = None
            return True
        if self.vault.clock.mode == "manual":
            return False
        reading = self.clocks(seen.now)
        last = self._last or (msgspec.msgpack.decode(seen.kept, type=Reading) if seen.kept else None)
        moved = judge(last, reading, seen.step)
        if moved is not None:
            self._brake(seen.clock, moved)
            return True
        self._remember(reading)
        return False

    def _brake(self, state: ClockState, moved: Moved) -> None:
        with self.vault.transaction() as tx:
            tx.put_clock_state(replace(state, brake=f"the clock {moved.kind}", since=tx.now))
        self._last = None
        self.finding(f"the clock {moved.kind}", "expiry", moved.by // 1_000_000)

    def _remember(self, seen: Reading) -> None:
        self._last = seen
        if self._kept is None or seen.wall - self._kept.wall >= KEEP_READING:
            self._kept = seen
            with self.vault.transaction() as tx:
                tx.put_meta(READING, msgspec.msgpack.encode(seen))

    def _buckets(self, seen: Sight) -> int:
        cap, hidden_for = seen.policy.brakes.destroy_per_tick, seen.policy.brakes.hidden_for
        holds = seen.holds

        def ends(row: BucketRow, by: Micros) -> bool:
            return decide_lapse(row, holds, by, hidden_for).step == "end"

        due = [row for row in seen.waiting if ends(row, seen.now)]
        meant = [row for row in due if ends(row, seen.lifted)]
        if len(due) - len(meant) > cap:
            return self._stop(len(due))
        count = 0
        for start in range(0, len(due), TOGETHER):
            count += self._end(due[start : start + TOGETHER], holds, seen.plans, hidden_for)
        if seen.lifted and not meant:
            with self.vault.transaction() as tx:
                tx.put_meta(LIFTED, None)
        return count

    def _stop(self, count: int) -> int:
        with self.vault.transaction() as tx:
            tx.put_clock_state(replace(tx.clock_state(), brake=TOO_MANY, since=tx.now))
        self.finding(TOO_MANY, "expiry", count)
        return 0

    def _end(self, rows: list[BucketRow], holds: Sequence[Hold], plans: Plans, hidden_for: int) -> int:
        """End a few buckets in one transaction, each judged again as it stands in there."""
        herald = self.herald(plans)
        with self.vault.transaction() as tx:
            now, current = tx.now, tx.buckets([row.id for row in rows])
            lapses = {row.id: decide_lapse(current[row.id], holds, now, hidden_for) for row in rows}
            causes = {bucket: lapse.cause for bucket, lapse in lapses.items() if lapse.step == "end"}
            ended = [row for row in rows if row.id in causes]
            ask_expansion(tx, ended, plans)
            end_buckets(tx, causes, rooted(herald, take_roots(tx, causes)), at=now)
        for row in ended:
            metrics.LAPSES.labels("retention").inc()
            metrics.LATE_SECONDS.observe(max(0, now - row.due) / 1e6)
        return len(ended)

    def _anchored(self, plans: Plans) -> int:
        """End what runs per person: anchored retentions, and last-open dates."""
        cause: Cause = "retention"
        with self.vault.transaction() as tx:
            found = tx.anchors_due(tx.now, TOGETHER)
            for number, purpose, _ in found:
                end_purposes(tx, number, [purpose], self.herald(plans), cause=cause, at=tx.now)
                forget_last_open(tx, plans, number, [purpose])
        metrics.LAPSES.labels(cause).inc(len(found))
        return len(found)

    def _assurances(self, late: Sequence[ProcessorState]) -> None:
        """An assurance whose date has passed suspends by itself."""
        for state in late:
            with self.vault.transaction() as tx:
                suspended = replace(state, suspended=True, reason="assurance_ended", since=tx.now)
                tx.put_processor(suspended)
            self.finding("assurance ended", state.name)


def _lifted(tx: Tx) -> Micros:
    """Until when what was due may be destroyed however much it is; 0 where nobody confirmed anything."""
    return Micros(int.from_bytes(tx.meta(LIFTED) or b"", "big"))


def _over(state: ProcessorState, policy: PolicyPlan, now: Micros) -> bool:
    number = policy.processor_numbers.get(state.name)
    own = state.assurance_until
    until = own if number is None else assurance.ends(policy.processors[number], own)
    return state.approved and not state.suspended and until is not None and until <= now
