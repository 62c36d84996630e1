"""Accepted erasures are asked about until they end: when, how often, and what is told after their time."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace as with_

from processors.answers import Answer, Done, Pause, Permanent, Refresh, Retry
from processors.awaiting import Awaiting
from processors.backoff import Backoff, seconds
from processors.connector import Connector, Limits, Surroundings
from processors.following import AT_ONCE, BY_ITSELF, follow
from processors.gate import Gate
from processors.kept import Pending
from processors.reporting import Reports
from processors.values import Place, Timing
from schemas.ids import Micros
from tests.unit.processors.kit import (
    NAME,
    Keys,
    Vendor,
    Wall,
    delivery,
    id16,
    lapse,
    ledger,
    new_vault,
    of_bucket,
    outcomes,
    receipts,
    sealed,
)

TIMING = Timing(follow=Backoff(first=seconds(2), longest=seconds(100), least=seconds(1)))
NOW = Micros(1_700_000_000_000_000)
PLACE = Place(topic_id=b"t" * 16, partition=0)
GOES_ON = Retry(code="vendor_busy")


def looked(answer: Answer | None, **pending: object) -> tuple[object, int, bool]:
    """What follows from this answer: the end, the seconds until the next look, and whether it is late."""
    entry = with_(Pending(object=b"O", request="job-1"), **pending)
    then = follow(entry, answer, now=NOW, wall=Micros(0), draw=0.999, timing=TIMING)
    return then.end, then.due // 1_000_000, then.late


@pytest.mark.parametrize(
    "end", [Done(outcome="completed"), Done(outcome="overwritten_only"), Permanent(code="x")]
)
def test_an_end_is_an_end(end: Answer) -> None:
    """Whatever it is, also after its time."""
    assert looked(end, answer_by=Micros(NOW - 1))[0] is end


def test_one_that_goes_on_is_asked_about_ever_less_often() -> None:
    """Doubling up to the longest wait, never sooner than the recipient wishes."""
    assert [looked(GOES_ON, asked=n)[1] for n in range(8)] == [1, 3, 7, 15, 31, 63, 99, 99]
    assert looked(Retry(code="vendor_busy", after=seconds(500)))[1] == 500
    assert looked(Done(outcome="accepted_async"))[:2] == (None, 1)


def test_one_that_reports_by_itself_is_left_alone_for_a_day() -> None:
    """But for its deadline."""
    assert looked(None)[1] == BY_ITSELF // 1_000_000
    assert looked(None, answer_by=Micros(NOW + seconds(60)))[1] == 60


@pytest.mark.parametrize("answer", [GOES_ON, None, Pause(code="vendor_login"), Refresh(code="vendor_login")])
def test_what_is_not_done_in_time_is_late_once(answer: Answer | None) -> None:
    """However little the recipient says."""
    past = Micros(NOW - 1)
    assert looked(answer, answer_by=past)[2]
    assert not looked(answer, answer_by=past, late=True)[2]
    assert not looked(answer, answer_by=Micros(NOW + 1))[2]


class Case:
    """A connector whose recipient accepted the erasure of so many objects."""

    def __init__(self, people: int = 1, answer_by: float | None = None) -> None:
        self.wall, self.vault, self.vendor = Wall(), new_vault(), Vendor()
        self.connector = self.build()
        names = [f"p{n}" for n in range(people)]
        made = [delivery(name, subject=name, parts=[({"email": name}, ["p"])]) for name in names]
        by = None if answer_by is None else Micros(self.vault.clock.now() + seconds(answer_by))
        self.ended = with_(lapse("end", of_bucket("p"), cause="retention"), answer_by=by)
        book = ledger(self.vendor, Keys(), TIMING)
        with self.vault.transaction() as tx:
            refs = book.register(tx, sealed(*made), self.wall())
        asyncio.run(self.connector.attempt(refs))
        self.vendor.answers = [Done(outcome="accepted_async", request=f"job-{n}") for n in range(people)]
        with self.vault.transaction() as tx:
            refs, _ = book.mark(tx, self.ended, PLACE, b"", self.wall())
        asyncio.run(self.connector.attempt(refs))

    def build(self) -> Connector:
        """A connector, as after a restart."""
        return Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.vendor,
            ledger=ledger(self.vendor, Keys(), TIMING),
            around=Surroundings(wall=self.wall),
            call_deadline=TIMING.call,
            limits=Limits(in_flight=1),
            gate=Gate(failures_to_open=2),
        )

    def pass_(self, by: float) -> int:
        """Let time pass on both clocks, then look once."""
        self.wall.pass_(by)
        self.vault.clock.set_manual(Micros(self.vault.clock.now() + seconds(by)))
        return asyncio.run(self.connector.following.tick())

    def awaited(self) -> int:
        """How many ends are awaited."""
        with self.vault.transaction(write=False) as tx:
            return Awaiting(NAME).count(tx)

    @property
    def told(self) -> list[str]:
        """The outcomes told about the lapse."""
        return outcomes(self.vault, self.ended.lapse_id)


def test_an_erasure_that_ends_is_told() -> None:
    """Asked about when its time has come, once, and forgotten then."""
    case = Case()
    assert (case.told, case.awaited()) == (["accepted_async"], 1)
    assert case.pass_(0.5) == 0
    assert case.pass_(2) == 1
    assert case.told == ["accepted_async"]
    case.vendor.ends["job-0"] = Done(outcome="completed", evidence=b"e" * 32)
    assert case.pass_(10) == 1
    assert (case.told, case.awaited()) == (["accepted_async", "completed"], 0)
    assert case.pass_(1000) == 0


def test_an_end_that_is_claimed_is_looked_at() -> None:
    """While the object can still be read there it has not ended, whatever the recipient says."""
    case = Case()
    case.vendor.readable = True
    case.vendor.ends["job-0"] = Done(outcome="completed")
    case.vendor.objects[id16("p0").hex()] = {"email": "p0"}
    for _ in range(4):
        case.pass_(10)
    assert (case.told, case.awaited()) == (["accepted_async"], 1)
    case.vendor.objects.clear()
    case.pass_(100)
    assert (case.told, case.awaited()) == (["accepted_async", "completed"], 0)


def test_what_was_written_again_meanwhile_is_no_remainder() -> None:
    """Then only the recipient can know, and its word has to do."""
    case = Case()
    case.vendor.readable = True
    anew = delivery("again", subject="p0", parts=[({"email": "p0"}, ["q"])], decided=2000)
    with case.vault.transaction() as tx:
        refs = ledger(case.vendor, Keys(), TIMING).register(tx, sealed(anew), case.wall())
    asyncio.run(case.connector.attempt(refs))
    assert case.vendor.objects
    case.vendor.ends["job-0"] = Done(outcome="completed")
    case.pass_(10)
    assert (case.told, case.awaited()) == (["accepted_async", "completed"], 0)


def test_whoever_says_that_it_is_time_is_asked_at_once() -> None:
    """A recipient's own event brings the look forward; one nobody awaits changes nothing."""
    case = Case()
    case.pass_(3)
    case.vendor.ends["job-0"] = Done(outcome="completed")
    assert case.pass_(0) == 0
    with case.vault.transaction() as tx:
        for request in ("job-0", "job-of-somebody-else"):
            Awaiting(NAME).hurry(tx, request, case.wall())
    assert case.pass_(0) == 1
    assert (case.told, case.awaited()) == (["accepted_async", "completed"], 0)


def test_a_restart_forgets_nothing() -> None:
    """When to ask stands in the vault."""
    case = Case()
    case.vendor.ends["job-0"] = Permanent(code="vendor_refused")
    case.connector = case.build()
    assert case.pass_(3) == 1
    assert case.told == ["accepted_async", "failed_permanent"]


def test_what_is_late_is_told_by_its_code_and_still_followed() -> None:
    """It is somebody's task from then on, and done if the recipient ends it after all."""
    case = Case(answer_by=60)
    for _ in range(9):
        case.pass_(7)
    assert case.told == ["accepted_async", "manual_required"]
    assert [r.code for r in receipts(case.vault) if r.outcome == "manual_required"] == ["vendor_late"]
    case.vendor.ends["job-0"] = Done(outcome="completed")
    case.pass_(200)
    assert case.told == ["accepted_async", "manual_required", "completed"]
    assert receipts(case.vault)[-1].code is None


def test_a_lapse_over_many_is_done_when_the_last_one_is() -> None:
    """Each look is bounded, and no failure of the recipient, however many go on."""
    case = Case(people=AT_ONCE + 5)
    assert case.pass_(3) == AT_ONCE
    assert case.pass_(0) == 5
    assert not case.connector.gate.disabled
    assert case.connector.gate.opens_at(case.wall()) <= case.wall()
    case.vendor.ends = {f"job-{n}": Done(outcome="completed") for n in range(1, AT_ONCE + 5)}
    while case.pass_(10) and case.awaited() > 1:
        pass
    assert case.told == ["accepted_async"]
    case.vendor.ends["job-0"] = Done(outcome="completed")
    case.pass_(200)
    assert case.told == ["accepted_async", "completed"]


def test_nothing_is_asked_while_nothing_may_be_called() -> None:
    """A paused recipient is left alone; the question waits."""
    case = Case()
    case.vendor.ends["job-0"] = Done(outcome="completed")
    case.connector.gate.pause(case.wall(), "vendor_login", seconds(60))
    assert case.pass_(3) == 1
    assert case.told == ["accepted_async"]
    assert case.pass_(120) == 1
    assert case.told == ["accepted_async", "completed"]


def test_what_was_reported_meanwhile_is_asked_about_no_more() -> None:
    """By a callback, say."""
    case = Case()
    with case.vault.transaction() as tx:
        reports = Reports(processor=NAME, receipt_partitions=4)
        assert reports.ended(tx, "job-0", Done(outcome="completed"), case.wall())
    assert case.pass_(1000) == 0
    assert case.told == ["accepted_async", "completed"]


def test_a_login_that_has_expired_is_renewed_once() -> None:
    """And if that does not help, the recipient is left alone for a while."""
    case = Case()
    case.vendor.ends["job-0"] = Refresh(code="vendor_login")
    assert case.pass_(3) == 1
    assert case.vendor.refreshed == 1
    assert case.connector.gate.code == "vendor_login"
    assert not case.connector.gate.disabled
