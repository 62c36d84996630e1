"""The connector for Stripe over its stand-in: one customer per person, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.calls import Write
from processors.fakes import stripe as fake
from processors.fakes.faults import FaultKind
from processors.fakes.serving import Running
from processors.recipient import Edited, Moved, Post
from processors.stripe import MANIFEST, Stripe
from processors.stripe.customers import SEARCH_LAG
from schemas.errors import BadInput, Refused, Unavailable
from schemas.ids import Micros
from schemas.times import DAY, SECOND
from tests.unit.processors.vendors import KEY, Known, done, erase, fault, retried, write

ANN = {"name": "Ann Canary", "email": "ann@example.org", "street": "Lane 1", "city": "Ulm"}
PREVIEW = "2026-06-24.preview"
START = 1_795_000_000.0


@dataclass
class Clock:
    """The time both sides see."""

    now: float = START

    def seconds(self) -> float:
        """Stripe's."""
        return self.now

    def micros(self) -> Micros:
        """Ours."""
        return Micros(int(self.now * SECOND))


@dataclass
class Set:
    """An account, its connector and their clock."""

    running: Running
    account: fake.Account
    stripe: Stripe
    clock: Clock
    secrets: dict[str, str]

    def again(self, **said: str | int | bool) -> Stripe:
        """Return the connector as a restarted process has it, with other settings."""
        mine = {"base_url": self.running.url, "allow_private": True, **said}
        settings_ = Stripe.settings(mine, self.secrets)
        return Stripe(processor="stripe", settings=settings_, fields=MANIFEST.fields, wall=self.clock.micros)


async def set_up(**said: str | int | bool) -> Set:
    """Start an account whose search never catches up unless told to."""
    secrets, clock = fake.credentials(), Clock()
    running = await fake.start(credentials=secrets)
    account = running.state
    assert isinstance(account, fake.Account)
    account.clock, account.search_lag, account.per_second = clock.seconds, 3000.0, 10_000
    made = Set(running, account, None, clock, secrets)  # type: ignore[arg-type]  # set at once
    made.stripe = made.again(**said)
    return made


@pytest.fixture
async def it() -> AsyncIterator[Set]:
    """An account with access to redaction."""
    made = await set_up(redaction_version=PREVIEW)
    yield made
    await made.stripe.close()
    await made.running.stop()


def held(it: Set) -> list[dict[str, str]]:
    """Return the fields of every customer that stands, without our mark."""
    return [
        {name: value for name, value in each["fields"].items() if name != "metadata.lapse"}
        for each in it.account.held()
    ]


# ---- writing -----------------------------------------------------------------------------------------------
async def test_fields_arrive_under_stripes_names_and_are_cleared(it: Set) -> None:
    """A write sets and clears what it names; the rest, and the rest of an address, stays."""
    first = done(await it.stripe.call(write(ANN)))
    assert first.outcome == "delivered"
    assert len(first.evidence) == 32
    [now] = held(it)
    assert now == {
        "name": "Ann Canary",
        "email": "ann@example.org",
        "address.line1": "Lane 1",
        "address.city": "Ulm",
    }
    second = write({"city": "Bonn"}, blank=["name"], vendor_id=first.vendor_id, version=2)
    assert done(await it.stripe.call(second)).vendor_id == first.vendor_id
    [now] = held(it)
    assert now == {"email": "ann@example.org", "address.line1": "Lane 1", "address.city": "Bonn"}
    assert await it.stripe.present(KEY, first.vendor_id) == frozenset({"email", "street", "city"})


async def test_what_has_no_mapping_is_never_sent(it: Set) -> None:
    """A field Stripe has no place for makes no customer and no call."""
    assert await it.stripe.call(write({"message": "hello"})) == Done(outcome="not_applicable")
    assert it.account.counts["calls"] == 0


@pytest.mark.parametrize("skip", range(5))
async def test_an_answer_lost_at_any_step_makes_no_second_customer(it: Set, skip: int) -> None:
    """The search lags an hour behind and knows nothing: only the stored answer names the first customer."""
    it.account.faults.order(fault("lost_answer", skip=skip))
    await it.stripe.call(write(ANN))
    later = write({**ANN, "phone": "12345"}, version=2)  # more is owed by now
    assert done(await it.stripe.call(later)).outcome == "delivered"
    [now] = held(it)
    assert now["phone"] == "12345"
    assert it.account.counts["created"] == 1
    assert it.account.counts["mismatched"] == 0


async def test_what_stripe_forgot_the_search_finds(it: Set) -> None:
    """After a day the stored answers are gone, and the search has caught up."""
    it.account.faults.order(fault("lost_answer", skip=1))
    retried(await it.stripe.call(write(ANN)))
    it.clock.now += 90_000
    it.account.forget_answers()
    done(await it.stripe.call(write(ANN)))
    assert it.account.counts["created"] == 1


async def test_a_stored_500_is_waited_out_until_the_search_must_know(it: Set) -> None:
    """Stripe failed after it made the customer and says so for a day: nothing else is made meanwhile."""
    it.account.break_creates = 1
    assert retried(await it.stripe.call(write(ANN))).landed
    stored = retried(await it.stripe.call(write(ANN)))
    assert stored.landed
    assert stored.after == SEARCH_LAG
    it.clock.now += 3001
    done(await it.stripe.call(write(ANN)))
    assert it.account.counts["created"] == 1
    [now] = held(it)
    assert now["email"] == "ann@example.org"


async def test_a_stored_500_without_a_customer_behind_it_is_left_behind(it: Set) -> None:
    """An hour later the search would know of one: another key makes it."""
    it.account.break_creates = 1
    await it.stripe.call(write(ANN))
    it.account.lose_customers()
    await it.stripe.call(write(ANN))
    it.clock.now += 3601
    done(await it.stripe.call(write(ANN)))
    assert len(held(it)) == 1


async def test_a_customer_deleted_at_stripe_is_made_anew(it: Set) -> None:
    """A write to a tombstone is no refusal of the person's data."""
    first = done(await it.stripe.call(write(ANN)))
    assert first.vendor_id is not None
    it.account.bury(first.vendor_id)
    second = done(await it.stripe.call(write(ANN, vendor_id=first.vendor_id, version=2)))
    assert second.vendor_id not in (None, first.vendor_id)
    assert len(held(it)) == 1


async def test_a_person_who_comes_back_gets_a_customer_of_their_own(it: Set) -> None:
    """The stored answers of the first one lead on to the second one, not back into a tombstone."""
    for version in range(1, 7, 2):
        first = done(await it.stripe.call(write(ANN, version=version)))
        done(await it.stripe.call(erase(vendor_id=first.vendor_id, version=version + 1)))
        assert held(it) == []
    assert it.account.counts["created"] == 3


async def test_a_refused_field_leaves_no_empty_customer_behind(it: Set) -> None:
    """Stripe refuses the address for good; what was made for it is taken back."""
    answer = await it.stripe.call(write({"email": "not an address"}))
    assert isinstance(answer, Permanent)
    assert answer.code == "vendor_refused"
    assert len(answer.evidence) == 32
    assert held(it) == []


@pytest.mark.parametrize("kind", ["429", "401"])
async def test_a_refusal_after_the_customer_was_made_counts_as_landed(it: Set, kind: FaultKind) -> None:
    """Otherwise an empty customer would stand there that nobody takes back."""
    it.account.faults.order(fault(kind, skip=3))
    assert retried(await it.stripe.call(write(ANN))).landed
    assert len(held(it)) == 1


async def test_a_replayed_update_is_done_all_the_same(it: Set) -> None:
    """The same version with the same values, after something else was written there: it must stand again."""
    first = done(await it.stripe.call(write({"name": "Ann"})))
    assert first.vendor_id is not None
    again = write({"name": "Bea"}, vendor_id=first.vendor_id, version=2)
    done(await it.stripe.call(again))
    it.account.customers[first.vendor_id]["name"] = "Eve"
    done(await it.stripe.call(again))
    assert held(it) == [{"name": "Bea"}]


# ---- retry classes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("429", Retry(code="vendor_busy", landed=False)),
        ("5xx", Retry(code="vendor_down")),
        ("html", Retry(code="vendor_answer")),
        ("400", Retry(code="vendor_answer")),  # a 400 without Stripe's error is a proxy's
        ("lost_answer", Retry(code="vendor_timeout")),
    ],
)
async def test_what_may_pass_is_retried(it: Set, kind: FaultKind, answer: Answer) -> None:
    """Each class as the table of answers has it."""
    it.account.faults.order(fault(kind, times=2))  # aiohttp itself repeats a GET whose connection broke
    found = await it.stripe.call(write(ANN))
    # how long the stand-in asks to be left alone is drawn
    assert (replace(found, after=None) if isinstance(found, Retry) else found) == answer


@pytest.mark.parametrize(("kind", "code"), [("401", "vendor_login"), ("redirect", "vendor_redirect")])
async def test_what_concerns_everybody_pauses(it: Set, kind: FaultKind, code: str) -> None:
    """A wrong key is wrong for every customer."""
    it.account.faults.order(fault(kind))
    answer = await it.stripe.call(write(ANN))
    assert isinstance(answer, Pause)
    assert answer.code == code


async def test_a_rate_limit_is_told_apart(it: Set) -> None:
    """Over the limit nothing is done, and nothing is lost."""
    it.account.per_second = 1
    assert await it.stripe.call(write(ANN)) == Retry(code="vendor_busy", landed=False)
    it.account.per_second = 1000
    done(await it.stripe.call(write(ANN)))


# ---- erasing -----------------------------------------------------------------------------------------------
async def test_an_erased_customer_is_gone_and_stays_a_tombstone(it: Set) -> None:
    """DELETE; asked again it is absent; nothing stands."""
    first = done(await it.stripe.call(write(ANN)))
    assert first.vendor_id is not None
    gone = done(await it.stripe.call(erase(vendor_id=first.vendor_id)))
    assert gone.outcome == "completed"
    assert len(gone.evidence) == 32
    assert await it.stripe.present(KEY, first.vendor_id) == frozenset()
    assert first.vendor_id in it.account.tombstones
    absent = done(await it.stripe.call(erase(vendor_id=first.vendor_id)))
    assert absent.outcome == "already_absent"
    assert len(absent.evidence) == 32
    assert held(it) == []


@pytest.mark.parametrize("skip", range(5))
async def test_a_customer_whose_making_was_never_answered_is_erased(it: Set, skip: int) -> None:
    """The search knows nothing yet: asking again to make it names it."""
    it.account.faults.order(fault("lost_answer", skip=skip))
    await it.stripe.call(write(ANN))
    done(await it.stripe.call(erase()))
    assert held(it) == []


@pytest.mark.parametrize("skip", range(8))
async def test_an_erasure_cut_at_any_step_ends_when_asked_again(it: Set, skip: int) -> None:
    """Lost answers in the middle of an erasure leave nothing, and every job is about this customer."""
    first = done(await it.stripe.call(write(ANN)))
    it.account.faults.order(fault("lost_answer", skip=skip))
    asked = erase(vendor_id=first.vendor_id, cause="erasure")
    answers = [await it.stripe.call(asked) for _ in range(3)]
    assert [a.outcome for a in answers if isinstance(a, Done)] in (
        ["accepted_async"] * 2,
        ["accepted_async"] * 3,
    )
    assert done(answers[-1]).outcome == "accepted_async"
    assert held(it) == []
    assert all(job["objects"]["customers"][0] == first.vendor_id for job in it.account.jobs.all.values())


@pytest.mark.parametrize("cause", ["retention", "erasure"])
async def test_what_payments_keep_is_never_called_completed(it: Set, cause: str) -> None:
    """Without redaction the charge keeps its copy of the person: only the customer is gone."""
    plain = it.again()
    first = done(await plain.call(write(ANN)))
    assert first.vendor_id is not None
    it.account.pay(first.vendor_id)
    asked = erase(vendor_id=first.vendor_id, cause=cause)  # type: ignore[arg-type]  # one of the causes
    assert done(await plain.call(asked)).outcome == "overwritten_only"
    assert held(it) == []
    await plain.close()


async def test_without_access_to_the_preview_the_customer_is_deleted(it: Set) -> None:
    """Completed where it never paid, and said where it did."""
    it.account.jobs.preview = False
    first = done(await it.stripe.call(write(ANN)))
    asked = erase(vendor_id=first.vendor_id, cause="erasure")
    assert done(await it.stripe.call(asked)).outcome == "completed"


# ---- redaction ---------------------------------------------------------------------------------------------
async def test_a_redaction_is_accepted_run_and_done(it: Set) -> None:
    """Accepted is not completed: the job is followed to its end."""
    first = done(await it.stripe.call(write(ANN)))
    assert first.vendor_id is not None
    it.account.pay(first.vendor_id)
    asked = done(await it.stripe.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    assert asked.outcome == "accepted_async"
    assert asked.request is not None
    seen = []
    for _ in range(6):
        answer = await it.stripe.follow(asked.request)
        seen.append(it.account.jobs.all[asked.request]["status"])
        if isinstance(answer, Done):
            break
        retried(answer)
    assert seen == ["validating", "redacting", "succeeded"]
    assert done(answer).outcome == "completed"
    assert it.account.payments == {}


async def test_a_job_waits_for_young_payments_and_asks_again_every_day(it: Set) -> None:
    """A payment can be redacted after 90 days; until then the job is validated again."""
    job = await _ordered(it, "invalid_state")
    assert retried(await it.stripe.follow(job)).after is None
    assert retried(await it.stripe.follow(job)).after == DAY
    it.account.jobs.blocked.clear()
    it.clock.now += 86_400
    for _ in range(5):
        answer = await it.stripe.follow(job)
    assert done(answer).outcome == "completed"


async def test_a_job_that_never_can_run_is_left_to_a_person(it: Set) -> None:
    """After the time a payment needs, what still stands in the way is nobody's to mend but a person's."""
    job = await _ordered(it, "invalid_state")
    await it.stripe.follow(job)
    it.clock.now += 101 * 86_400
    assert done(await it.stripe.follow(job)).outcome == "manual_required"


@pytest.mark.parametrize("code", ["invalid_cascading_source", "too_many_objects", "invalid_file_purpose"])
async def test_what_no_time_mends_is_left_to_a_person_at_once(it: Set, code: str) -> None:
    """Waiting would only hide it."""
    job = await _ordered(it, code)
    await it.stripe.follow(job)
    assert done(await it.stripe.follow(job)).outcome == "manual_required"


async def test_a_job_cancelled_or_gone_is_left_to_a_person(it: Set) -> None:
    """Nothing will happen by itself any more."""
    job = await _ordered(it, "invalid_state")
    it.account.jobs.all[job]["status"] = "canceling"
    assert done(await it.stripe.follow(job)).outcome == "manual_required"
    assert done(await it.stripe.follow("prj_never")).outcome == "manual_required"


@pytest.mark.parametrize("kind", ["429", "5xx", "html", "lost_answer", "400"])
async def test_following_survives_what_the_network_does(it: Set, kind: FaultKind) -> None:
    """A job is looked at again, and run once."""
    job = await _ordered(it, None)
    done_ = None
    for turn in range(12):
        it.account.faults.order(fault(kind, skip=turn % 3, times=turn % 2))
        answer = await it.stripe.follow(job)
        if isinstance(answer, Done):
            done_ = answer
            break
    assert done_ is not None
    assert done_.outcome == "completed"


async def _ordered(it: Set, blocked: str | None) -> str:
    first = done(await it.stripe.call(write(ANN)))
    assert first.vendor_id is not None
    if blocked:
        it.account.jobs.blocked[first.vendor_id] = blocked
    asked = done(await it.stripe.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    assert asked.request is not None
    return asked.request


# ---- what Stripe tells -------------------------------------------------------------------------------------
def _post(it: Set, event: dict[str, object], at: float | None = None) -> Post:
    body, headers = it.account.signed(event, int(it.clock.now if at is None else at))
    return Post(headers=headers, query={}, body=body)


async def test_an_edit_at_stripe_is_heard_and_our_own_is_not(it: Set) -> None:
    """Events of our own requests bear our idempotency keys."""
    first = done(await it.stripe.call(write(ANN)))
    assert first.vendor_id is not None
    [own] = it.account.events
    assert it.stripe.heard(_post(it, own), it.clock.micros()).said == ()
    foreign = {**own, "request": {"id": "req_1", "idempotency_key": None}}
    [said] = it.stripe.heard(_post(it, foreign), it.clock.micros()).said
    assert said == Edited(vendor_id=first.vendor_id, at=Micros(int(START) * SECOND), key=KEY)
    emptied = {**foreign, "data": {"object": {"id": "cus_1", "metadata": {"lapse": KEY}}}}
    [said] = it.stripe.heard(_post(it, emptied), it.clock.micros()).said
    assert said == Edited(vendor_id="cus_1", at=Micros(int(START) * SECOND), emptied=True, key=KEY)
    others = {**foreign, "data": {"object": {"id": "cus_1", "metadata": {}}}}
    assert it.stripe.heard(_post(it, others), it.clock.micros()).said == ()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("privacy.redaction_job.succeeded", (Moved(request="x"),)),
        ("privacy.redaction_job.canceled", (Moved(request="x"),)),
        ("privacy.redaction_job.ready", ()),
        ("charge.succeeded", ()),
        (
            "customer.deleted",
            (Edited(vendor_id="x", at=Micros(7 * SECOND), emptied=True, key=KEY),),
        ),
    ],
)
async def test_events_become_what_they_mean(it: Set, kind: str, said: tuple[object, ...]) -> None:
    """Everything else is none of ours."""
    event: dict[str, object] = {
        "type": kind,
        "created": 7,
        "data": {"object": {"id": "x", "metadata": {"lapse": KEY}}},
    }
    heard = it.stripe.heard(_post(it, event), it.clock.micros())
    assert heard.said == said
    assert json.loads(it.stripe.answer(heard, {})) == {"received": True}


@pytest.mark.parametrize("header", ["", "t=1,v1=00", "v1=é", "t=x,v1=", "t=1,t=2,v1=0", "t=" + "9" * 400])
async def test_an_unsigned_event_is_refused(it: Set, header: str) -> None:
    """Whoever finds the address can say nothing."""
    post = Post(headers={"stripe-signature": header}, query={}, body=b"{}")
    with pytest.raises(Refused):
        it.stripe.heard(post, it.clock.micros())


@pytest.mark.parametrize("age", [-301, 301])
async def test_a_signature_of_another_time_is_refused(it: Set, age: int) -> None:
    """Five minutes, either way."""
    with pytest.raises(Refused):
        it.stripe.heard(_post(it, {}, START + age), it.clock.micros())


@pytest.mark.parametrize(
    "event", [{}, {"type": 7, "created": 1, "data": {"object": {}}}, {"type": "x", "data": []}]
)
async def test_a_signed_event_that_is_none_is_bad_input(it: Set, event: dict[str, object]) -> None:
    """Signed nonsense is still nonsense."""
    with pytest.raises(BadInput):
        it.stripe.heard(_post(it, event), it.clock.micros())


async def test_both_secrets_of_a_rotation_count(it: Set) -> None:
    """While one endpoint secret replaces another, either signs."""
    it.secrets["webhook_secret"] = "whsec_" + "0" * 32 + " " + it.secrets["webhook_secret"]
    rotated = it.again()
    event: dict[str, object] = {"type": "x", "created": 1, "data": {"object": {}}}
    assert rotated.heard(_post(it, event), it.clock.micros()).said == ()


# ---- credentials -------------------------------------------------------------------------------------------
async def test_a_check_proves_the_key_and_moves_nothing(it: Set) -> None:
    """Right, wrong, away."""
    done(await it.stripe.call(write(ANN)))
    await it.stripe.check()
    it.account.faults.order(fault("5xx"))
    with pytest.raises(Unavailable):
        await it.stripe.check()
    it.secrets["api_key"] = "sk_test_" + "0" * 24
    wrong = it.again()
    with pytest.raises(Refused):
        await wrong.check()
    await wrong.close()


async def test_nothing_of_a_person_reaches_the_log(it: Set, caplog: pytest.LogCaptureFixture) -> None:
    """On every level, through writes, faults and erasures."""
    with caplog.at_level(logging.DEBUG):
        for kind in ("429", "5xx", "html", "lost_answer"):
            it.account.faults.order(fault(kind))
            await it.stripe.call(write(ANN))
        await it.stripe.call(write(ANN))
        await it.stripe.call(erase(cause="erasure"))
    assert not any(value in caplog.text for value in [*ANN.values(), KEY, it.secrets["api_key"]])


# ---- everything at once ------------------------------------------------------------------------------------
STEP = st.tuples(
    st.sampled_from(["write", "again", "erase", "erase for good", "restart", "an hour"]),
    st.dictionaries(st.sampled_from(["name", "email", "city"]), st.sampled_from(["a@b.cd", "c@d.ef"])),
    st.sampled_from([None, "lost_answer", "429", "5xx", "html"]),
    st.integers(0, 5),
)


@given(st.lists(STEP, min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_any_order_of_events_leaves_what_the_last_finished_call_said(
    steps: list[tuple[str, dict[str, str], FaultKind | None, int]],
) -> None:
    """One customer at most, and in the end exactly the fields of the last call."""
    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[str, dict[str, str], FaultKind | None, int]]) -> None:
    it = await set_up(redaction_version=PREVIEW)
    known, recipients = Known(it.stripe), [it.stripe]
    fields: dict[str, str] = {}
    for what, drawn, kind, skip in steps:
        it.account.faults.order(fault(kind or "429", skip=skip, times=1 if kind else 0))
        if what == "restart":
            recipients.append(it.again(redaction_version=PREVIEW))
            known.recipient = recipients[-1]
        elif what == "an hour":
            it.clock.now += 3700
        elif what.startswith("erase"):
            await known.erase("erasure" if what == "erase for good" else "retention")
        else:
            fields = fields if what == "again" else drawn
            blank = [name for name in ("name", "email", "city") if name not in fields]
            await known.write(fields, blank, again=what == "again")
        assert len(it.account.held()) <= 1
        if known.sure and known.stands is not None:
            names = {MANIFEST.fields[name]: value for name, value in known.stands.items()}
            assert held(it) in ([names], [] if not names else [names])
    it.account.faults.order(fault("429", times=0))
    if steps[-1][0].startswith("erase"):
        done(await known.erase("retention"))
        assert held(it) == []
    else:
        done(await known.write({"name": "Zoe"}, ["email", "city"], again=False))
        assert held(it) == [{"name": "Zoe"}]
    for each in recipients:
        await each.close()
    await it.running.stop()


def test_a_write_is_not_shown() -> None:
    """Values of a person stay out of a call's repr."""
    assert "ann@" not in repr(write(ANN))
    assert isinstance(write(ANN), Write)
