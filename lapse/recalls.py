"""What a recall asked back, what was answered, what is open: worked out from the vault at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lapse.cli.output import moment
from lapse.main import Installation
from processors.kept import LapseDocument, unpack
from schemas.errors import NotFound
from schemas.ids import Micros
from schemas.models import ReceiptOutcome
from schemas.plan import ProcessorPlan
from streams.tasks import FINAL
from vault.port import Tx
from vault.tasks import Task

PAGE = 500
MOST = 100_000
"""Rows of one processor that are looked through for its recalls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """One recall as it stands.

    Counts are of objects where a connector of ours keeps track of them, and of answers where the processor's
    own consumer does.
    """

    plan: ProcessorPlan
    task: Task
    purposes: dict[str, str]
    """Title by name, of every purpose of the policy."""
    outcomes: dict[ReceiptOutcome, int]
    remaining: int
    answers: int
    now: Micros

    @property
    def tracked(self) -> bool:
        """Whether a connector of ours knows the objects."""
        return bool(self.task.objects) or bool(self.outcomes)

    @property
    def ended(self) -> int:
        """How many objects came to an end that needs nobody any more."""
        return sum(count for outcome, count in self.outcomes.items() if outcome in FINAL)

    @property
    def open(self) -> int:
        """How many objects have not: not yet asked, still awaited, to be done by hand, refused."""
        if self.task.state == "done":
            return 0
        return self.remaining + sum(n for o, n in self.outcomes.items() if o not in FINAL)

    @property
    def whole(self) -> bool:
        """Whether everything is answered for good."""
        return self.task.state == "done"

    @property
    def progress(self) -> float:
        """The share of objects (or of answers) that came to an end, 0 to 1."""
        if self.whole:
            return 1.0
        done, of = (
            (self.ended, self.ended + self.open) if self.tracked else (self.answers, self.task.expected)
        )
        return done / of if of else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        task = self.task
        return {
            "processor": self.plan.name,
            "title": self.plan.title,
            "region": self.plan.region,
            "mechanism": self.plan.safeguards,
            "lapse_id": task.about.hex(),
            "reason": task.reason,
            "ordered": moment(task.since),
            "answer_by": moment(task.due),
            "as_of": moment(self.now),
            "state": "complete" if self.whole else "overdue" if self.now > task.due else "running",
            "progress": round(self.progress, 4),
            "held": {
                "objects": task.objects,
                "purposes": [
                    {
                        "purpose": held.purpose,
                        "deliveries": held.deliveries,
                        "records_at_most": held.records,
                        "since": moment(held.since),
                    }
                    for held in task.held
                ],
            },
            "answered": dict(sorted(self.outcomes.items())),
            "open": {"objects": self.open, "not_asked_yet": self.remaining},
            "receipts": {
                "expected": task.expected,
                "given": [
                    {"receipt_id": name.hex(), "outcome": outcome} for name, outcome in task.answers.items()
                ],
            },
            "closed_by_hand": task.evidence.hex() if self.by_hand else None,
        }

    @property
    def by_hand(self) -> bool:
        """Whether an operator's evidence closed it, not the processor's answers."""
        finals = sum(outcome in FINAL for outcome in self.task.answers.values())
        return self.whole and finals < self.task.expected


def gather(here: Installation, name: str) -> Recall:
    """Return the latest recall of a processor; `NotFound` where nothing was ever asked back."""
    every = {p.name: p for plan in here.plans for p in plan.processors}
    if name not in every:
        raise NotFound("not_found", "no policy ever named this processor", name, "see: lapse processor list")
    titles = {p.name: p.title for plan in here.plans for p in plan.purposes}
    with here.vault.transaction(write=False) as tx:
        return read(tx, every[name], titles)


def read(tx: Tx, plan: ProcessorPlan, titles: dict[str, str]) -> Recall:
    """The same inside a transaction."""
    recalls = [t for t in tx.tasks(processor=plan.name, limit=MOST) if t.cause == "recall"]
    if not recalls:
        do = "lapse processor recall NAME --reason ..."
        raise NotFound("not_found", "nothing was asked back of this processor", plan.name, do)
    task = max(recalls, key=lambda each: each.since)
    outcomes, remaining = _answered(tx, task)
    finals = sum(outcome in FINAL for outcome in task.answers.values())
    return Recall(
        plan=plan,
        task=task,
        purposes=titles,
        outcomes=outcomes,
        remaining=remaining,
        answers=finals,
        now=tx.now,
    )


def _answered(tx: Tx, task: Task) -> tuple[dict[ReceiptOutcome, int], int]:
    """How objects ended, over all partitions the recall lay on, and how many have not been asked yet."""
    outcomes: dict[ReceiptOutcome, int] = {}
    remaining, whole, shelf, after = 0, False, f"{task.processor}#lapses", b""
    while page := tx.objects_of_processor(shelf, after=after, limit=PAGE):
        after = page[-1]
        for row in tx.objects(shelf, page).values():
            doc = unpack(row.document)
            if not isinstance(doc, LapseDocument) or doc.lapse_id != task.about:
                continue
            whole, remaining = whole or not doc.marking, remaining + doc.remaining
            for outcome, count in doc.counts.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
    # Until one partition's copy has reached everything, what it has not reached yet is only known as a rest.
    return outcomes, remaining if whole else max(remaining, task.objects - sum(outcomes.values()))
