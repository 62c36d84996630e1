"""The fold, admission and use of what is known of a person: pure, checked by properties and tables."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.ids import Micros, SubjectNumber
from tests.unit.vault.worlds import Plan
from vault.subjects import admit, fold, resolve, usable, with_key, without_key
from vault.values import CLOCK_SLACK, NEVER, AliasRow, Closed, Ended, PurposeState, Statement, SubjectState

SOMEBODY = SubjectState(number=SubjectNumber(1))
TIMES = st.integers(0, 6).map(Micros)
STATEMENTS = st.builds(
    lambda granted, at, objection: Statement(
        purpose="p", granted=granted, at=at, objection=objection and not granted
    ),
    st.booleans(),
    TIMES,
    st.booleans(),
)


def key() -> bytes:
    """A key that needs not be secret here."""
    return bytes(32)


def said(granted: bool, at: int, *, objection: bool = False) -> Statement:
    """A statement about purpose p."""
    return Statement(purpose="p", granted=granted, at=Micros(at), objection=objection)


def folded(*statements: Statement, state: SubjectState = SOMEBODY) -> SubjectState:
    """What statements in this order make of a person."""
    for each in statements:
        state, _ = fold(state, each)
    return state


# ---- the fold ----------------------------------------------------------------------------------------------
@given(st.lists(STATEMENTS, max_size=5))
def test_the_order_of_statements_changes_nothing(statements: list[Statement]) -> None:
    """Consent, objection and floor end the same in every order."""
    assert len({_facts(folded(*order)) for order in permutations(statements)}) == 1


@given(st.lists(STATEMENTS, max_size=6))
def test_saying_it_again_changes_nothing(statements: list[Statement]) -> None:
    """Redelivery of any statement, in any number, is the same state, and ends nothing."""
    once = folded(*statements)
    for each in statements:
        assert fold(once, each) == (once, ())


@given(st.lists(STATEMENTS, min_size=1, max_size=6))
def test_the_latest_wins_ties_deny_and_denials_raise_the_floor(statements: list[Statement]) -> None:
    """The fold equals its definition over the set of statements."""
    latest = max(s.at for s in statements)
    standing = [s for s in statements if s.at == latest]
    state = folded(*statements).purpose("p")
    denied = [s for s in standing if not s.granted]
    assert state.granted is (not denied)
    assert state.objected is any(s.objection for s in denied)
    assert state.stated_at == latest
    assert state.floor == max((s.at for s in statements if not s.granted), default=NEVER)


@given(st.lists(STATEMENTS, max_size=4), TIMES, STATEMENTS)
def test_a_denial_ends_what_is_as_old_and_what_stands_on_older_consent(
    before: list[Statement], collected: Micros, then: Statement
) -> None:
    """A generation ends exactly when a denial is not older than what stands, or the key holds as old."""
    state = with_key(folded(*before), "p", collected, key)
    was = state.purpose("p")
    after, ended = fold(state, then)
    dies = not then.granted and (then.at >= was.stated_at or collected <= then.at)
    assert ended == ((Ended(purpose="p", generation=1, key=key()),) if dies else ())
    assert (after.purpose("p").key is None) is dies
    assert after.purpose("p").last_generation == 1


def test_one_purpose_says_nothing_about_another() -> None:
    """A denial of p leaves q's key and consent alone (invariant 12)."""
    state = with_key(with_key(SOMEBODY, "p", Micros(1), key), "q", Micros(1), key)
    after, ended = fold(state, said(False, 2))
    assert [e.purpose for e in ended] == ["p"] and after.purpose("q") == state.purpose("q")


def test_a_late_withdrawal_leaves_the_newer_grant_and_ends_older_data() -> None:
    """Consent stands, floor rises, the generation that holds as old ends."""
    state = with_key(folded(said(True, 5)), "p", Micros(1), key)
    after, ended = fold(state, said(False, 3))
    assert after.purpose("p").granted and after.purpose("p").floor == 3 and len(ended) == 1
    young = with_key(folded(said(True, 5)), "p", Micros(4), key)
    assert fold(young, said(False, 3))[1] == ()


def _facts(state: SubjectState) -> tuple[object, ...]:
    held = state.purpose("p")
    return (held.granted, held.objected, held.stated_at, held.floor)


# ---- generations -------------------------------------------------------------------------------------------
def test_generations_are_numbered_once() -> None:
    """A new generation after an end has a new number and a new key; while one lives it stays."""
    first = with_key(SOMEBODY, "p", Micros(5), lambda: b"1" * 32)
    assert first.purpose("p").generation == 1
    older = with_key(first, "p", Micros(3), key)
    assert (older.purpose("p").oldest, older.purpose("p").key) == (3, b"1" * 32)
    assert with_key(older, "p", Micros(4), key) is older
    again = with_key(first.having("p", without_key(first.purpose("p"))), "p", Micros(9), lambda: b"2" * 32)
    held = again.purpose("p")
    assert (held.generation, held.last_generation, held.key, held.oldest) == (2, 2, b"2" * 32, 9)


# ---- admission ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "basis", "at", "code"),
    [
        (None, "consent", 1, "no_consent"),
        (None, "contract", 1, None),
        (SOMEBODY, "consent", 1, "no_consent"),
        (SOMEBODY, "legitimate_interests", 1, None),
        (folded(said(True, 5)), "consent", 3, None),
        (folded(said(False, 5)), "consent", 7, "withdrawn"),
        (folded(said(False, 5, objection=True)), "consent", 7, "objected"),
        (folded(said(False, 5, objection=True)), "legitimate_interests", 7, "objected"),
        (folded(said(False, 5)), "public_task", 7, "objected"),
        (folded(said(False, 5)), "contract", 7, None),
        (folded(said(False, 5), said(True, 6)), "consent", 5, "withdrawn"),
        (folded(said(False, 5), said(True, 6)), "consent", 6, None),
        (folded(said(False, 5), said(True, 6)), "legitimate_interests", 4, "objected"),
        (replace(SOMEBODY, erased=True), "contract", 9, "erased"),
        (SOMEBODY.having("p", PurposeState(erased=True)), "contract", 9, "erased"),
        (SOMEBODY.having("p", PurposeState(restricted=True)), "contract", 9, None),
    ],
)
def test_admission(state: SubjectState | None, basis: str, at: int, code: str | None) -> None:
    """What may be sealed: basis, consent, objection, floor and erasure; restriction does not stop storing."""
    assert admit(state, Plan(name="p", basis=basis), Micros(at)) == code


@pytest.mark.parametrize("basis", ["consent", "legitimate_interests", "contract"])
@given(statements=st.lists(STATEMENTS, max_size=5), at=TIMES)
def test_nothing_at_or_below_the_floor_is_ever_admitted(
    basis: str, statements: list[Statement], at: Micros
) -> None:
    """Whatever was said in whatever order, what is as old as a denial stays out (promise 7c)."""
    denied = [s.at for s in statements if not s.granted]
    if denied and at <= max(denied):
        assert admit(folded(*statements), Plan(name="p", basis=basis), at) is not None or basis == "contract"


# ---- use ---------------------------------------------------------------------------------------------------
LIVE = with_key(folded(said(True, 1)), "p", Micros(2), key)


@pytest.mark.parametrize(
    ("state", "basis", "generation", "closed"),
    [
        (None, "consent", 1, Closed(code="unknown")),
        (replace(LIVE, erased=True), "consent", 1, Closed(code="unknown")),
        (LIVE, "consent", 1, None),
        (LIVE, "consent", 2, Closed(code="unknown")),
        (
            folded(said(False, 5), state=LIVE),
            "consent",
            1,
            Closed(code="withdrawn", cause="withdrawal", since=Micros(5)),
        ),
        (
            folded(said(False, 5, objection=True), state=LIVE),
            "legitimate_interests",
            1,
            Closed(code="objected", cause="objection", since=Micros(5)),
        ),
        (
            with_key(folded(said(False, 5), said(True, 6), state=LIVE), "p", Micros(7), key),
            "consent",
            1,
            Closed(code="withdrawn", cause="withdrawal", since=Micros(5)),
        ),
        (
            LIVE.having("p", replace(LIVE.purpose("p"), restricted=True)),
            "consent",
            1,
            Closed(code="restricted"),
        ),
        (with_key(SOMEBODY, "p", Micros(1), key), "consent", 1, Closed(code="no_consent", since=NEVER)),
        (with_key(SOMEBODY, "p", Micros(1), key), "contract", 1, None),
        (
            SOMEBODY.having("p", PurposeState(last_generation=1, floor=Micros(5), erased=True)),
            "consent",
            1,
            Closed(code="unknown"),
        ),
    ],
)
def test_use(state: SubjectState | None, basis: str, generation: int, closed: Closed | None) -> None:
    """What may be used: the living generation, unless restricted or denied; unknown and erased are alike."""
    assert usable(state, Plan(name="p", basis=basis), generation) == closed


# ---- identifiers -------------------------------------------------------------------------------------------
def row(name: bytes, subject: int | None, until: int | None = None) -> AliasRow:
    """One identifier's row."""
    number = None if subject is None else SubjectNumber(subject)
    return AliasRow(
        hash=name, subject=number, since=Micros(0), until=None if until is None else Micros(until)
    )


def test_resolving_names_people_and_closes() -> None:
    """Open rows name people in order; a closed one reaches `until` and the slack, whoever else is named."""
    assert resolve([], Micros(1)).subjects == ()
    rows = [row(b"a", 2), row(b"b", 1), row(b"b", None, 10)]
    found = resolve(rows, Micros(10 + CLOCK_SLACK))
    assert (found.subjects, found.closed, found.shared) == ((1, 2), True, False)
    assert not resolve(rows, Micros(11 + CLOCK_SLACK)).closed
    assert resolve([row(b"a", 1), row(b"a", 2)], Micros(1)).shared
    assert resolve([row(b"a", 1, 5), row(b"a", 2)], Micros(9 + CLOCK_SLACK)).subjects == (2,)
