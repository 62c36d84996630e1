"""What statements do to a person, and what their state allows (model m3). Pure: times and keys come in."""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from schemas.ids import Micros
from schemas.models import Cause
from vault.values import (
    CLOCK_SLACK,
    NEVER,
    AliasRow,
    Closed,
    Ended,
    Purpose,
    PurposeState,
    Resolved,
    Statement,
    SubjectState,
)

OBJECTABLE = frozenset({"legitimate_interests", "public_task"})
"""The bases a person may object to (GDPR Art. 21 (1))."""


def resolve(rows: Iterable[AliasRow], at: Micros) -> Resolved:
    """Return whom these rows name at `at`: closed wins, whoever else an identifier leads to."""
    rows = tuple(rows)
    closed = any(row.until is not None and at <= row.until + CLOCK_SLACK for row in rows)
    opens: dict[bytes, set[int]] = {}
    for row in rows:
        if row.until is None and row.subject is not None:
            opens.setdefault(row.hash, set()).add(row.subject)
    subjects = {row.subject for row in rows if row.until is None and row.subject is not None}
    return Resolved(
        subjects=tuple(sorted(subjects)),
        closed=closed,
        shared=any(len(numbers) > 1 for numbers in opens.values()),
    )


def fold(state: SubjectState, said: Statement) -> tuple[SubjectState, tuple[Ended, ...]]:
    """Apply a statement: the latest effective time wins, ties deny, and a denial raises the floor.

    In whatever order statements come, and however often, consent, objection and floor end the same. What a
    statement destroys is returned: a denial at or after the standing statement ends the generation; one that
    arrives late ends it only if it holds something as old, and leaves the newer grant standing.
    """
    was = state.purpose(said.purpose)
    now = _granted(was, said) if said.granted else _denied(was, said)
    if now is was:
        return state, ()
    ended: tuple[Ended, ...] = ()
    if was.key is not None and now.key is None:
        ended = (Ended(purpose=said.purpose, generation=was.generation, key=was.key),)
    return state.having(said.purpose, now), ended


def _granted(was: PurposeState, said: Statement) -> PurposeState:
    if said.at <= was.stated_at:
        return was
    return replace(was, granted=True, objected=False, stated_at=said.at)


def _denied(was: PurposeState, said: Statement) -> PurposeState:
    floor = Micros(max(was.floor, said.at))
    if said.at < was.stated_at:
        old = was.oldest is not None and was.oldest <= said.at
        if floor == was.floor and not (old and was.key is not None):
            return was
        late = replace(was, floor=floor)
        return without_key(late) if old else late
    again = was.granted is False and said.at == was.stated_at
    objected = said.objection or (again and was.objected)
    if again and objected == was.objected and was.key is None:
        return was
    denied = replace(was, granted=False, objected=objected, stated_at=said.at, floor=floor)
    return without_key(denied)


def without_key(state: PurposeState) -> PurposeState:
    """Return the state with no living generation; the caller owes what follows from that."""
    return replace(state, key=None, generation=0, oldest=None, due=None)


def admit(state: SubjectState | None, purpose: Purpose, at: Micros) -> str | None:
    """Return why something collected at `at` may not be sealed for this purpose, or None where it may.

    A restriction does not stop sealing (GDPR Art. 18 (2) lets data be stored), it stops every use.
    """
    if state is None:
        return "no_consent" if purpose.basis == "consent" else None
    known = state.purpose(purpose.name)
    if state.erased or known.erased:
        return "erased"
    denied = _denial(known, purpose.basis)
    if denied is not None:
        return denied
    if at <= known.floor:
        return "objected" if purpose.basis in OBJECTABLE else "withdrawn"
    return None


def kept(state: SubjectState | None, purpose: Purpose, generation: int) -> Closed | None:
    """Return why what was sealed under this generation is gone, or None where it is held, in use or not.

    Somebody unknown and somebody erased look the same.
    """
    if state is None or state.erased:
        return Closed(code="unknown")
    known = state.purpose(purpose.name)
    if known.key is None or known.generation != generation:
        return _ended(known)
    return None


def usable(state: SubjectState | None, purpose: Purpose, generation: int) -> Closed | None:
    """Return why what was sealed under this generation may not be used now, or None where it may."""
    gone = kept(state, purpose, generation)
    if gone is not None or state is None:
        return gone
    known = state.purpose(purpose.name)
    if known.restricted:
        return Closed(code="restricted")
    denied = _denial(known, purpose.basis)
    if denied is not None:
        return Closed(code=denied, cause=_CAUSES.get(denied), since=known.stated_at)
    return None


_CAUSES: dict[str, Cause] = {"withdrawn": "withdrawal", "objected": "objection"}


def _ended(known: PurposeState) -> Closed:
    if known.erased or known.floor == NEVER:
        return Closed(code="unknown")
    code = "objected" if known.objected else "withdrawn"
    return Closed(code=code, cause=_CAUSES[code], since=known.floor)


def _denial(known: PurposeState, basis: str) -> str | None:
    if basis == "consent" and known.granted is not True:
        if known.granted is None:
            return "no_consent"
        return "objected" if known.objected else "withdrawn"
    if basis in OBJECTABLE and known.granted is False:
        return "objected"
    return None


def with_key(state: SubjectState, purpose: str, at: Micros, new_key: Callable[[], bytes]) -> SubjectState:
    """Make sure a generation lives that may hold something collected at `at`; no number is used twice."""
    known = state.purpose(purpose)
    if known.key is None:
        number = known.last_generation + 1
        born = replace(known, key=new_key(), generation=number, last_generation=number, oldest=at)
        return state.having(purpose, born)
    if known.oldest is not None and known.oldest <= at:
        return state
    return state.having(purpose, replace(known, oldest=at))
