"""What processors do not answer becomes a task, once, and is done when it is answered or shown to be done."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import signing
from schemas.errors import Unavailable
from schemas.ids import Micros, RequestId
from schemas.models import ReceiptGiven, ReceiptOutcome, RequestDecided
from streams import building
from streams.tasking import LISTED, Letter, letters, name_of
from streams.tasks import ASKS, BY_HAND, FINAL, fold, pass_time
from tests.unit.stages.test_govern_flow import ann
from tests.unit.stages.world import SECOND, World, changed
from vault.tasks import Task

START, DUE = Micros(1_000), Micros(1_000 + 4_000_000_000)
AWAITED = Task(
    processor="crm", about=b"l" * 16, due=DUE, look=START, since=START, cause="erasure", expected=2
)
OUTCOMES: tuple[ReceiptOutcome, ...] = (*sorted(FINAL), *sorted(ASKS), "accepted_async")


def receipt(outcome: ReceiptOutcome, name: str = "", **more: Any) -> ReceiptGiven:
    """A processor's answer."""
    made = ReceiptGiven(
        receipt_id=(name or outcome).encode().ljust(16)[:16],
        processor="crm",
        about=AWAITED.about,
        outcome=outcome,
        at=START,
        evidence=b"e" * 32,
    )
    return changed(made, **more)


def folded(*receipts: ReceiptGiven, task: Task | None = AWAITED) -> Task | None:
    """The row after these."""
    for each in receipts:
        task = None if task is None else fold(task, each, Micros(START + 5))
    return task


# ---- what receipts make of it ------------------------------------------------------------------------------
def test_what_is_answered_in_time_leaves_nothing() -> None:
    """Not before every partition has answered for good."""
    one = folded(receipt("completed", "a"))
    assert one is not None and one.state == "awaited"
    assert folded(receipt("completed", "a"), receipt("not_applicable", "b")) is None
    assert folded(receipt("completed", "a"), receipt("completed", "a")) is not None, "the same is one answer"


@pytest.mark.parametrize(("outcome", "kind"), sorted(ASKS.items()))
def test_an_answer_that_asks_for_a_person_is_a_task_at_once(outcome: ReceiptOutcome, kind: str) -> None:
    """It is done when the rest is answered for good after all."""
    task = folded(receipt(outcome))
    assert task is not None and (task.state, task.kind) == ("open", kind)
    done = folded(receipt("completed", "a"), receipt("completed", "b"), task=task)
    assert done is not None and (done.state, done.evidence) == ("done", b"e" * 32)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=6), st.randoms())
def test_receipts_fold_alike_in_any_order_and_however_often(
    outcomes: list[ReceiptOutcome], random: Any
) -> None:
    """State and kind of task do not depend on redelivery, but for what had ended before the rest came."""
    given_ = [receipt(outcome, f"{n}") for n, outcome in enumerate(outcomes)]
    again = [*given_, *given_]
    random.shuffle(again)
    one, other = folded(*given_), folded(*again)
    assert (one is None or one.state == "done") == (other is None or other.state == "done")
    if one is not None and other is not None and one.state != "done":
        assert one.state == other.state and dict(one.answers) == dict(other.answers)


def test_only_a_signed_word_of_an_operator_counts_as_done_by_hand() -> None:
    """A processor that claims it is passed over."""
    word = receipt("completed", code=BY_HAND)
    task = fold(AWAITED, word, DUE)
    assert task == AWAITED
    done = fold(AWAITED, word, DUE, by_hand=True)
    assert done is not None and (done.state, done.done_at) == ("done", DUE)


# ---- what time makes of it ---------------------------------------------------------------------------------
def steps(task: Task, *, until: int, every: int = 100_000_000) -> list[tuple[str, int]]:
    """Every step that is noted while time passes, and when; the row is looked at when it asks to be."""
    found: list[tuple[str, int]] = []
    left: Task | None = task
    for now in range(START, START + until, every):
        if left is None or left.look > now:
            continue
        left, step = pass_time(left, Micros(now))
        if step is not None:
            found.append((step, (now - START) // 1_000_000))
    return found


def test_an_answer_that_does_not_come_is_told_of_three_times() -> None:
    """When three quarters of the time are over, at the deadline, and once more."""
    whole = DUE - START
    assert [step for step, _ in steps(AWAITED, until=4 * whole)] == ["soon", "due", "overdue"]
    assert [at for _, at in steps(AWAITED, until=4 * whole)][:2] == [3000, 4000]
    late, _ = pass_time(AWAITED, DUE)
    assert late is not None and (late.state, late.kind) == ("open", "late")
    accepted = folded(receipt("accepted_async"))
    assert accepted is not None
    unfinished, _ = pass_time(accepted, DUE)
    assert unfinished is not None and unfinished.kind == "unfinished"


def test_a_task_is_told_of_at_once() -> None:
    """And then as the others, the deadline being the same."""
    task = folded(receipt("manual_required"))
    assert task is not None
    assert [step for step, _ in steps(task, until=4 * (DUE - START))] == ["opened", "soon", "due", "overdue"]


def test_after_a_long_stop_there_is_one_letter_not_three() -> None:
    """Only the last of the steps that were missed."""
    task, step = pass_time(AWAITED, Micros(DUE + 10 * (DUE - START)))
    assert step == "overdue" and task is not None
    assert pass_time(task, Micros(task.look - 1))[1] is None


def test_a_letter_names_tasks_and_no_more_than_fit() -> None:
    """The same letter has the same name, another one another."""
    several = [replace_(AWAITED, about=bytes([n]) * 16) for n in range(LISTED + 5)]
    [letter] = letters([("due", each) for each in several], DUE)
    assert name_of(several[0]) in letter.body and "and 5 more" in letter.body
    assert letters([("due", each) for each in several], DUE) == [letter]
    [other] = letters([("overdue", each) for each in several], DUE)
    assert other.id != letter.id


def replace_(task: Task, **fields: Any) -> Task:
    """A task with some fields replaced."""
    return changed(task, **fields)


# ---- in the flow -------------------------------------------------------------------------------------------
@dataclass
class Office:
    """Whom letters are handed to; `away` for a while."""

    letters: list[Letter] = field(default_factory=list)
    away: bool = False

    def __call__(self, letter: Letter) -> None:
        """Take it."""
        if self.away:
            raise Unavailable("unavailable", "no mail server", "localhost")
        self.letters.append(letter)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A flow in which Ann was erased: two processors have thirty seconds to answer."""
    made = World()
    await made.settle()
    made.publish(made.form(consents={"news": True}), "intake.form")
    await made.settle()
    erased = RequestDecided(
        **made.head(),
        request_id=RequestId(os.urandom(16)),
        right="erasure",
        alias_hashes=[ann(made)],
        purposes=[],
        until=made.vault.clock.now(),
        reason="asked",
    )
    made.command(erased)
    await made.settle()
    yield made


def rows(world: World, processor: str = "crm") -> list[Task]:
    """What is awaited of a processor, or open, or done; what expires meanwhile is left out."""
    with world.vault.transaction(write=False) as tx:
        return [task for task in tx.tasks(processor=processor) if task.cause != "retention"]


def answers(world: World, outcome: ReceiptOutcome, **more: Any) -> ReceiptGiven:
    """The CRM's answer to the erasure."""
    [task] = rows(world)
    return receipt(outcome, about=task.about, **more)


async def told(world: World, given_: ReceiptGiven) -> None:
    """Let a receipt come."""
    world.publish(given_, "receipts")
    await world.settle()


async def test_every_lapse_a_processor_is_sent_is_awaited(world: World) -> None:
    """By the time it was told, without a word about whom."""
    for name in ("crm", "mailer"):
        [row] = rows(world, name)
        [lapse] = [each for each in world.lapses(f"processor.{name}") if each.cause == "erasure"]
        assert (row.about, row.due, row.state) == (lapse.lapse_id, lapse.answer_by, "awaited")
        assert row.scope == "person"
    await world.later(41)
    lapses = world.lapses("processor.mailer")
    assert all(lapse.answer_by is not None for lapse in lapses), "also those made for each delivery"


async def test_a_receipt_settles_once_whoever_reads_it_again(world: World) -> None:
    """A redelivery of a receipt that was settled makes no task of it."""
    failed, done = answers(world, "failed_permanent"), answers(world, "completed")
    await told(world, failed)
    await told(world, failed)
    [task] = rows(world)
    assert (task.state, task.kind) == ("open", "failed")
    await told(world, done)
    await told(world, failed)
    assert [task.state for task in rows(world)] == ["done"]


async def test_an_operators_word_ends_a_task_and_a_forged_one_does_not(world: World) -> None:
    """Only the keys that may sign commands may."""
    await told(world, answers(world, "manual_required"))
    word = answers(world, "completed", code=BY_HAND, receipt_id=b"h" * 16)
    await told(world, word)
    await told(world, signing.sign_receipt(changed(word, receipt_id=b"f" * 16), os.urandom(32)))
    assert [task.state for task in rows(world)] == ["open"]
    await told(world, signing.sign_receipt(word, world.operator))
    [task] = rows(world)
    assert (task.state, task.evidence) == ("done", b"e" * 32)


async def test_the_officer_is_written_to_once_whatever_crashes(world: World) -> None:
    """Steps are noted with their letters in one transaction, and a letter waits for the mail server."""
    office, build = Office(away=True), building.tasking
    away: Callable[[], Any] = build(world.around, office).run
    await world.later(25)
    with pytest.raises(Unavailable):
        await away()
    with pytest.raises(Unavailable):
        await build(world.around, office).run()
    office.away = False
    await build(world.around, office).run()
    assert sorted(letter.subject.split(":")[1].strip() for letter in office.letters) == ["crm", "mailer"]
    await build(world.around, office).run()
    assert len(office.letters) == 2
    await world.later(10)
    for _ in range(2):
        await build(world.around, office).run()
    assert len(office.letters) == 4
    assert {row.kind for row in rows(world)} == {"late"}
    assert not any("ann" in letter.body or "@" in letter.body for letter in office.letters)


async def test_a_worker_that_dies_between_order_and_mail_writes_the_same_letter(world: World) -> None:
    """Its Message-ID is the same, so a mailbox shows it once."""
    office = Office()

    class Dies(Exception):
        pass

    def taken(letter: Letter) -> None:
        office(letter)
        raise Dies

    await world.later(25)
    with pytest.raises(Dies):
        await building.tasking(world.around, taken).run()
    await building.tasking(world.around, office).run()
    names = [letter.id for letter in office.letters]
    assert len(names) == 3 and len(set(names)) == 2


async def test_without_an_officer_tasks_open_all_the_same(world: World) -> None:
    """Nobody is written to, and nothing is kept to be written later."""
    await world.later(31)
    await building.tasking(world.around, None).run()
    assert {row.state for row in rows(world)} == {"open"}
    office = Office()
    await building.tasking(world.around, office).run()
    assert office.letters == []


async def test_a_review_that_falls_due_is_a_task_until_it_was_made() -> None:
    """The date stands in the policy; an operator's evidence closes it, and it does not come back."""
    text = World().text.replace(
        "    region: DE\n", "    region: DE\n    assurance_until: 2030-01-01\n    review: 2027-02-01\n", 1
    )
    world = World(policy=text)
    await world.settle()
    assert world.plan.processor("crm").review is not None
    run = building.tasking(world.around, None).run
    await run()
    assert rows(world) == []
    review = world.plan.processor("crm").review
    assert review is not None
    world.vault.clock.set_manual(Micros(review + SECOND))
    await run()
    await run()
    [task] = rows(world)
    assert (task.state, task.kind) == ("open", "review")
    word = receipt("completed", about=task.about, code=BY_HAND)
    await told(world, signing.sign_receipt(word, world.operator))
    await run()
    assert [row.state for row in rows(world)] == ["done"]
