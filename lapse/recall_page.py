"""The report on a recall as one HTML page: nothing is loaded, nothing runs, and it prints."""

from __future__ import annotations

from lapse.page import bar, day, table, text, tiles, whole
from lapse.recalls import Recall
from schemas.models import ReceiptOutcome

MOST_RECEIPTS = 64
"""Receipts named; more are counted."""
MEANS: dict[ReceiptOutcome, tuple[str, str]] = {
    "completed": ("good", "the copy is gone"),
    "already_absent": ("good", "there was none any more"),
    "not_applicable": ("good", "nothing of it was there, or can be addressed"),
    "overwritten_only": ("fair", "the fields were blanked; the object could not be deleted"),
    "accepted_async": ("wait", "accepted; the end has not been reported"),
    "manual_required": ("bad", "a person has to remove it there"),
    "failed_permanent": ("bad", "refused for good; asked again every day"),
}
"""How each outcome is shown, and what it says."""


def page(recall: Recall) -> str:
    """Return the report as HTML."""
    parts = (_head(recall), _held(recall), _answered(recall), _open(recall), _receipts(recall), _foot(recall))
    return whole(f"Recall from {recall.plan.name}", "".join(parts))


def _head(recall: Recall) -> str:
    plan, task = recall.plan, recall.task
    kind, word = ("good", "complete") if recall.whole else ("wait", "running")
    if not recall.whole and recall.now > task.due:
        kind, word = "bad", "overdue"
    figures = {
        f"{recall.progress:.0%}": "ended for good",
        f"{task.objects:,}" if recall.tracked else "-": "objects it held",
        f"{recall.open:,}": "still open",
        f"{recall.answers} of {task.expected}": "final answers",
    }
    where = f"{plan.region}, {plan.safeguards or 'no mechanism needed'}"
    return (
        f"<header><p>Lapse &middot; recall</p><h1>{text(plan.title)} "
        f'<span class="pill {kind}">{word}</span></h1>'
        f"<p>{text(plan.name)} &middot; {text(where)}<br>Asked back on {day(task.since)}, "
        f"to be answered by {day(task.due)}: {text(task.reason or 'no reason was given')}</p></header>"
        f"<section>{bar([('good', recall.progress)])}{tiles(figures.items())}</section>"
    )


def _held(recall: Recall) -> str:
    titles = recall.purposes
    rows = [
        (
            f"{text(titles.get(h.purpose, h.purpose))}<br><span class=soft>{text(h.purpose)}</span>",
            day(h.since),
            f"{h.deliveries:,}" if recall.tracked else "-",
            f"{h.records:,}",
        )
        for h in recall.task.held
    ]
    if not rows:
        return "<section><h2>What it held</h2><p class=soft>Nothing that is known here.</p></section>"
    head = ("Purpose", "Since", "Deliveries", "Records, at most")
    note = (
        "<p class=soft>As it was when it was asked back. Records are those of all periods it was ever given"
    )
    note += " anything of, whether or not it got each.</p>"
    return f"<section><h2>What it held, and for what</h2>{table(head, rows, (2, 3))}{note}</section>"


def _answered(recall: Recall) -> str:
    counts = recall.outcomes or _of_receipts(recall)
    total = sum(counts.values()) + recall.remaining
    shares = [(MEANS[o][0], counts[o] / total) for o in MEANS if counts.get(o) and o in MEANS]
    rows = [
        (
            f'<span class="dot {MEANS[o][0]}"></span>{text(o.replace("_", " "))}',
            text(MEANS[o][1]),
            f"{counts[o]:,}",
        )
        for o in MEANS
        if counts.get(o)
    ]
    unit = "objects" if recall.outcomes else "answers"
    inner = (
        table(("Outcome", "Means", unit.capitalize()), rows, (2,))
        if rows
        else "<p class=soft>Nothing yet.</p>"
    )
    return f"<section><h2>What it answered</h2>{bar(shares) if rows else ''}{inner}</section>"


def _of_receipts(recall: Recall) -> dict[ReceiptOutcome, int]:
    counts: dict[ReceiptOutcome, int] = {}
    for outcome in recall.task.answers.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def _open(recall: Recall) -> str:
    if recall.whole:
        proof = (
            f" An operator showed it: <code>{recall.task.evidence.hex()}</code>." if recall.by_hand else ""
        )
        return f"<section><h2>What is open</h2><p>Nothing.{proof}</p></section>"
    lines = [f"{recall.remaining:,} objects have not been answered for yet"] if recall.remaining else []
    lines += [f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in _unfinished(recall)]
    missing = recall.task.expected - recall.answers
    lines += [f"{missing} of {recall.task.expected} final answers are missing"] if missing > 0 else []
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<section><h2>What is open</h2><ul>{items}</ul></section>"


def _unfinished(recall: Recall) -> list[tuple[ReceiptOutcome, int]]:
    return [(o, n) for o, n in recall.outcomes.items() if MEANS.get(o, ("bad", ""))[0] in ("wait", "bad")]


def _receipts(recall: Recall) -> str:
    given = list(recall.task.answers.items())
    rows = [(f"<code>{name.hex()}</code>", text(outcome)) for name, outcome in given[:MOST_RECEIPTS]]
    if not rows:
        return ""
    more = f"<p class=soft>and {len(given) - MOST_RECEIPTS} more</p>" if len(given) > MOST_RECEIPTS else ""
    return f"<section><h2>Receipts on the log</h2>{table(('Receipt', 'Outcome'), rows, ())}{more}</section>"


def _foot(recall: Recall) -> str:
    return (
        f"<footer>As of {day(recall.now)}. The order stands on <code>control</code>, the recall on "
        f"<code>lifecycle</code> as <code>{recall.task.about.hex()}</code>, the answers on "
        "<code>receipts</code>; <code>lapse lifecycle verify</code> proves the order of all that. "
        "Nothing here names a person.</footer>"
    )
