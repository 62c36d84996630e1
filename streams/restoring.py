"""Catching up after a restore (Protocol 10, model m6): what the log says was destroyed, destroyed again.

A restored vault knows less than the log. Before anybody is answered, what stands on `lifecycle` and `control`
since is done again, merged in the order in which it happened: an ending comes before the command whose offset
its transaction had not applied yet. Meanwhile the vault is closed, and stays so over crashes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from schemas.ids import SubjectNumber
from schemas.models import BucketScope, Depersonalized, SubjectScope
from schemas.plan import Plans
from streams.chunks import POISON
from streams.control import ControlJudge, read_commands
from streams.leaves import take_roots
from streams.people import forget_last_open
from streams.planbook import PlanBook
from streams.policing import apply_policy
from streams.ports import Inbound
from streams.stage import Finding, Part
from vault.ending import end_bucket_again, end_generation_again
from vault.handles import lifecycle_tag
from vault.herald import Herald
from vault.port import Vault
from vault.restored import CLOSED, adopt, close
from vault.values import BucketId

PEOPLE = 2000
"""People read in one transaction."""

Tag = tuple[SubjectNumber, str, int]
"""Person, purpose and generation behind a tag on `lifecycle`."""


def merged(lifecycle: Iterable[Depersonalized], control: Iterable[Inbound]) -> list[Depersonalized | Inbound]:
    """Both logs in the order in which things happened."""
    steps: list[tuple[int, int, int, Depersonalized | Inbound]] = []
    steps += [(lapse.control_offset, 0, n, lapse) for n, lapse in enumerate(lifecycle)]
    steps += [(record.offset, 1, 0, record) for record in control]
    return [step[3] for step in sorted(steps, key=lambda step: step[:3])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What a restored vault was made to do again."""

    commands: int = 0
    buckets: int = 0
    people: int = 0
    nobody: int = 0
    """Endings of generations the backup never knew: of people newer than it."""

    def plus(self, **more: int) -> Caught:
        """The same and more."""
        return Caught(**{name: count + more.get(name, 0) for name, count in asdict(self).items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """Does again what the log says; `announce` empties the outbox, for a hold waits for what is owed."""

    vault: Vault
    plans: PlanBook
    judge: ControlJudge
    herald: Callable[[Plans], Herald]
    announce: Callable[[], Awaitable[int]]
    finding: Finding

    async def run(
        self, control: Sequence[Inbound], control_id: str, lifecycle: Sequence[Depersonalized]
    ) -> Caught:
        """Apply everything, then open the vault. Interrupted, it is begun again: each step twice is once."""
        with self.vault.transaction() as tx:
            since = close(tx)
        self._keep_time(lifecycle)
        missed = [lapse for lapse in lifecycle if lapse.reaches > since]
        tags = self._tags() if any(isinstance(lapse.scope, SubjectScope) for lapse in missed) else {}
        caught = Caught()
        for step in merged(missed, control):
            if isinstance(step, Depersonalized):
                caught = self._lapse(step, tags, caught)
            else:
                await self.announce()
                self._command(step, control_id)
                caught = caught.plus(commands=1)
        self._open(lifecycle)
        self.finding("restored vault caught up", "lifecycle, control", len(missed) + len(control))
        if caught.nobody:
            self.finding("people newer than the backup", "lifecycle", caught.nobody)
        return caught

    def _keep_time(self, lifecycle: Sequence[Depersonalized]) -> None:
        """A manual clock lies in the vault: it does not stand earlier than what has happened."""
        latest = max((lapse.effective_at for lapse in lifecycle), default=None)
        if self.vault.clock.mode == "manual" and latest is not None and latest > self.vault.clock.now():
            self.vault.clock.set_manual(latest)

    def _tags(self) -> dict[bytes, Tag]:
        """The tag of every generation that lives in this vault."""
        found: dict[bytes, Tag] = {}
        key, last = self.vault.secrets.lifecycle, 0
        while True:
            with self.vault.transaction(write=False) as tx:
                numbers = tx.subject_numbers(last, PEOPLE)
                states = tx.subjects(numbers)
            if not numbers:
                return found
            last = numbers[-1]
            for number, state in states.items():
                for purpose, held in state.purposes.items():
                    if held.key is not None:
                        tag = lifecycle_tag(key, number, purpose, held.generation)
                        found[tag] = (number, purpose, held.generation)

    def _lapse(self, lapse: Depersonalized, tags: Mapping[bytes, Tag], caught: Caught) -> Caught:
        herald = self.herald(self.plans())
        match lapse.scope:
            case BucketScope() as scope:
                with self.vault.transaction() as tx:
                    take_roots(tx, [BucketId(scope.purpose, scope.period, scope.terms)])
                    return caught.plus(buckets=int(end_bucket_again(tx, lapse, herald)))
            case SubjectScope() as scope:
                named = tags.get(scope.subject_ref)
                if named is None:
                    return caught.plus(nobody=1)
                with self.vault.transaction() as tx:
                    forget_last_open(tx, self.plans.within(tx), named[0], [named[1]])
                    return caught.plus(people=int(end_generation_again(tx, *named, lapse, herald)))
        return caught  # recalls stand on control as well, corrections as what was applied

    def _command(self, record: Inbound, control_id: str) -> None:
        try:
            self._obey(record, control_id, frozenset())
        except POISON:  # as in the flow: what breaks the stage is set aside, refused and reported
            self._obey(record, control_id, frozenset({record.offset}))

    def _obey(self, record: Inbound, control_id: str, spoilt: frozenset[int]) -> None:
        part = Part("control", control_id, 0, [record])
        commands = read_commands(part, spoilt)
        with self.vault.transaction() as tx:
            work = self.judge.obey(tx, part, commands, None)
            tx.drop_plan(control_id, 0)
            tx.set_progress(control_id, 0, record.offset + 1)
            for step in work.steps:
                value = self.herald(self.plans.within(tx)).encode(step)
                tx.put_outbox(kind="RequestStepped", topic="decisions", partition=0, key=None, value=value)

    def _open(self, lifecycle: Sequence[Depersonalized]) -> None:
        """Let what is held follow today's policy, and answer again."""
        plans = self.plans()
        with self.vault.transaction() as tx:
            policy = plans.in_force(tx.now) if len(plans) else None
            if policy is not None:
                apply_policy(tx, policy)
            adopt(tx, lifecycle)
            tx.put_meta(CLOSED, None)
