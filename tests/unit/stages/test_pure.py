"""The pure modules by tables and properties: tagging, routing, governing, lapsing, clocks, residue."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lapse.audit.oracle import Account, Happened, excess
from schemas import signing
from schemas.errors import NotFound
from schemas.ids import CommandId, Handle, Micros, Period, RecordId, Slot, SubjectNumber, Terms
from schemas.ids import Sequence as Seq
from schemas.models import (
    AnchorReached,
    Compartment,
    CookieObserved,
    EmailOpened,
    HoldReleased,
    Link,
    PolicyPublished,
    RecordDecided,
    RecordTagged,
    Verdict,
    VerdictGrant,
    Wrap,
)
from schemas.plan import PolicyPlan
from schemas.policy import compile_plan, load
from streams import residue
from streams.clockrules import Reading, judge
from streams.governing import anchored, refusal
from streams.lapsing import brought_forward, decide_lapse
from streams.routing import LinkState, Policies, route
from streams.tagging import (
    Discarded,
    Kept,
    Moment,
    Person,
    Quarantined,
    Tagged,
    identities,
    kind_of,
    moment,
    screen,
    source_of,
    statements,
    tag,
)
from tests.unit.stages.world import POLICY, SECOND, START, World, changed
from vault.values import (
    CLOCK_SLACK,
    BucketId,
    BucketRow,
    Hold,
    Judged,
    ProcessorState,
    PurposeState,
    ResidueCell,
    SubjectState,
)

TEXT = POLICY.read_text(encoding="utf-8")


def planned(*changes: tuple[str, str]) -> PolicyPlan:
    """The tests' policy with some lines changed."""
    text = TEXT
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return compile_plan(load(text, where="policy"))


PLAN = planned()
NUMBER = {purpose.name: purpose.number for purpose in PLAN.purposes}


def person(**purposes: PurposeState) -> Person:
    """Somebody known."""
    return Person(state=SubjectState(number=SubjectNumber(1), purposes=purposes))


def opening(**changes: Any) -> EmailOpened:
    """A mail's clear gif was fetched."""
    made = EmailOpened(
        event_id=RecordId(bytes(16)),  # type: ignore[arg-type]  # sixteen bytes
        collected_at=START,
        site="www",
        token="t",
        open_kind="direct",
    )
    return changed(made, **changes)


def hit(**changes: Any) -> CookieObserved:
    """A browser event."""
    made = CookieObserved(
        event_id=RecordId(bytes(16)),  # type: ignore[arg-type]  # sixteen bytes
        collected_at=START,
        site="www",
        cookie_id="c",
        name="view",
        url="https://www.example.com/",
    )
    return changed(made, **changes)


# ---- tagging -----------------------------------------------------------------------------------------------
@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_effective_time_is_never_after_arrival(collected: int, received: int) -> None:
    """The smaller of the two counts; only what is beyond the clocks' tolerance is flagged."""
    when = moment(Micros(collected), Micros(received))
    assert when.at == min(collected, received)
    assert (when.flag == "clock_future") == (collected > received + CLOCK_SLACK)


@given(st.sets(st.sampled_from(sorted(NUMBER))), st.sets(st.sampled_from(sorted(NUMBER))), st.booleans())
def test_tagging_never_goes_beyond_consent(granted: set[str], denied: set[str], gpc: bool) -> None:
    """No consent purpose is held without a grant, after a denial, or against a signal."""
    form = World.form.__get__(_Now())(signals=["gpc"] if gpc else [])
    said = {
        name: PurposeState(granted=name not in denied, stated_at=Micros(1), floor=Micros(1))
        for name in granted | denied
    }
    verdict = tag(form, PLAN, person(**said), START, Moment(at=START))
    assert isinstance(verdict, Tagged), "the contract holds whatever is said"
    names = {PLAN.purposes[bound.purpose].name for bound in verdict.bounds}
    assert "answer" in names
    assert names <= {"answer", "news", "profile"}, "openings have no field in a form"
    assert ("news" in names) == ("news" in granted - denied and not gpc)
    assert ("profile" in names) == ("profile" not in denied)
    assert [bound.purpose for bound in verdict.bounds] == sorted(bound.purpose for bound in verdict.bounds)
    assert verdict.mask == sum(1 << NUMBER[name] for name in names)


class _Now:
    class vault:  # stands where a world has its vault
        class clock:  # and its clock
            @staticmethod
            def now() -> Micros:
                return START


def test_who_may_be_new() -> None:
    """Openings never create anybody; forms do unless they name nobody."""
    nobody = Person(state=None)
    assert tag(opening(), PLAN, nobody, START, Moment(at=START)) == Discarded(code="no_subject")
    form = World.form.__get__(_Now())()
    assert tag(form, PLAN, Person(state=None, may_be_new=False), START, Moment(at=START)) == Discarded(
        code="no_subject"
    )
    assert isinstance(tag(form, PLAN, nobody, START, Moment(at=START)), Tagged)
    assert tag(form, PLAN, Person(state=None, erased=True), START, Moment(at=START)) == Discarded(
        code="erased"
    )


def test_buckets_that_take_nothing() -> None:
    """What is due, or shut although not due, is lapsed."""
    form = World.form.__get__(_Now())()
    late = tag(form, PLAN, Person(state=None), Micros(START + 100 * SECOND), Moment(at=START))
    assert late == Discarded(code="lapsed")

    class All:
        def __contains__(self, _: object) -> bool:
            return True

    assert tag(form, PLAN, Person(state=None), START, Moment(at=START), All()) == Discarded(code="lapsed")


@pytest.mark.parametrize(
    ("plan", "state", "expected"),
    [
        (PLAN, {}, Kept()),
        (PLAN, {"opens": PurposeState(granted=True, stated_at=Micros(1))}, Tagged),
        (PLAN, {"opens": PurposeState(granted=False, stated_at=Micros(1))}, Kept()),
        (PLAN, {"reach": PurposeState(granted=False, objected=True)}, Discarded(code="objected")),
        (replace(PLAN, pixel_mode="date_only"), {"opens": PurposeState(granted=True)}, Kept()),
        (replace(PLAN, last_open=None), {}, Discarded(code="no_consent")),
    ],
)
def test_what_an_opening_leaves(plan: PolicyPlan, state: dict[str, PurposeState], expected: Any) -> None:
    """A record with consent, a date without, nothing where that was objected to or has no purpose."""
    verdict = tag(opening(), plan, person(**state), START, Moment(at=START))
    assert isinstance(verdict, expected) if isinstance(expected, type) else verdict == expected


def test_screening_needs_a_policy_and_a_source() -> None:
    """Before the first policy nothing has a basis; sites and sources must be known, suspects may pass."""
    assert screen(hit(), None, START) == Discarded(code="no_basis")
    assert screen(hit(site="x"), PLAN, START) == Discarded(code="unknown_source")
    assert screen(opening(), PLAN, START) is None
    assert screen(hit(signals=["bot:rate"]), PLAN, START) == Quarantined(code="bot")
    assert screen(hit(signals=["bot:rate"]), PLAN, START, trusted=True) is None
    forms_only = {name: source for name, source in PLAN.sources.items() if name != "cookie"}
    assert screen(hit(), replace(PLAN, sources=forms_only), START) == Discarded(code="unknown_source")


def test_what_events_are_called() -> None:
    """Sources, kinds and identifiers of each kind of event."""
    form = World.form.__get__(_Now())()
    assert [source_of(event) for event in (form, opening(), hit())] == [
        "form/contact",
        "email-open",
        "cookie",
    ]
    assert [kind_of(event) for event in (form, opening(), hit())] == ["form", "email-open", "cookie"]
    assert identities(opening(), None, "m") == (("token", "m"),)
    assert identities(opening(), None) == ()
    assert identities(hit(cookie_id=None), None) == ()
    assert identities(changed(form, identifiers=[]), PLAN.sources["form/contact"]) == (
        ("email", "ann@example.com"),
    )
    assert identities(changed(form, identifiers=[], fields={}), PLAN.sources["form/contact"]) == ()
    assert statements(opening(), PLAN, START) == ()


# ---- routing -----------------------------------------------------------------------------------------------
def record(purposes: list[str], categories: list[str]) -> RecordTagged:
    """A record of one compartment."""
    links = [
        Link(purpose=NUMBER[p], period=Period(0), terms=Terms(1), handle=Handle(bytes(16))) for p in purposes
    ]
    return RecordTagged(
        record_id=RecordId(bytes(16)),
        revision=1,
        source="form/contact",
        schema_id=1,
        policy=1,
        tagged_at=START,
        slot=Slot(0),
        links=links,
        compartments=[
            Compartment(
                categories=[PLAN.category_id(c) for c in categories],
                sealed=b"",
                wraps=[Wrap(link=n, key=b"") for n in range(len(links))],
            )
        ],
    )


APPROVED = {name: ProcessorState(name=name, approved=True) for name in ("crm", "mailer")}
EMAIL, NAME = "user.contact.email", "user.name"


def refused(decision: Any, processor: str) -> set[str]:
    """Codes by which a processor is refused something."""
    number = PLAN.processor_numbers[processor]
    return {r.code for v in decision.verdicts if v.processor == number for r in v.refusals}


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (None, "not_approved"),
        (ProcessorState(name="crm"), "not_approved"),
        (ProcessorState(name="crm", approved=True, suspended=True), "suspended"),
        (ProcessorState(name="crm", approved=True, assurance_until=START), "assurance_ended"),
    ],
)
def test_processors_that_may_have_nothing(state: ProcessorState | None, code: str) -> None:
    """Each reason is the code of every refusal."""
    states = {"crm": state} if state else {}
    decision = route(record(["news"], [EMAIL]), Policies(then=PLAN, today=PLAN), [LinkState()], states, START)
    assert decision.outcome == "routed"
    assert refused(decision, "crm") == {code}


def test_both_policies_must_allow() -> None:
    """A processor, purpose, category or grant that today's policy has dropped is granted no more."""
    asked = record(["answer", "news"], [EMAIL, NAME])
    links = [LinkState(), LinkState()]
    cases = {
        "same": (PLAN, {EMAIL, NAME}),
        "grant": (
            planned(("      answer: [user.contact, user.name]\n", "      answer: [user.name]\n")),
            {NAME, EMAIL},
        ),
        "category": (planned(("      news: [user.contact.email]\n", "")), {EMAIL, NAME}),
    }
    for today, expected in cases.values():
        decision = route(asked, Policies(then=PLAN, today=today), links, APPROVED, START)
        grants = [g for v in decision.verdicts if v.processor == 0 for g in v.grants]
        assert {PLAN.categories[c] for g in grants for c in g.categories} == expected
    gone = planned(("version: 1", "version: 2"), ("  crm:\n", "  other:\n"))
    decision = route(asked, Policies(then=PLAN, today=gone), links, APPROVED, START)
    assert refused(decision, "crm") == {"not_granted"}


def test_today_may_have_dropped_what_was_granted() -> None:
    """Each part of today's policy that no longer supports a grant takes it away."""
    asked, links = record(["answer"], [EMAIL, NAME]), [LinkState()]
    answer = PLAN.purpose("answer")
    narrow = replace(answer, categories=answer.categories - {PLAN.category_id(EMAIL)})
    no_contact = replace(PLAN, purposes=(narrow, *PLAN.purposes[1:]))
    decision = route(asked, Policies(then=PLAN, today=no_contact), links, APPROVED, START)
    grants = [g for v in decision.verdicts if v.processor == 0 for g in v.grants]
    assert {PLAN.categories[c] for g in grants for c in g.categories} == {NAME}
    crm = replace(PLAN.processor("crm"), suspended="no safeguard any more")
    suspended = replace(PLAN, processors=(crm, *PLAN.processors[1:]))
    renamed = replace(PLAN, purpose_numbers={name: n for name, n in NUMBER.items() if name != "answer"})
    decision = route(asked, Policies(then=PLAN, today=renamed), links, APPROVED, START)
    assert refused(decision, "crm") == {"not_granted"}
    decision = route(asked, Policies(then=PLAN, today=suspended), links, APPROVED, START)
    assert refused(decision, "crm") == {"suspended"}


def test_dead_links_and_superseded_records() -> None:
    """The last dead link expires a record under the weightiest code; a superseded one goes nowhere."""
    asked = record(["answer", "news"], [EMAIL])
    both = Policies(then=PLAN, today=PLAN)
    dead = [LinkState(closed="erased"), LinkState(closed="withdrawn", denied=True)]
    decision = route(asked, both, dead, APPROVED, START)
    assert (decision.outcome, decision.code, decision.verdicts) == ("expired", "withdrawn", ())
    assert decision.state == 3 << 2 * NUMBER["answer"] | 2 << 2 * NUMBER["news"]
    half = [LinkState(), LinkState(closed="withdrawn")]
    assert "withdrawn" in refused(route(asked, both, half, APPROVED, START), "crm")
    old = route(asked, both, [LinkState(), LinkState()], APPROVED, START, superseded=True)
    assert refused(old, "crm") == {"superseded"}
    kept = route(asked, both, [LinkState(restricted=True), LinkState(restricted=True)], APPROVED, START)
    assert refused(kept, "crm") == {"restricted"}


@given(
    st.lists(st.sampled_from(["answer", "news", "profile"]), min_size=1, max_size=3, unique=True),
    st.sets(st.sampled_from([EMAIL, NAME, "user.contact.address.country"]), min_size=1),
    st.sets(st.sampled_from(["crm", "mailer"])),
)
def test_the_oracle_finds_nothing_beyond_the_policy(
    purposes: list[str], categories: set[str], approved: set[str]
) -> None:
    """Whatever is routed, what is granted stands in the policy as written."""
    asked = record(sorted(purposes, key=NUMBER.__getitem__), sorted(categories))
    states = {name: APPROVED[name] for name in approved}
    decision = route(asked, Policies(then=PLAN, today=PLAN), [LinkState()] * len(purposes), states, START)
    entry = entry_of(asked, list(decision.verdicts))
    assert excess(entry, TEXT, TEXT) == []
    granted = {v.processor for v in decision.verdicts if v.grants}
    assert granted <= {PLAN.processor_numbers[name] for name in approved}


def entry_of(asked: RecordTagged, verdicts: list[Verdict], **changes: Any) -> RecordDecided:
    """The entry of a record."""
    made = RecordDecided(
        record_id=asked.record_id,
        revision=1,
        source=asked.source,
        policy=1,
        control_offset=0,
        state=0,
        decided_at=START,
        outcome="routed",
        slot=Slot(0),
        links=asked.links,
        verdicts=verdicts,
    )
    return changed(made, **changes)


def test_the_oracle_finds_what_goes_beyond() -> None:
    """Another source's purpose, a category too many, a purpose not granted, a grant of what expired."""
    asked = record(["news"], [EMAIL, NAME])
    numbers = [PLAN.category_id(EMAIL), PLAN.category_id(NAME)]
    given_ = [Verdict(processor=0, grants=[VerdictGrant(link=0, categories=numbers)], refusals=[])]
    assert len(excess(entry_of(asked, given_), TEXT)) == 1
    assert len(excess(entry_of(asked, given_), TEXT, TEXT)) == 2
    assert len(excess(entry_of(asked, given_, outcome="expired"), TEXT)) == 2
    for source, found in [
        ("form/order", 2),
        ("form/gone", 2),
        ("cookie", 2),
        ("email-open", 2),
        ("form/contact", 1),
    ]:
        assert len(excess(entry_of(asked, given_, source=source), TEXT)) == found
    other = record(["profile"], [NAME])
    assert (
        len(
            excess(
                entry_of(
                    other,
                    [
                        Verdict(
                            processor=0, grants=[VerdictGrant(link=0, categories=[numbers[1]])], refusals=[]
                        )
                    ],
                ),
                TEXT,
            )
        )
        == 1
    )
    with pytest.raises(NotFound):
        excess(entry_of(asked, given_, policy=2), TEXT)
    dates = TEXT.replace("mode: individual", "mode: date_only").replace(
        "      opens: [user.unique_id, user.behavior]\n", ""
    )
    opens = record(["opens"], [EMAIL])
    assert len(excess(entry_of(opens, [], source="email-open"), TEXT)) == 0
    assert len(excess(entry_of(opens, [], source="email-open"), dates)) == 1


def test_the_oracle_s_account() -> None:
    """What forbids, what requires: due, denied, erased, never consented, a signal, what the law keeps."""
    account = Account(TEXT)
    event = Happened(
        person="a",
        source="form/contact",
        at=100,
        received=100,
        fields=frozenset({"email"}),
        grants=frozenset({"news"}),
    )
    assert account.forbids(event, "news", 200) == "never consented"
    account.says("a", "news", granted=True, at=100)
    assert account.forbids(event, "news", 200) is None
    assert account.requires(event, "news", 200)
    assert account.forbids(event, "tax", 200) == "not stated"
    assert account.forbids(event, "news", 10**9) == "due"
    assert not account.requires(event, "opens", 200)
    assert not account.requires(changed_(event, fields=frozenset({"shoe", "country"})), "news", 200)
    assert not account.requires(changed_(event, received=10**9), "news", 200)
    gpc = changed_(event, signals=frozenset({"gpc"}))
    assert account.forbids(gpc, "news", 200) == "signal"
    account.says("a", "news", granted=False, at=150)
    assert account.forbids(event, "news", 200) == "withdrawn at or after collection"
    later = changed_(event, at=180)
    assert account.forbids(later, "news", 200) is None
    assert not account.requires(later, "news", 200), "somebody changed their mind: nothing is promised"
    account.erases("a", 150)
    assert account.forbids(event, "answer", 200) == "erased"
    order = changed_(event, source="form/order")
    assert account.forbids(order, "tax", 200) is None
    account.restricted.add(("b", "answer"))
    assert not account.requires(changed_(event, person="b"), "answer", 200)


def changed_(event: Happened, **changes: Any) -> Happened:
    """An event with some fields replaced."""
    return replace(event, **changes)


def test_the_oracle_reads_reviews() -> None:
    """A purpose held until a review lapses then, whatever its period."""
    text = TEXT.replace("retention: {for: PT90S}", "retention: {until_review: 2030-01-01}").replace(
        "short: PT5M", "short: P20Y"
    )
    account = Account(text)
    event = Happened(person="a", source="form/order", at=0, received=0, fields=frozenset({"email"}))
    assert account.forbids(event, "tax", 10**12) is None
    assert account.forbids(event, "tax", 2 * 10**15) == "due"


# ---- lapsing -----------------------------------------------------------------------------------------------
def bucket(**changes: Any) -> BucketRow:
    """An open bucket due at 100."""
    made = BucketRow(
        id=BucketId("answer", Period(0), Terms(1)), due=Micros(100), first_seen=Micros(0), last_seen=Micros(0)
    )
    return changed(made, **changes)


@given(st.integers(0, 300), st.integers(0, 300))
def test_an_open_bucket_ends_at_its_due_and_not_before(due: int, now: int) -> None:
    """Never early, never late."""
    assert (decide_lapse(bucket(due=due), [], Micros(now), 10).step == "end") == (now >= due)


@pytest.mark.parametrize(
    ("row", "now", "step"),
    [
        (bucket(state="destroyed"), 500, "keep"),
        (bucket(state="hidden", ended_at=100), 500, "finish"),
        (bucket(state="hidden", due=900, hidden_at=200), 249, "keep"),
        (bucket(state="hidden", due=900, hidden_at=200), 250, "end"),
        (bucket(state="hidden", due=240, hidden_at=200), 239, "keep"),
        (bucket(state="hidden", due=240, hidden_at=200), 240, "end"),
        (bucket(state="hidden", due=900), 500, "keep"),
    ],
)
def test_hidden_buckets(row: BucketRow, now: int, step: str) -> None:
    """The brake's time runs from when it was hidden, to its due at most; what is ended is only finished."""
    assert decide_lapse(row, [], Micros(now), 50).step == step


def test_holds_that_escrow() -> None:
    """Standing holds for the purpose, or for every purpose."""
    holds = [
        Hold(hold_id=b"1", placed_at=Micros(0), purposes=("answer",)),
        Hold(hold_id=b"2", placed_at=Micros(0), purposes=("news",)),
        Hold(hold_id=b"3", placed_at=Micros(0)),
        Hold(hold_id=b"4", placed_at=Micros(0), purposes=("answer",), released_at=Micros(1)),
    ]
    assert decide_lapse(bucket(), holds, Micros(100), 0).holds == (b"1", b"3")


def test_only_shorter_and_living_buckets_come_forward() -> None:
    """Another purpose, other terms, a hidden bucket and a later date change nothing."""
    at = Period(START // (2 * SECOND))
    own = PLAN.purpose("answer").due(at)
    rows = [
        bucket(id=BucketId("answer", at, Terms(1)), due=own + 5),
        bucket(id=BucketId("answer", at, Terms(1)), due=own),
        bucket(id=BucketId("answer", at, Terms(2)), due=own + 5),
        bucket(id=BucketId("gone", at, Terms(1)), due=own + 5),
        bucket(id=BucketId("answer", at, Terms(1)), due=own + 5, state="hidden"),
    ]
    (found,) = brought_forward(PLAN, rows, START)
    assert (found.due, found.hide) == (own + 5, True), "hidden at once, and gone when it was due anyway"
    (later,) = brought_forward(PLAN, rows, Micros(START - 2 * 86_400 * SECOND))
    assert not later.hide


# ---- clocks ------------------------------------------------------------------------------------------------
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 2**30))
def test_time_that_passes_alike_on_both_clocks_is_believed(elapsed: int, start: int, step: int) -> None:
    """However long."""
    before = Reading(wall=Micros(start), steady=0, boot="a")
    assert judge(before, Reading(wall=Micros(start + elapsed), steady=elapsed, boot="a"), step) is None
    assert judge(None, before, step) is None


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (Reading(wall=Micros(1_000), steady=500_000, boot="a"), "stepped back"),
        (Reading(wall=Micros(2_000_000), steady=500, boot="a"), "jumped"),
        (Reading(wall=Micros(0), steady=0, boot="b"), "stepped back"),
        (Reading(wall=Micros(10**12), steady=0, boot="b"), "unwitnessed gap"),
        (Reading(wall=Micros(3_000_000), steady=0, boot="b"), None),
    ],
)
def test_clocks_that_moved(now: Reading, kind: str | None) -> None:
    """Back, ahead, and across a reboot."""
    moved = judge(Reading(wall=Micros(1_000_000), steady=0, boot="a"), now, 1000)
    assert (moved.kind if moved else None) == kind


# ---- residue -----------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 30)), max_size=10))
def test_published_and_carried_are_all(cells: list[tuple[int, int]]) -> None:
    """Nothing is lost, nothing small is published."""
    rows = [
        ResidueCell(period="p", label=str(n), events=max(e, k), people=k) for n, (e, k) in enumerate(cells)
    ]
    done = residue.settle(PLAN.residue, "p", rows, list)
    published = done.published.cells if done.published else []
    assert sum(c.events for c in published) + sum(c.events for c in done.carried) == sum(
        r.events for r in rows
    )
    assert all(cell.people >= 10 for cell in published)
    assert all(cell.people < 10 for cell in done.carried)


def test_periods_sort_by_time() -> None:
    """A period's name is its start; fractions show only where the width has some."""
    assert residue.period_of(PLAN.residue, START) == "2027-01-15T00:00:00Z"
    short = planned(("horizons:\n", "residue: {period: PT0.5S}\nhorizons:\n")).residue
    assert residue.period_of(short, Micros(START + SECOND // 2)) == "2027-01-15T08:00:00.500000Z"


# ---- commands ----------------------------------------------------------------------------------------------
def test_a_command_before_any_policy() -> None:
    """Only the first policy can be published then."""
    secret = os.urandom(32)
    head: dict[str, Any] = {
        "command_id": CommandId(bytes(16)),
        "ordered_by": "a",
        "at": START,
        "key_id": "k",
        "signature": b"",
    }
    keys = {"k": signing.public_key(secret)}
    publish = signing.sign(PolicyPublished(version=1, sha256=b"", body="", **head), secret)
    release = signing.sign(HoldReleased(hold_id=b"", **head), secret)
    assert refusal(publish, keys, None, None) is None
    assert refusal(release, keys, None, None) == "no_basis"
    assert refusal(release, keys, None, PLAN) is None
    judged = Judged(code=None, detail=b"", seq=Seq(1), at=START)
    assert refusal(release, keys, judged, PLAN) == "replayed"
    assert refusal(release, {}, None, PLAN) == "unknown_key"


def test_anchors_that_change_nothing() -> None:
    """Another anchor, a purpose without one, nothing held, and a date already as early."""
    profile, body = PLAN.purpose("profile"), AnchorReached(anchor="last_activity", reached_at=START)
    held = PurposeState(key=b"k", generation=1, oldest=START)
    due = anchored(profile, held, body)
    assert due == START + 10 * SECOND
    assert anchored(profile, changed(held, due=due), body) is None
    assert anchored(profile, changed(held, due=Micros(due + 1)), body) == due
    assert anchored(profile, PurposeState(), body) is None
    assert anchored(profile, held, changed(body, anchor="account_closed")) is None
    assert anchored(PLAN.purpose("news"), held, body) is None
    assert anchored(profile, held, changed(body, reached_at=Micros(START + 10**9))) == START + 60 * SECOND
