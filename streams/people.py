"""The people of a part of a chunk: who an event is about, and their states as the part's events change them in order.

Everything is read once at the start of commit 1 and written once at its end; in between events of one chunk see each
other's effects, as if each had been a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from schemas.ids import Micros, SubjectNumber
from schemas.plan import PolicyPlan, PurposePlan
from schemas.retention import DAY
from vault.port import Tx
from vault.subjects import admit, fold, resolve, with_key
from vault.values import AliasRow, Ended, Statement, SubjectState


class Destroyed(NamedTuple):
    """Keys of one person that statements of this part destroy, and since when that holds."""

    number: SubjectNumber
    ended: tuple[Ended, ...]
    objection: bool
    at: Micros


@dataclass(slots=True)
class People:
    """Aliases and subjects of one part, with the changes made to them."""

    tx: Tx
    new_key: Callable[[], bytes]
    aliases: dict[bytes, list[AliasRow]] = field(default_factory=dict)
    states: dict[SubjectNumber, SubjectState] = field(default_factory=dict)
    changed: set[SubjectNumber] = field(default_factory=set)
    new_aliases: list[AliasRow] = field(default_factory=list)
    destroyed: list[Destroyed] = field(default_factory=list)

    @classmethod
    def read(
        cls, tx: Tx, hashes: Iterable[bytes], new_key: Callable[[], bytes], also: Iterable[SubjectNumber] = ()
    ) -> People:
        """Fetch everything these identifiers (and these numbers) lead to."""
        aliases = {hash_: list(rows) for hash_, rows in tx.aliases(set(hashes)).items()}
        numbers = {row.subject for rows in aliases.values() for row in rows if row.subject is not None}
        states = tx.subjects(numbers | set(also))
        return cls(tx, new_key, aliases, dict(states))

    def find(
        self, hashes: Sequence[bytes], at: Micros, *, all_count: bool
    ) -> tuple[SubjectNumber | None, bool]:
        """Whom the identifiers name at `at`, and whether an erasure reaches the event.

        Every identifier can close it; unless links between identifiers have a purpose, only the primary one names.
        Of several people the one known longest counts.
        """
        found = resolve([row for hash_ in hashes for row in self.aliases.get(hash_, ())], at)
        if not all_count:
            subjects = resolve([row for hash_ in hashes[:1] for row in self.aliases.get(hash_, ())], at).subjects
        else:
            subjects = found.subjects
        return (min(subjects) if subjects else None), found.closed

    def create(self) -> SubjectNumber:
        """Make a person nobody knew."""
        state = self.tx.new_subject()
        self.states[state.number] = state
        self.changed.add(state.number)
        return state.number

    def link(self, hashes: Sequence[bytes], number: SubjectNumber, at: Micros, policy: PolicyPlan) -> None:
        """Let these identifiers lead to the person, where they do not yet and the policy has a purpose for it."""
        linking = None if policy.link_purpose is None else policy.purposes[policy.link_purpose]
        may = linking is not None and admit(self.states[number], linking, at) is None
        for hash_ in hashes if may else hashes[:1]:
            rows = self.aliases.setdefault(hash_, [])
            if not any(row.subject == number and row.until is None for row in rows):
                row = AliasRow(hash=hash_, subject=number, since=at)
                rows.append(row)
                self.new_aliases.append(row)

    def say(self, number: SubjectNumber, statements: Sequence[Statement], policy: PolicyPlan) -> None:
        """Fold statements into a person's state; what they destroy is kept for the end of commit 1."""
        for statement in statements:
            before = self.states[number]
            after, ended = fold(before, statement)
            if after != before:
                self.states[number] = after
                self.changed.add(number)
            if ended:
                self.destroyed.append(Destroyed(number, tuple(ended), statement.objection, statement.at))
            if not statement.granted and policy.purpose_numbers.get(statement.purpose) == policy.last_open:
                self.forget_last_open(number)

    def hold(self, number: SubjectNumber, purpose: PurposePlan, at: Micros) -> int:
        """Make sure a key lives for data collected at `at`; returns its generation."""
        before = self.states[number]
        after = with_key(before, purpose.name, at, self.new_key)
        if after != before:
            self.states[number] = after
            self.changed.add(number)
        return after.purpose(purpose.name).generation

    def opened_mail(self, number: SubjectNumber, purpose: PurposePlan, at: Micros) -> None:
        """Overwrite the last-open date with a later one; it lapses like everything held for its purpose."""
        day, state = Micros(at // DAY * DAY), self.states[number]
        if state.last_open is not None and state.last_open >= day:
            return
        state = with_key(state, purpose.name, at, self.new_key)
        held = msgspec.structs.replace(state.purpose(purpose.name), due=purpose.due(purpose.period(at)))
        self.states[number] = msgspec.structs.replace(state.having(purpose.name, held), last_open=day)
        self.changed.add(number)

    def forget_last_open(self, number: SubjectNumber) -> None:
        """Drop the last-open date."""
        if self.states[number].last_open is not None:
            self.states[number] = msgspec.structs.replace(self.states[number], last_open=None)
            self.changed.add(number)

    def write(self) -> None:
        """Write all changes; `destroyed` is left to the caller, who knows who must be told."""
        if self.changed:
            self.tx.put_subjects([self.states[number] for number in sorted(self.changed)])
        if self.new_aliases:
            self.tx.put_aliases(self.new_aliases)
