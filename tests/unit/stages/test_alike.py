"""Events judged by what they have in common with others are judged as each is by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import codec
from schemas.ids import EventId, Micros, SubjectNumber
from schemas.models import ConsentStatement, CookieObserved, EmailOpened, FormSubmitted, Identifier
from schemas.policy import compile_plan, load
from schemas.times import rfc3339
from streams import tagging
from streams.alike import Alike
from streams.correcting import CorrectionJudge
from streams.intake import TOPICS, Arrived, IntakeReader
from streams.planbook import PlanBook
from streams.ports import Inbound
from streams.stage import Part
from streams.tagplan import TagWork
from streams.tagstage import TagJudge
from tests.unit.stages.world import SECOND, START, World
from vault import tokens
from vault.ending import erase
from vault.handles import alias_hash
from vault.port import Tx
from vault.values import AliasRow, PolicyRow

IDS, EXAMPLES = count(1), count(1)
PEOPLE = ("ann@example.com", "bob@example.com", "eve@example.com")
NOW = Micros(START + 100 * SECOND)
CHANGED = Micros(NOW - 4 * SECOND)
"""When a second version of the policy comes into force, and up to when people are erased."""
SECOND_VERSION = (
    ("version: 1", "version: 2"),
    ("effective: 2024-01-01", f"effective: {rfc3339(CHANGED)}"),
    ("purposes: [answer, news, profile, opens]", "purposes: [news, profile, opens]"),
    ("fields: [email, name, message, country]", "fields: [email, name, country]"),
    ("retention: {after: last_activity", "opt_out: gpc\n    retention: {after: last_activity"),
    ("sites: [shop]", "sites: [www]"),
)


class Undone(Exception):
    """Rolls a transaction back."""


def _undo(undo: bool) -> None:
    if undo:
        raise Undone


class Nobody(Alike):
    """Finds no event like another."""

    def entry(self, each: Arrived) -> None:
        """Leave everything to the plain version."""


TIMES = st.integers(NOW - 9 * SECOND, NOW + SECOND).map(Micros)
"""Across several periods of every purpose, in no order."""
CONSENTS = st.lists(
    st.builds(
        ConsentStatement,
        purpose=st.sampled_from(("news", "opens", "analytics")),
        granted=st.sampled_from((True, True, False)),
    ),
    max_size=3,
)
SIGNALS = st.sampled_from(([], [], ["gpc"], ["bot:fast"]))
FIELDS = st.dictionaries(
    st.sampled_from(("email", "name", "message", "country", "website")),
    st.sampled_from(("a@b.example", "x")),
    max_size=4,
)


def forms() -> st.SearchStrategy[FormSubmitted]:
    """Forms of few people, as the policy knows them or not quite."""
    return st.builds(
        FormSubmitted,
        event_id=st.just(EventId(bytes(16))),
        collected_at=TIMES,
        site=st.sampled_from(("www", "www", "shop")),
        form=st.sampled_from(("contact", "contact", "order")),
        identifiers=st.lists(
            st.sampled_from(PEOPLE).map(lambda email: Identifier(kind="email", value=email)), max_size=2
        ),
        fields=FIELDS,
        consents=CONSENTS,
        signals=SIGNALS,
    )


def cookies() -> st.SearchStrategy[CookieObserved]:
    """Cookies of few browsers."""
    return st.builds(
        CookieObserved,
        event_id=st.just(EventId(bytes(16))),
        collected_at=TIMES,
        site=st.just("www"),
        cookie_id=st.sampled_from(("c-1", "c-2", None)),
        name=st.just("view"),
        url=st.just("https://www.example.com/"),
        properties=st.sampled_from(({}, {"campaign": "spring"})),
        consents=CONSENTS,
        signals=SIGNALS,
    )


def opens() -> st.SearchStrategy[EmailOpened]:
    """Openings of the mails of two people, which `Twins.part` gives their tokens."""
    return st.builds(
        EmailOpened,
        event_id=st.just(EventId(bytes(16))),
        collected_at=TIMES,
        site=st.just("www"),
        token=st.sampled_from(("0", "1")),
        open_kind=st.just("direct"),
        ip=st.sampled_from((None, "192.0.2.7")),
    )


class Twins:
    """One vault on which each chunk is judged twice: plainly, which is undone, and as the product does."""

    def __init__(self) -> None:
        self.world = World()
        self.world.vault.clock.set_manual(NOW)
        text = self.world.text
        for was, becomes in SECOND_VERSION:
            assert was in text
            text = text.replace(was, becomes)
        plan = compile_plan(load(text, where="policy"))
        row = PolicyRow(version=plan.version, effective=plan.effective, sha256=plan.sha256, body=text)
        with self.world.vault.transaction() as tx:
            tx.put_policy(row)
        self.reader = IntakeReader(vault=self.world.vault, pixel_keys=self.world.pixel_keys)
        self.plans = PlanBook(self.world.vault)()
        self.example = 0

    def begin(self) -> None:
        """Let everybody be somebody new."""
        self.example = next(EXAMPLES)

    def _message(self, n: int) -> bytes:
        return self.example.to_bytes(8, "big") + n.to_bytes(8, "big")

    def mail(self) -> None:
        """Let the mails lead to whoever is known."""
        key = self.world.vault.secrets.alias
        with self.world.vault.transaction() as tx:
            for n, email in enumerate(PEOPLE[:2]):
                name = alias_hash(key, "email", f"{self.example}.{email}")
                mail = alias_hash(key, "token", self._message(n).hex())
                rows = tx.aliases([name]).get(name, ())
                known = [row.subject for row in rows if row.subject is not None and row.until is None]
                tx.put_aliases([AliasRow(hash=mail, subject=each, since=tx.now) for each in known[:1]])

    def erase(self, email: str, keep: tuple[str, ...]) -> None:
        """Erase somebody up to when the second version came into force."""
        name = alias_hash(self.world.vault.secrets.alias, "email", f"{self.example}.{email}")
        with self.world.vault.transaction() as tx:
            erase(tx, [name], CHANGED, self.world.around.herald(self.plans), keep=keep)

    def _own(self, event: tagging.Event) -> tagging.Event:
        event = replace(event, event_id=EventId(next(IDS).to_bytes(16, "big")))
        if isinstance(event, FormSubmitted):
            named = [replace(i, value=f"{self.example}.{i.value}") for i in event.identifiers]
            return replace(event, identifiers=named)
        if isinstance(event, CookieObserved):
            return (
                event
                if event.cookie_id is None
                else replace(event, cookie_id=f"{self.example}{event.cookie_id}")
            )
        keys, day = self.world.pixel_keys, tokens.expiry_day(NOW, 3)
        message = self._message(int(event.token))
        return replace(event, token=tokens.mint(keys, site="www", message_id=message, expires_day=day))

    def part(self, events: list[tagging.Event]) -> Part:
        """A part of these events, each with an id of its own."""
        values = [codec.encode(self._own(event)) for event in events]
        records = [Inbound(n, NOW // 1000, None, value) for n, value in enumerate(values)]
        return Part(TOPICS[type(events[0])], "00", 0, records)

    def judged(self, part: Part, judge: TagJudge, *, undo: bool) -> tuple[object, ...]:
        """What is decided, and how the people stand then."""
        arrived = self.reader.part(part, self.plans, frozenset())
        found: list[tuple[object, ...]] = []
        with suppress(Undone), self.world.vault.transaction() as tx:
            found.append(self._seen(tx, arrived, judge.decide(tx, [arrived], self.plans)))
            _undo(undo)
        return found[0]

    def _seen(self, tx: Tx, arrived: list[Arrived], work: TagWork) -> tuple[object, ...]:
        aliases = tx.aliases({hash_ for each in arrived for hash_ in each.hashes})
        rows = [row for found in aliases.values() for row in found]
        numbers = {row.subject for row in rows if row.subject is not None}
        # Numbers follow the wall clock: who is the how many-th is the same.
        order = {number: SubjectNumber(n) for n, number in enumerate(sorted(numbers))}
        (planned,) = work.planned
        plan = {n: replace(e, subject=order.get(e.subject or SubjectNumber(0))) for n, e in planned.items()}
        states = [replace(state, number=order[n]) for n, state in sorted(tx.subjects(numbers).items())]
        buckets = {key.link.bucket for item in work.items for key in item.keys}
        linked = sorted(
            (row.hash, order.get(row.subject or SubjectNumber(0)), row.since, row.until) for row in rows
        )
        return plan, linked, states, buckets, work.owes


def judge(world: World, alike: type[Alike]) -> TagJudge:
    """A judge whose keys are numbers, so that two of them make the same."""
    keys: Iterator[int] = count(1)
    around = world.around
    corrections = CorrectionJudge(keys=around.keys, herald=around.herald, own_key="")
    return TagJudge(
        new_key=lambda: next(keys).to_bytes(32, "big"),
        herald=around.herald,
        corrections=corrections,
        alike=alike,
    )


TWINS: list[Twins] = []


EVENTS = st.sampled_from((forms(), cookies(), opens())).flatmap(
    lambda kind: st.lists(kind, min_size=1, max_size=8)
)


def twins() -> Twins:
    """One vault for all examples: to make one takes longer than what is tried on it."""
    if not TWINS:
        TWINS.append(Twins())
    TWINS[0].begin()
    return TWINS[0]


ERASED = st.none() | st.tuples(st.sampled_from(PEOPLE), st.sampled_from(((), ("tax",))))
"""Who is erased behind a chunk, if anybody, and what the law keeps of them."""


@settings(max_examples=60)
@given(st.lists(st.tuples(EVENTS, ERASED), min_size=1, max_size=4))
def test_alike_is_judged_as_plain(
    chunks: list[tuple[list[tagging.Event], tuple[str, tuple[str, ...]] | None]],
) -> None:
    """Whatever came before: the same entries, people, identifiers and buckets."""
    own = twins()
    for events, erased in chunks:
        part = own.part(events)
        plain = own.judged(part, judge(own.world, Nobody), undo=True)
        assert own.judged(part, judge(own.world, Alike), undo=False) == plain
        own.mail()
        if erased is not None:
            own.erase(*erased)


@pytest.mark.parametrize("number", range(12))
def test_many_of_few_sorts_are_judged_as_plain(number: int) -> None:
    """What is kept of a sort is used again across periods, versions of the policy, signals and fields."""
    own, dice = twins(), Random(number)
    for _ in range(4):
        events: list[tagging.Event] = []
        for _ in range(40):
            event = own.world.form(
                email=dice.choice(PEOPLE),
                fields=dice.choice(({"name": "x"}, {"country": "x"}, {"name": "x", "country": "y"})),
                consents={"news": dice.random() < 0.9} if dice.random() < 0.7 else {},
                collected_at=Micros(NOW - dice.randrange(9 * SECOND)),
            )
            signals = dice.choice(([], [], ["gpc"]))
            events.append(replace(event, signals=signals, site=dice.choice(("www", "www", "shop"))))
        part = own.part(events)
        plain = own.judged(part, judge(own.world, Nobody), undo=True)
        assert own.judged(part, judge(own.world, Alike), undo=False) == plain
        if dice.random() < 0.3:
            own.erase(dice.choice(PEOPLE), ())


@pytest.mark.parametrize("new", [True, False])
def test_plain_forms_are_judged_alike(new: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way is taken: a form that consents and names one person never comes to the plain version."""
    own = twins()
    same: list[tagging.Event] = [
        own.world.form(
            email=email, fields={"name": "A"}, consents={"news": True}, collected_at=Micros(NOW - SECOND + n)
        )
        for n, email in enumerate(PEOPLE)
    ]
    if not new:
        own.judged(own.part(same), judge(own.world, Alike), undo=False)
    monkeypatch.setattr(tagging, "tag", None)
    plan = own.judged(own.part(same), judge(own.world, Alike), undo=False)[0]
    assert isinstance(plan, dict) and {entry.fate for entry in plan.values()} == {"tagged"}
