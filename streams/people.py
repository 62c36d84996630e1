"""The people of a part of a chunk: whom an event is about, and how the part's events change them, in order.

Events of one chunk see each other's effects, as if each had been a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from schemas.ids import Micros, SubjectNumber
from schemas.plan import Plans, PolicyPlan, PurposePlan
from schemas.times import DAY
from vault.ending import apply_statements
from vault.herald import Herald
from vault.port import Tx
from vault.subjects import admit, resolve, with_key
from vault.values import AliasRow, PurposeState, Statement, SubjectState


@dataclass(slots=True)
class People:
    """Aliases and subjects of one part; changes go to the transaction, which writes each row once."""

    tx: Tx
    new_key: Callable[[], bytes]
    herald: Herald
    aliases: dict[bytes, list[AliasRow]] = field(default_factory=dict)
    states: dict[SubjectNumber, SubjectState] = field(default_factory=dict)
    owes: bool = False
    """Whether something may have been destroyed: the outbox then has rows the Kafka commit must wait for."""

    @classmethod
    def read(cls, tx: Tx, hashes: Iterable[bytes], new_key: Callable[[], bytes], herald: Herald) -> People:
        """Fetch everything these identifiers lead to."""
        aliases = {hash_: list(rows) for hash_, rows in tx.aliases(set(hashes)).items()}
        numbers = {row.subject for rows in aliases.values() for row in rows if row.subject is not None}
        return cls(tx, new_key, herald, aliases, dict(tx.subjects(numbers)))

    def find(
        self, hashes: Sequence[bytes], at: Micros, *, all_count: bool
    ) -> tuple[SubjectNumber | None, bool]:
        """Whom the identifiers name at `at`, and whether an erasure reaches the event.

        Every identifier can close it; unless links between identifiers have a purpose, only the primary one
        names. Of several people the one known longest counts.
        """
        if len(hashes) == 1:  # one identifier of one person, never closed: nothing to weigh
            rows = self.aliases.get(hashes[0], ())
            if not rows:
                return None, False
            if len(rows) == 1 and rows[0].until is None:
                return rows[0].subject, False
        closed = resolve([row for hash_ in hashes for row in self.aliases.get(hash_, ())], at).closed
        naming = hashes if all_count else hashes[:1]
        subjects = resolve([row for hash_ in naming for row in self.aliases.get(hash_, ())], at).subjects
        return (min(subjects) if subjects else None), closed

    def create(self) -> SubjectNumber:
        """Make a person nobody knew."""
        state = self.tx.new_subject()
        self._put(state)
        return state.number

    def welcome(self, hash_: bytes, purposes: Mapping[str, PurposeState], at: Micros) -> SubjectNumber:
        """Make a person nobody knew, of whom this identifier and these purposes are known."""
        state = replace(self.tx.new_subject(), purposes=purposes)
        self.states[state.number] = state
        self.tx.put_subjects([state])
        row = AliasRow(hash=hash_, subject=state.number, since=at)
        self.aliases[hash_] = [row]
        self.tx.put_aliases([row])
        return state.number

    def link(self, hashes: Sequence[bytes], number: SubjectNumber, at: Micros, policy: PolicyPlan) -> None:
        """Let these identifiers lead to the person, unless they do or the policy has no purpose for it.

        Without one, an identifier names whoever it named before: beside somebody else's it joins nobody, or
        who states both would get what is held of the other by asking for their own.
        """
        linking = (
            None if policy.link_purpose is None or len(hashes) < 2 else policy.purposes[policy.link_purpose]
        )
        may = linking is not None and admit(self.states[number], linking, at) is None
        named = may or not any(self._leads(hash_, number) for hash_ in hashes)
        new = []
        for hash_ in hashes if may else hashes[:1] if named else ():
            rows = self.aliases.setdefault(hash_, [])
            if not self._leads(hash_, number):
                new.append(AliasRow(hash=hash_, subject=number, since=at))
                rows.append(new[-1])
        if new:
            self.tx.put_aliases(new)

    def _leads(self, hash_: bytes, number: SubjectNumber) -> bool:
        return any(row.subject == number and row.until is None for row in self.aliases.get(hash_, ()))

    def say(self, number: SubjectNumber, statements: Sequence[Statement], policy: PolicyPlan) -> None:
        """Fold statements into a person's state; what they end is destroyed, and owed to the outbox, here."""
        self.states[number] = apply_statements(self.tx, self.states[number], statements, self.herald)
        denied = [said.purpose for said in statements if not said.granted]
        self.owes = self.owes or bool(denied)
        if policy.last_open is not None and policy.purposes[policy.last_open].name in denied:
            self.forget_last_open(number)

    def hold(self, number: SubjectNumber, purposes: Sequence[str], at: Micros) -> list[int]:
        """Make sure a key of each purpose lives for data collected at `at`; returns their generations."""
        state = self.states[number]
        for purpose in purposes:
            state = with_key(state, purpose, at, self.new_key)
        self._put(state)
        return [state.purpose(purpose).generation for purpose in purposes]

    def opened_mail(self, number: SubjectNumber, purpose: PurposePlan, at: Micros) -> None:
        """Overwrite the last-open date with a later one; it lapses like everything held for its purpose."""
        day, state = Micros(at // DAY * DAY), self.states[number]
        if state.last_open is not None and state.last_open >= day:
            return
        self._put(replace(with_key(state, purpose.name, at, self.new_key), last_open=day))
        self.due(number, purpose.name, purpose.due(purpose.period(at)))

    def forget_last_open(self, number: SubjectNumber) -> None:
        """Drop the last-open date."""
        self._put(replace(self.states[number], last_open=None))

    def due(self, number: SubjectNumber, purpose: str, due: Micros) -> None:
        """Let what is held for a purpose lapse at `due`."""
        state = self.states[number]
        self._put(state.having(purpose, replace(state.purpose(purpose), due=due)))

    def _put(self, state: SubjectState) -> None:
        before = self.states.get(state.number)
        if before is not state and before != state:
            self.states[state.number] = state
            self.tx.put_subjects([state])


def forget_last_open(tx: Tx, plans: Plans, number: SubjectNumber, ended: Collection[str]) -> None:
    """Drop a person's last-open date where one of the purposes that ended is the one it is kept for."""
    policy = plans.today(tx.now)
    if policy.last_open is None or policy.purposes[policy.last_open].name not in ended:
        return
    for state in tx.subjects([number]).values():
        if state.last_open is not None:
            tx.put_subjects([replace(state, last_open=None)])
