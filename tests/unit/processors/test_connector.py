"""The connector base on the vault in memory: the rules of models m5 and m7 by example, retries, budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pytest

from processors.answers import Answer, Done, Pause, Permanent, Refresh, Retry
from processors.backoff import Backoff, seconds
from processors.calls import Call, Erase, Write
from processors.connector import Connector, Limits, Surroundings
from processors.values import Place, Timing
from schemas.codec import encode
from schemas.errors import Rejected, Unavailable
from schemas.models import Cause, Depersonalized, ProcessorScope, RecordDelivered, RecordScope
from streams.ports import Chunk, Inbound
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
    of_subject,
    outcomes,
    receipts,
)
from vault.port import Tx, Vault

EMAIL = ({"email": "one"}, ["p"])
PHONE = ({"phone": "one"}, ["q"])
TIMING = Timing(
    call=seconds(5),
    lease=seconds(6),
    backoff=Backoff(first=seconds(1), longest=seconds(60), least=seconds(1)),
)


@dataclass
class Bench:
    """A connector with everything around it in the test's hand."""

    vault: Vault = field(default_factory=new_vault)
    vendor: Vendor = field(default_factory=Vendor)
    keys: Keys = field(default_factory=Keys)
    wall: Wall = field(default_factory=Wall)
    limits: Limits = field(default_factory=lambda: Limits(in_flight=4, poll=0.001))
    offsets: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connector = self.build()

    def build(self) -> Connector:
        """Another worker's connector on the same vault."""
        return Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.vendor,
            ledger=ledger(self.vendor, self.keys, TIMING),
            around=Surroundings(wall=self.wall),
            call_deadline=seconds(0.2),
            limits=self.limits,
        )

    def chunk(self, *records: RecordDelivered | Depersonalized | None, partition: int = 0) -> Chunk:
        """The next chunk of a partition."""
        start = self.offsets.get(partition, 0)
        self.offsets[partition] = start + len(records)
        values = [None if r is None else encode(r) for r in records]
        return Chunk(
            topic=f"processor.{NAME}",
            topic_id=b"t" * 16,
            partition=partition,
            records=[
                Inbound(offset=start + n, timestamp_ms=0, key=None, value=v) for n, v in enumerate(values)
            ],
        )

    async def take(self, *records: RecordDelivered | Depersonalized, partition: int = 0) -> None:
        """Handle one chunk."""
        assert await self.connector.handle(self.chunk(*records, partition=partition)) is None

    async def later(self, wait: float = 100.0) -> None:
        """Let time pass and the loop look once."""
        self.wall.pass_(wait)
        await self.connector.tick()

    def die(self, of: RecordDelivered, *purposes: str) -> None:
        """Destroy the keys of a delivery's purposes."""
        self.keys.dead |= {(of.delivery_id, purpose) for purpose in purposes}

    @property
    def held(self) -> dict[str, str]:
        """The fields of the one object there is."""
        assert len(self.vendor.objects) <= 1
        return next(iter(self.vendor.objects.values()), {})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A fresh one."""
    made = Bench()
    yield made
    await made.connector.close()
    assert made.vendor.closed


async def dies_in_the_call(bench: Bench, record: RecordDelivered) -> None:
    """The vendor does what it is asked, and the worker is gone before it hears so."""

    class Killed(Exception):
        pass

    async def dies(call: Call) -> Answer:
        bench.vendor.apply(call)
        raise Killed

    bench.vendor.call = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await bench.connector.handle(bench.chunk(record))
    del bench.vendor.call


# ---- the rules of m5 ---------------------------------------------------------------------------------------
async def test_the_row_is_written_before_the_call(bench: Bench) -> None:
    """A worker that dies in the call leaves the copy entered, so its lapse erases it."""
    first = delivery("d1", parts=[EMAIL])
    await dies_in_the_call(bench, first)
    assert bench.held == {"email": "one"}
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    await bench.later()
    assert bench.vendor.objects == {}


async def test_a_lapse_waits_for_the_call_that_is_under_way(bench: Bench) -> None:
    """One attempt per object at a time: the erasure comes after the write, never under it."""
    first, begun, go_on = delivery("d1", parts=[EMAIL]), asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> Answer:
        bench.vendor.calls.append(call)
        if isinstance(call, Write):
            begun.set()
            await go_on.wait()
        return bench.vendor.apply(call)

    bench.vendor.call = slow  # type: ignore[method-assign]
    writing = asyncio.create_task(bench.connector.handle(bench.chunk(first)))
    await begun.wait()
    bench.die(first, "p")
    other = bench.build()
    assert await other.handle(bench.chunk(lapse("l1", of_subject("ann", "p")), partition=1)) is None
    assert [type(c) for c in bench.vendor.calls] == [Write]
    go_on.set()
    await writing
    assert [type(c) for c in bench.vendor.calls] == [Write, Erase]
    assert bench.vendor.objects == {}
    assert outcomes(bench.vault, id16("l1")) == ["completed"]


async def test_a_lapse_is_found_again_after_a_crash(bench: Bench) -> None:
    """Rows are marked before the erasure and removed after its answer: a lost call is made again."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Retry(code="vendor_down", landed=False)]
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert bench.held == {"email": "one"}
    assert outcomes(bench.vault, id16("l1")) == []
    bench.connector = bench.build()  # the worker was killed; another one takes over
    await bench.later()
    assert bench.vendor.objects == {}
    assert outcomes(bench.vault, id16("l1")) == ["completed"]


async def test_a_field_stays_only_for_the_delivery_that_wrote_it(bench: Bench) -> None:
    """Two deliveries wrote the e-mail: when the later one lapses, the earlier one's value returns."""
    bench.vendor.one = True
    first = delivery("d1", subject="ann", parts=[({"email": "first", "phone": "first"}, ["p"])])
    second = delivery("d2", subject="ben", parts=[({"email": "second"}, ["p"])])
    await bench.take(first)
    await bench.take(second, partition=1)
    assert bench.held == {"email": "second", "phone": "first"}
    bench.die(second, "p")
    await bench.take(lapse("l2", of_subject("ben", "p")), partition=1)
    assert bench.held == {"email": "first", "phone": "first"}
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert bench.vendor.objects == {}


async def test_the_end_of_an_earlier_delivery_leaves_the_later_one(bench: Bench) -> None:
    """January's lapse leaves June's data: what June wrote stays, what only January wrote is blanked."""
    january = delivery("d1", period=1, parts=[({"email": "old", "phone": "old"}, ["p"])])
    june = delivery("d2", period=6, parts=[({"email": "new"}, ["p"])])
    await bench.take(january, june)
    bench.die(january, "p")
    await bench.take(lapse("l1", of_bucket("p", 1), cause="retention"))
    assert bench.held == {"email": "new"}
    last = bench.vendor.calls[-1]
    assert isinstance(last, Write)
    assert last.blank == ("phone",)


async def test_every_attempt_opens_again(bench: Bench) -> None:
    """A key that dies between two attempts is not written by the second."""
    bench.vendor.answers = [Retry(code="vendor_busy", landed=False)]
    first = delivery("d1", parts=[EMAIL, PHONE])
    await bench.take(first)
    opened = bench.keys.opened
    bench.die(first, "q")
    await bench.later()
    assert bench.keys.opened > opened
    assert bench.held == {"email": "one"}


async def test_a_lapse_cancels_what_was_parked(bench: Bench) -> None:
    """A delivery the recipient never took is not sent any more, and told as never opened."""
    bench.vendor.answers = [Retry(code="vendor_busy", landed=False)]
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    await bench.later()
    assert len(bench.vendor.calls) == 1
    assert outcomes(bench.vault, first.delivery_id) == ["not_opened"]
    assert outcomes(bench.vault, id16("l1")) == ["not_applicable"]
    assert bench.connector.waiting() == 0


async def test_one_purpose_of_a_delivery_lapses_alone(bench: Bench) -> None:
    """The other compartment stays, and the recipient is told what it may still be used for."""
    first = delivery("d1", parts=[EMAIL, PHONE])
    await bench.take(first)
    bench.die(first, "q")
    await bench.take(lapse("l1", of_subject("ann", "q")))
    assert bench.held == {"email": "one"}
    last = bench.vendor.calls[-1]
    assert isinstance(last, Write)
    assert [purpose for purpose, _ in last.purposes] == ["p"]


# ---- m7 ----------------------------------------------------------------------------------------------------
async def test_a_slow_lapse_never_reaches_a_new_grant(bench: Bench) -> None:
    """The lapse of generation 1 lies behind the delivery of generation 2 and leaves it alone."""
    first, second = delivery("d1", parts=[EMAIL], decided=5), delivery("d2", parts=[EMAIL], decided=9)
    await bench.take(first)
    bench.die(first, "p")
    await bench.take(second, lapse("l1", of_subject("ann", "p"), reaches=7))
    assert bench.held == {"email": "one"}
    assert outcomes(bench.vault, id16("l1")) == ["completed"]
    bench.die(second, "p")
    await bench.take(lapse("l2", of_subject("ann", "p"), reaches=12))
    assert bench.vendor.objects == {}


# ---- revisions, recalls, partitions ------------------------------------------------------------------------
async def test_a_newer_revision_replaces_the_older_one(bench: Bench) -> None:
    """What only the old revision had is blanked; the old one read again changes nothing."""
    old = delivery("d1", parts=[({"email": "wrong", "phone": "wrong"}, ["p"])])
    new = delivery("d1", parts=[({"email": "right"}, ["p"])], revision=2, decided=9)
    await bench.take(old)
    await bench.take(new)
    assert bench.held == {"email": "right"}
    await bench.take(old)
    assert bench.held == {"email": "right"}
    await bench.take(lapse("l1", RecordScope(delivery_id=new.delivery_id, purposes=["p"]), reaches=9))
    assert bench.held == {"email": "right"}


async def test_a_recall_takes_back_everything_although_keys_live(bench: Bench) -> None:
    """The scope `Processor` reaches every object; nothing is written again."""
    await bench.take(*(delivery(f"d{n}", subject=f"s{n}", parts=[EMAIL]) for n in range(7)))
    assert len(bench.vendor.objects) == 7
    await bench.take(lapse("l1", ProcessorScope(), cause="recall"))
    assert bench.vendor.objects == {}
    assert outcomes(bench.vault, id16("l1")) == ["completed"]


async def test_a_lapse_on_every_partition_is_answered_once_each(bench: Bench) -> None:
    """The first one finds the objects; the others say that nothing was left; a redelivery is silent."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    event = lapse("l1", of_bucket("p"), cause="retention")
    for partition in (0, 1, 2):
        await bench.take(event, partition=partition)
    assert outcomes(bench.vault, id16("l1")) == ["completed", "not_applicable", "not_applicable"]
    assert len({r.receipt_id for r in receipts(bench.vault)}) == len(receipts(bench.vault))
    await bench.take(event)
    assert outcomes(bench.vault, id16("l1")) == ["completed", "not_applicable", "not_applicable"]


async def test_a_bucket_of_many_objects_is_answered_when_the_last_one_is(bench: Bench) -> None:
    """A lapse over hundreds of objects is marked in pages, worked off in the loop, and told once."""
    many = [delivery(f"d{n}", subject=f"s{n}", parts=[EMAIL]) for n in range(520)]
    await bench.take(*many)
    assert len(bench.vendor.objects) == 520
    for one in many:
        bench.die(one, "p")
    bench.vendor.answers = [Done(outcome="overwritten_only")]
    await bench.take(lapse("l1", of_bucket("p"), cause="retention"))
    assert outcomes(bench.vault, id16("l1")) == []
    for _ in range(20):
        await bench.connector.tick()
    assert len(bench.vendor.objects) == 0
    assert outcomes(bench.vault, id16("l1")) == ["overwritten_only"]


async def test_what_was_only_overwritten_is_still_reached_by_a_later_lapse(bench: Bench) -> None:
    """After a withdrawal left an address behind, an erasure asks with its own cause, and ends it.

    The same lapse on another partition asks no more.
    """
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Done(outcome="overwritten_only", vendor_id="there")]
    withdrawal = lapse("l1", of_subject("ann", "p"), cause="withdrawal")
    await bench.take(withdrawal)
    await bench.take(withdrawal, partition=1)
    assert outcomes(bench.vault, id16("l1")) == ["overwritten_only", "not_applicable"]
    assert bench.connector.waiting() == 0
    await bench.take(lapse("l2", of_subject("ann", "p"), cause="erasure"))
    last = bench.vendor.calls[-1]
    assert isinstance(last, Erase)
    assert last.cause == "erasure"
    assert len(outcomes(bench.vault, id16("l2"))) == 1
    with bench.vault.transaction(write=False) as tx:
        assert tx.objects_of_processor(NAME) == []


async def test_what_was_overwritten_and_is_wanted_again_is_said_to_the_recipient(bench: Bench) -> None:
    """A new consent after a withdrawal: the write says that the end before it was ours."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Done(outcome="overwritten_only")]
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    await bench.take(delivery("d2", parts=[EMAIL], decided=2000))
    last = bench.vendor.calls[-1]
    assert isinstance(last, Write)
    assert last.again
    await bench.take(delivery("d3", parts=[EMAIL], decided=2001))
    assert not bench.vendor.calls[-1].again  # type: ignore[union-attr]  # a Write, as the one before


async def test_an_end_whose_answer_was_lost_counts_as_one_for_the_next_write(bench: Bench) -> None:
    """It may have overwritten the object; a refusal that did nothing has not."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Retry(code="vendor_timeout")]
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    await bench.take(delivery("d2", parts=[EMAIL], decided=2000))
    await bench.later()
    assert [call.again for call in bench.vendor.calls if isinstance(call, Write)] == [False, True]


async def test_an_erasure_reaches_what_a_withdrawal_is_still_ending(bench: Bench) -> None:
    """Both are told what the next call brings, which is asked for the stronger of the two."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Retry(code="vendor_timeout")]
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    await bench.take(lapse("l2", of_subject("ann", "p"), cause="erasure"))
    await bench.later()
    last = bench.vendor.calls[-1]
    assert isinstance(last, Erase)
    assert last.cause == "erasure"
    assert last.causes == frozenset[Cause](("withdrawal", "erasure"))
    for name in ("l1", "l2"):
        assert outcomes(bench.vault, id16(name)) == ["already_absent"]  # the lost call had done it


async def test_an_answer_to_a_weaker_end_settles_no_stronger_one(bench: Bench) -> None:
    """The erasure comes in while the withdrawal is being called: it is called for itself."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    call, seen = bench.vendor.call, []

    async def interrupted(asked: Call) -> Answer:
        seen.append(asked)
        if len(seen) == 1:
            with bench.vault.transaction() as tx:
                place = Place(topic_id=b"t" * 16, partition=1)
                erasure = lapse("l2", of_subject("ann", "p"), cause="erasure")
                ledger(bench.vendor, bench.keys, TIMING).mark(tx, erasure, place, b"", bench.wall())
            return Done(outcome="overwritten_only")
        return await call(asked)

    bench.vendor.call = interrupted  # type: ignore[method-assign, assignment]  # something happens meanwhile
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    await bench.later()
    assert [asked.cause for asked in seen if isinstance(asked, Erase)] == ["withdrawal", "erasure"]
    assert outcomes(bench.vault, id16("l1")) == ["overwritten_only"]
    assert outcomes(bench.vault, id16("l2")) == ["completed"]


async def test_an_answer_to_a_write_answers_no_lapse_that_came_while_it_was_called(bench: Bench) -> None:
    """A withdrawal and an erasure are read during the write: neither is told before it was called for."""
    first = delivery("d1", parts=[EMAIL])
    call, seen = bench.vendor.call, []

    async def interrupted(asked: Call) -> Answer:
        seen.append(asked)
        if isinstance(asked, Write):
            with bench.vault.transaction() as tx:
                for cause in ("withdrawal", "erasure"):
                    place = Place(topic_id=b"t" * 16, partition=1)
                    event = lapse(cause, of_subject("ann", "p"), cause=cause)
                    ledger(bench.vendor, bench.keys, TIMING).mark(tx, event, place, b"", bench.wall())
            for cause in ("withdrawal", "erasure"):
                assert outcomes(bench.vault, id16(cause)) == []
            return await call(asked)
        for cause in ("withdrawal", "erasure"):
            assert outcomes(bench.vault, id16(cause)) == []
        return await call(asked)

    bench.vendor.call = interrupted  # type: ignore[method-assign, assignment]  # something happens meanwhile
    await bench.take(first)
    await bench.later()
    last = seen[-1]
    assert isinstance(last, Erase)
    assert last.causes == frozenset[Cause](("withdrawal", "erasure"))
    for cause in ("withdrawal", "erasure"):
        assert outcomes(bench.vault, id16(cause)) == ["completed"]


async def test_what_may_have_been_written_when_a_worker_died_rests_as_well(bench: Bench) -> None:
    """No answer came, and the withdrawal only overwrote: nothing more is ended, and the erasure finds it."""
    first = delivery("d1", parts=[EMAIL])
    await dies_in_the_call(bench, first)
    bench.die(first, "p")
    bench.vendor.answers = [Done(outcome="overwritten_only")]
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    for _ in range(3):
        await bench.later()
    assert [asked.cause for asked in bench.vendor.calls if isinstance(asked, Erase)] == ["withdrawal"]
    assert outcomes(bench.vault, first.delivery_id) == []  # it may have been handed over
    await bench.take(lapse("l2", of_subject("ann", "p"), cause="erasure"))
    last = bench.vendor.calls[-1]
    assert isinstance(last, Erase)
    assert last.cause == "erasure"


async def test_what_rests_is_not_woken_by_a_write_of_other_fields(bench: Bench) -> None:
    """A recall of the first delivery still finds what the withdrawal left of it, and takes that away."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Done(outcome="overwritten_only")]
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="withdrawal"))
    await bench.take(delivery("d2", parts=[PHONE], decided=2000))
    last = bench.vendor.calls[-1]
    assert isinstance(last, Write)
    assert (dict(last.set), last.blank) == ({"phone": "one"}, ())
    scope = RecordScope(delivery_id=first.delivery_id, purposes=["p"])
    await bench.take(lapse("l2", scope, cause="recall"))
    again = bench.vendor.calls[-1]
    assert isinstance(again, Write)
    assert again.blank == ("email",)
    assert outcomes(bench.vault, id16("l2")) == ["completed"]


async def test_an_answer_that_says_no_name_settles_none(bench: Bench) -> None:
    """Two names are possible; a write without any of the values that name it leaves both to be ended."""
    bench.vendor.named = lambda values: values.get("email")  # type: ignore[attr-defined]  # a `Names`
    bench.connector = bench.build()
    first = delivery("d1", parts=[EMAIL])
    bench.vendor.answers = [Retry(code="vendor_timeout")]
    await bench.take(first)
    bench.keys.hidden = {first.delivery_id}
    bench.vendor.answers = [Done(outcome="delivered")]
    await bench.take(delivery("d2", parts=[PHONE]))
    await bench.later()
    assert [type(asked) for asked in bench.vendor.calls] == [Write, Write]
    await bench.take(lapse("l1", of_subject("ann", "p", "q"), cause="erasure"))
    await bench.later()
    last = bench.vendor.calls[-1]
    assert isinstance(last, Erase)
    assert last.also == ("one",)


async def test_a_name_that_follows_from_the_values_is_known_before_the_call(bench: Bench) -> None:
    """An answer that is lost leaves no object that an erasure cannot name; nor does a changed address."""
    bench.vendor.named = lambda values: values.get("email")  # type: ignore[attr-defined]  # a `Names`
    bench.connector = bench.build()
    first = delivery("d1", parts=[EMAIL])
    bench.vendor.answers = [Retry(code="vendor_timeout")]
    await bench.take(first)
    bench.vendor.answers = [Done(outcome="delivered", vendor_id="one"), Retry(code="vendor_timeout")]
    await bench.later()
    await bench.take(delivery("d2", parts=[({"email": "two"}, ["p"])]))
    lost = bench.vendor.calls[-1]
    assert (lost.vendor_id, lost.also) == ("one", ())
    await bench.take(lapse("l1", of_subject("ann", "p"), cause="erasure"))
    last = bench.vendor.calls[-1]
    assert isinstance(last, Erase)
    assert (last.vendor_id, last.also) == ("one", ("two",))


async def test_a_recall_read_twice_reaches_what_was_read_again_between(bench: Bench) -> None:
    """Deliveries that a redelivered chunk enters anew are taken back by the redelivered recall."""
    first, event = delivery("d1", parts=[EMAIL]), lapse("l1", ProcessorScope(), cause="recall")
    await bench.take(first, event)
    assert bench.vendor.objects == {}
    bench.keys.closed = "suspended"
    with bench.vault.transaction() as tx:
        tx.set_progress((b"t" * 16).hex(), 0, 0)  # as if the worker had died before it moved on
    bench.offsets[0] = 0
    await bench.take(first, event)
    bench.keys.closed = None
    await bench.later()
    assert bench.vendor.objects == {}
    assert outcomes(bench.vault, id16("l1")) == ["completed"]


async def test_a_zombie_enters_nothing_once_it_is_overtaken(bench: Bench) -> None:
    """Its deliveries are not even registered, so nothing of them waits for a key that lives."""
    chunk = bench.chunk(*(delivery(f"d{n}", subject=f"s{n}", parts=[EMAIL]) for n in range(3)))
    bench.limits = Limits(in_flight=1, batch=1)
    zombie = bench.build()

    async def overtaken(call: Call) -> Answer:
        with bench.vault.transaction() as tx:
            tx.set_progress((b"t" * 16).hex(), 0, 3)
        return bench.vendor.apply(call)

    bench.vendor.call = overtaken  # type: ignore[method-assign]
    assert await zombie.handle(chunk) == 3
    assert len(bench.vendor.objects) == 1
    assert bench.connector.waiting() == 0


async def test_an_object_seen_a_thousand_times_stays_small(bench: Bench) -> None:
    """Deliveries that a later one covers are forgotten; the lapses of what they held change nothing."""
    for n in range(100):
        seen = delivery(f"d{n}", parts=[({"url": f"page {n}"}, ["p"])], period=n, decided=n)
        await bench.take(seen)
    with bench.vault.transaction(write=False) as tx:
        [ref] = tx.objects_of_processor(NAME)
        assert len(tx.objects(NAME, [ref])[ref].holdings) <= 33
    for n in range(99):
        await bench.take(lapse(f"l{n}", of_bucket("p", n), cause="retention"))
    assert bench.held == {"url": "page 99"}
    await bench.take(lapse("l99", of_bucket("p", 99), cause="retention"))
    assert bench.vendor.objects == {}


# ---- answers -----------------------------------------------------------------------------------------------
async def test_a_refused_delivery_is_told_and_forgotten(bench: Bench) -> None:
    """A permanent no leaves no row, and one bad delivery on an object does not take the good one with it."""
    bench.vendor.answers = [Permanent(code="vendor_refused"), Permanent(code="vendor_refused")]
    bad, good = delivery("d1", parts=[({"email": "bad"}, ["p"])]), delivery("d2", parts=[PHONE])
    await bench.take(bad, good)
    assert bench.held == {"phone": "one"}
    assert outcomes(bench.vault, bad.delivery_id) == ["refused_by_vendor"]
    assert outcomes(bench.vault, good.delivery_id) == ["delivered"]
    bench.die(bad, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert outcomes(bench.vault, id16("l1")) == ["not_applicable"]


async def test_a_refused_erasure_is_told_and_asked_again_every_day(bench: Bench) -> None:
    """`failed_permanent` is said once, and `completed` when the recipient has come round."""
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    bench.die(first, "p")
    bench.vendor.answers = [Permanent(code="vendor_refused"), Permanent(code="vendor_refused")]
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert outcomes(bench.vault, id16("l1")) == ["failed_permanent"]
    await bench.later(3600)
    assert bench.held == {"email": "one"}
    await bench.later(24 * 3600)
    await bench.later(24 * 3600)
    assert bench.vendor.objects == {}
    assert outcomes(bench.vault, id16("l1")) == ["failed_permanent", "completed"]


async def test_what_is_refused_too_often_counts_as_refused_for_good(bench: Bench) -> None:
    """An attempt budget turns a partner's 400s into a permanent answer."""
    bench.vendor.answers = [Retry(code="vendor_refused", landed=False, tries=3)] * 3
    first = delivery("d1", parts=[EMAIL])
    await bench.take(first)
    await bench.later()
    await bench.later()
    assert outcomes(bench.vault, first.delivery_id) == ["refused_by_vendor"]
    assert bench.connector.waiting() == 0


async def test_an_expired_login_is_renewed_once(bench: Bench) -> None:
    """A refresh, then the same call; a second expiry pauses the connector."""
    bench.vendor.answers = [Refresh(code="vendor_login")]
    await bench.take(delivery("d1", parts=[EMAIL]))
    assert (bench.vendor.refreshed, bench.held) == (1, {"email": "one"})
    bench.vendor.answers = [Refresh(code="vendor_login"), Refresh(code="vendor_login")]
    await bench.take(delivery("d2", parts=[PHONE]))
    assert not bench.connector.gate.disabled
    await bench.later(300)
    assert bench.held == {"email": "one"}
    await bench.later(301)
    assert bench.held == {"email": "one", "phone": "one"}


async def test_a_call_without_an_answer_ends_at_its_deadline(bench: Bench) -> None:
    """The deadline ends before the lease; the object is parked and counts as a copy."""

    async def hangs(call: Call) -> Answer:
        bench.vendor.apply(call)
        await asyncio.sleep(60)
        raise AssertionError

    first = delivery("d1", parts=[EMAIL])
    bench.vendor.call = hangs  # type: ignore[method-assign]
    await bench.take(first)
    del bench.vendor.call
    assert bench.connector.waiting() == 1
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert bench.vendor.objects == {}


async def test_a_readable_recipient_is_looked_at_after_an_erasure(bench: Bench) -> None:
    """Where the copy can still be read, the erasure is not believed, and asked for again."""
    first, lies = delivery("d1", parts=[EMAIL]), 1

    async def liar(call: Call) -> Answer:
        nonlocal lies
        if isinstance(call, Erase) and lies:
            lies -= 1
            return Done(outcome="completed")
        return bench.vendor.apply(call)

    bench.vendor.call, bench.vendor.readable = liar, True  # type: ignore[method-assign]
    await bench.take(first)
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert (bench.held, outcomes(bench.vault, id16("l1"))) == ({"email": "one"}, [])
    await bench.later()
    assert (bench.held, outcomes(bench.vault, id16("l1"))) == ({}, ["completed"])


async def test_a_refusal_after_a_lost_answer_leaves_the_row(bench: Bench) -> None:
    """What may have landed counts as a copy, whatever the recipient says later."""
    first = delivery("d1", parts=[EMAIL])
    bench.vendor.answers = [Retry(code="vendor_timeout"), Permanent(code="vendor_refused")]
    await bench.take(first)
    await bench.later()
    assert outcomes(bench.vault, first.delivery_id) == ["refused_by_vendor"]
    assert bench.held == {"email": "one"}
    bench.die(first, "p")
    await bench.take(lapse("l1", of_subject("ann", "p")))
    assert bench.vendor.objects == {}


async def test_an_earlier_delivery_that_opens_late_overwrites_nothing_newer(bench: Bench) -> None:
    """Closed for a while and open again, it fills in only what no later delivery wrote."""
    first = delivery("d1", parts=[({"email": "old", "phone": "old"}, ["p"])])
    bench.keys.closed = "hidden"
    await bench.take(first)
    assert bench.connector.waiting() == 0  # asleep
    bench.keys.closed = None
    bench.keys.hidden = {first.delivery_id}
    await bench.take(delivery("d2", parts=[({"email": "new"}, ["p"])]))
    assert bench.held == {"email": "new"}
    bench.keys.hidden = set()
    await bench.later()
    assert bench.held == {"email": "new", "phone": "old"}


async def test_calls_in_flight_stay_within_the_budget(bench: Bench) -> None:
    """Two chunks and the loop together never have more calls under way than the recipient grants."""
    now, most = 0, 0

    async def counted(call: Call) -> Answer:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return bench.vendor.apply(call)

    bench.vendor.call = counted  # type: ignore[method-assign]
    chunks = [
        bench.chunk(
            *(delivery(f"d{p}{n}", subject=f"s{p}{n}", parts=[EMAIL]) for n in range(20)), partition=p
        )
        for p in range(3)
    ]
    await asyncio.gather(*(bench.connector.handle(chunk) for chunk in chunks))
    assert most == 4
    assert len(bench.vendor.objects) == 60


async def test_a_storm_of_refusals_opens_the_circuit(bench: Bench) -> None:
    """After a few failures in a row nothing is called; one probe after the cool-down decides."""
    bench.vendor.answers = [Retry(code="vendor_down")] * 100
    await bench.take(*(delivery(f"d{n}", subject=f"s{n}", parts=[EMAIL]) for n in range(50)))
    assert len(bench.vendor.calls) < 15
    await bench.later(1)
    calls = len(bench.vendor.calls)
    await bench.later(0.1)
    assert len(bench.vendor.calls) == calls
    bench.vendor.answers.clear()
    for _ in range(60):
        await bench.later(60)
    assert len(bench.vendor.objects) == 50
    assert bench.connector.waiting() == 0


async def test_a_parked_object_does_not_hold_up_the_others(bench: Bench) -> None:
    """Its own later deliveries wait for it; every other object goes on."""

    async def picky(call: Call) -> Answer:
        if isinstance(call, Write) and call.key == id16("bad").hex() and bench.wall() < 2_000_000_000:
            return Retry(code="vendor_busy", after=seconds(900), landed=False)
        return bench.vendor.apply(call)

    bench.vendor.call = picky  # type: ignore[method-assign]
    await bench.take(
        delivery("d1", subject="bad", parts=[EMAIL]), delivery("d2", subject="good", parts=[EMAIL])
    )
    await bench.take(
        delivery("d3", subject="bad", parts=[PHONE]), delivery("d4", subject="good", parts=[PHONE])
    )
    assert bench.vendor.objects == {id16("good").hex(): {"email": "one", "phone": "one"}}
    await bench.later(1000)
    assert bench.vendor.objects[id16("bad").hex()] == {"email": "one", "phone": "one"}


async def test_a_paused_connector_calls_nothing_until_its_time(bench: Bench) -> None:
    """A pause keeps every object back; after it they are taken up again."""
    bench.vendor.answers = [Pause(code="vendor_login", after=seconds(600))]
    await bench.take(delivery("d1", parts=[EMAIL]))
    await bench.take(delivery("d2", subject="ben", parts=[EMAIL]))
    assert len(bench.vendor.calls) == 1
    for _ in range(30):
        await bench.later(40)
    assert len(bench.vendor.objects) == 2


async def test_a_chunk_waits_while_too_much_waits(bench: Bench) -> None:
    """Beyond the bound the rest stays in Kafka."""
    bench.limits = Limits(in_flight=4, poll=0.001, waiting=2)
    bench.connector = bench.build()
    bench.vendor.answers = [Retry(code="vendor_busy", landed=False)] * 2
    await bench.take(delivery("d1", subject="a", parts=[EMAIL]), delivery("d2", subject="b", parts=[EMAIL]))
    waiting = asyncio.create_task(bench.connector.handle(bench.chunk(delivery("d3", parts=[EMAIL]))))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await bench.later()
    await waiting
    assert len(bench.vendor.objects) == 3


# ---- chunks ------------------------------------------------------------------------------------------------
async def test_a_zombies_chunk_has_no_effect(bench: Bench) -> None:
    """What another worker has done is skipped, and a worker that was overtaken is sent on."""
    first, second = delivery("d1", parts=[EMAIL]), delivery("d2", subject="ben", parts=[EMAIL])
    chunk = bench.chunk(first, second)
    assert await bench.connector.handle(chunk) is None
    calls = len(bench.vendor.calls)
    assert await bench.build().handle(chunk) is None
    assert len(bench.vendor.calls) == calls

    async def overtaken(call: Call) -> Answer:
        with bench.vault.transaction() as tx:
            tx.set_progress((b"t" * 16).hex(), 0, 77)
        return bench.vendor.apply(call)

    bench.vendor.call = overtaken  # type: ignore[method-assign]
    assert await bench.connector.handle(bench.chunk(delivery("d3", parts=[PHONE]))) == 77


async def test_ticks_are_skipped_and_strangers_are_not(bench: Bench) -> None:
    """A null value rolls a segment; a record that is not of this topic is refused, never dropped."""
    assert await bench.connector.handle(bench.chunk(None)) is None
    bad = Chunk(
        topic="t",
        topic_id=b"t" * 16,
        partition=5,
        records=[Inbound(offset=0, timestamp_ms=0, key=None, value=b"not framed")],
    )
    with pytest.raises(Rejected):
        await bench.connector.handle(bad)


async def test_the_loop_survives_a_vault_that_is_away(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """`run` waits and tries again; it never ends by itself."""
    times = 0

    async def tick() -> int:
        nonlocal times
        times += 1
        if times < 3:
            raise Unavailable("unavailable", "the vault is busy")
        return 0

    bench.connector.tick = tick  # type: ignore[method-assign]
    running = asyncio.create_task(bench.connector.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    assert times >= 3
    assert [r.message for r in caplog.records][:1] == ["connector waits for the vault"]


def test_a_lease_shorter_than_a_call_is_refused() -> None:
    """A call that may outlive its lease could land under another one."""
    with pytest.raises(Exception, match="deadline"):
        Timing(call=seconds(5), lease=seconds(5))


async def test_a_vault_that_is_away_costs_no_slot_of_the_budget(bench: Bench) -> None:
    """Again and again it fails when calls are about to be claimed; when it is back, everything goes out."""
    real, fails = bench.vault.transaction, [0]

    def transaction(*, write: bool = True) -> AbstractContextManager[Tx]:
        if write and fails[0] > 0 and bench.connector.waiting():
            fails[0] -= 1
            raise Unavailable("unavailable", "the disk is full", "vault")
        return real(write=write)

    bench.vault.transaction = transaction  # type: ignore[method-assign]
    chunk = bench.chunk(*[delivery(f"d{n}", subject=f"s{n}", parts=[EMAIL]) for n in range(9)])
    for _ in range(5):
        fails[0] = 1
        with pytest.raises(Unavailable):
            await asyncio.wait_for(bench.connector.handle(chunk), 5)
    fails[0] = 0
    await asyncio.wait_for(bench.connector.handle(chunk), 5)
    await bench.later()
    assert len(bench.vendor.objects) == 9
