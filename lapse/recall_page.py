"""The report on a recall as one HTML page: nothing is loaded, nothing runs, and it prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lapse.cli.output import moment
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

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6b7e;--line:#e3e8ef;--paper:#fff;--ground:#f5f7fa;
--good:#1f8a5b;--fair:#6c7fd8;--wait:#c98a1b;--bad:#c4453b}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf4;--soft:#97a5b8;--line:#2b3544;--paper:#182030;
--ground:#10161f;--good:#45b884;--fair:#8d9df0;--wait:#e0ab4b;--bad:#e8756b}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:56rem;margin:0 auto;padding:3rem 1.25rem}
header p,.soft{color:var(--soft)}
h1{font-size:1.9rem;line-height:1.2;margin:.2rem 0 .4rem;letter-spacing:-.02em}
h2{font-size:1.05rem;margin:0 0 .8rem}
section{background:var(--paper);border:1px solid var(--line);border-radius:14px;
padding:1.4rem 1.5rem;margin:1.1rem 0}
.pill{display:inline-block;padding:.15rem .7rem;border-radius:99px;
font-size:.85rem;font-weight:600;color:#fff}
.good{background:var(--good)}.fair{background:var(--fair)}
.wait{background:var(--wait)}.bad{background:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));
gap:1rem;margin-top:1.2rem}
.tiles b{display:block;font-size:1.7rem;line-height:1.2;font-variant-numeric:tabular-nums}
.bar{display:flex;height:14px;border-radius:99px;overflow:hidden;background:var(--line)}
.bar i{display:block;min-width:2px}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.45rem .6rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-size:.8rem;font-weight:600;color:var(--soft)}
tr:last-child td{border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.dot{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;margin-right:.5rem}
footer{color:var(--soft);font-size:.88rem;margin-top:2rem}
@media print{body{background:#fff}section{break-inside:avoid}main{padding:0}}
"""


def page(recall: Recall) -> str:
    """Return the report as HTML."""
    title = f"Recall from {recall.plan.name}"
    body = "".join((_head(recall), _held(recall), _answered(recall), _open(recall), _receipts(recall)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}{_foot(recall)}</main></body></html>\n"
    )


def _text(value: object) -> str:
    return escape("-" if value is None else str(value))


def _day(at: int | None) -> str:
    return _text((moment(at) or "-").replace("T", " ").replace(".000Z", " UTC"))


def _head(recall: Recall) -> str:
    plan, task = recall.plan, recall.task
    kind, word = ("good", "complete") if recall.whole else ("wait", "running")
    if not recall.whole and recall.now > task.due:
        kind, word = "bad", "overdue"
    tiles = {
        f"{recall.progress:.0%}": "ended for good",
        f"{task.objects:,}" if recall.tracked else "-": "objects it held",
        f"{recall.open:,}": "still open",
        f"{recall.answers} of {task.expected}": "final answers",
    }
    shown = "".join(
        f"<div><b>{_text(n)}</b><span class=soft>{_text(w)}</span></div>" for n, w in tiles.items()
    )
    where = f"{plan.region}, {plan.safeguards or 'no mechanism needed'}"
    return (
        f"<header><p>Lapse &middot; recall</p><h1>{_text(plan.title)} "
        f'<span class="pill {kind}">{word}</span></h1>'
        f"<p>{_text(plan.name)} &middot; {_text(where)}<br>Asked back on {_day(task.since)}, "
        f"to be answered by {_day(task.due)}: {_text(task.reason or 'no reason was given')}</p></header>"
        f'<section>{_bar([("good", recall.progress)])}<div class="tiles">{shown}</div></section>'
    )


def _bar(parts: Sequence[tuple[str, float]]) -> str:
    inner = "".join(f'<i class="{kind}" style="width:{share:.2%}"></i>' for kind, share in parts if share > 0)
    return f'<div class="bar" role="img" aria-label="progress">{inner}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    def row(cells: Sequence[str], mark: str) -> str:
        inner = (
            f"<{mark}{' class=n' if n in numbers else ''}>{cell}</{mark}>" for n, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _held(recall: Recall) -> str:
    titles = recall.purposes
    rows = [
        (
            f"{_text(titles.get(h.purpose, h.purpose))}<br><span class=soft>{_text(h.purpose)}</span>",
            _day(h.since),
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
    return f"<section><h2>What it held, and for what</h2>{_table(head, rows, (2, 3))}{note}</section>"


def _answered(recall: Recall) -> str:
    counts = recall.outcomes or _of_receipts(recall)
    total = sum(counts.values()) + recall.remaining
    shares = [(MEANS[o][0], counts[o] / total) for o in MEANS if counts.get(o) and o in MEANS]
    rows = [
        (
            f'<span class="dot {MEANS[o][0]}"></span>{_text(o.replace("_", " "))}',
            _text(MEANS[o][1]),
            f"{counts[o]:,}",
        )
        for o in MEANS
        if counts.get(o)
    ]
    unit = "objects" if recall.outcomes else "answers"
    inner = (
        _table(("Outcome", "Means", unit.capitalize()), rows, (2,))
        if rows
        else "<p class=soft>Nothing yet.</p>"
    )
    return f"<section><h2>What it answered</h2>{_bar(shares) if rows else ''}{inner}</section>"


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
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<section><h2>What is open</h2><ul>{items}</ul></section>"


def _unfinished(recall: Recall) -> list[tuple[ReceiptOutcome, int]]:
    return [(o, n) for o, n in recall.outcomes.items() if MEANS.get(o, ("bad", ""))[0] in ("wait", "bad")]


def _receipts(recall: Recall) -> str:
    given = list(recall.task.answers.items())
    rows = [(f"<code>{name.hex()}</code>", _text(outcome)) for name, outcome in given[:MOST_RECEIPTS]]
    if not rows:
        return ""
    more = f"<p class=soft>and {len(given) - MOST_RECEIPTS} more</p>" if len(given) > MOST_RECEIPTS else ""
    return f"<section><h2>Receipts on the log</h2>{_table(('Receipt', 'Outcome'), rows, ())}{more}</section>"


def _foot(recall: Recall) -> str:
    return (
        f"<footer>As of {_day(recall.now)}. The order stands on <code>control</code>, the recall on "
        f"<code>lifecycle</code> as <code>{recall.task.about.hex()}</code>, the answers on "
        "<code>receipts</code>; <code>lapse lifecycle verify</code> proves the order of all that. "
        "Nothing here names a person.</footer>"
    )
