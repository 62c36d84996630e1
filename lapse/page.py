"""What our HTML pages share: one style and their pieces. Nothing is loaded or run; all shown is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lapse.cli.output import moment

STYLE = """
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
_ALONE = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for a page: nothing; the style stands in it."""


def whole(title: str, body: str, style: str = "") -> str:
    """Return a page of this title; `style` is put behind what all pages have."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALONE}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def text(value: object) -> str:
    """A value as text, escaped; a dash where there is none."""
    return escape("-" if value is None else str(value))


def day(at: int | str | None) -> str:
    """A moment, in microseconds or as RFC 3339, to the second."""
    said = at if isinstance(at, str) else moment(at)
    return text((said or "-").replace("T", " ").replace(".000Z", " UTC"))


def bar(parts: Sequence[tuple[str, float]]) -> str:
    """A bar of shares, each in the colour of its kind."""
    inner = "".join(f'<i class="{kind}" style="width:{share:.2%}"></i>' for kind, share in parts if share > 0)
    return f'<div class="bar" role="img" aria-label="progress">{inner}</div>'


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Figures, each with its word below."""
    inner = "".join(f"<div><b>{text(n)}</b><span class=soft>{text(w)}</span></div>" for n, w in figures)
    return f'<div class="tiles">{inner}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; the columns `numbers` stand to the right."""

    def row(cells: Sequence[str], mark: str) -> str:
        inner = (
            f"<{mark}{' class=n' if n in numbers else ''}>{cell}</{mark}>" for n, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{row(head, 'th') if head else ''}{''.join(row(cells, 'td') for cells in rows)}</table>"


def section(title: str, inner: str) -> str:
    """A part of a page under its own heading."""
    return f"<section><h2>{text(title)}</h2>{inner}</section>"
