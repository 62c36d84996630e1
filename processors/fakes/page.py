"""The page of a stand-in: what lies on its shelf, how that rose and fell, and who called last. Pure.

One file without anything from elsewhere. Everything shown is escaped and set apart in its own direction, and
the page's policy lets neither a foreign script nor a style attribute do anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

MOST = 60
"""Objects shown; a large shelf is counted, not printed."""
WIDE, HIGH = 600, 60
"""Size of the curve, in its own units."""


class Called(NamedTuple):
    """One call: when (seconds ago at the time of the page), how, where, and what was answered."""

    at: float
    method: str
    path: str
    status: int


class Mark(NamedTuple):
    """How many objects there were at a moment."""

    at: float
    objects: int


STYLE = """
:root { color-scheme: light dark; --paper: #faf8f4; --ink: #22201c; --faint: #8a8378; --line: #e4ded2;
  --card: #fff; --hue: #3b6ea5; --bad: #b3452c; --good: #3f7d4e; }
@media (prefers-color-scheme: dark) { :root { --paper: #191816; --ink: #eae6de; --faint: #8f897d;
  --line: #35322c; --card: #221f1b; --hue: #7fb0e3; --bad: #e58a6f; --good: #8cc79a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { margin: 0; font-size: 1.7rem; letter-spacing: -.01em; text-transform: capitalize; }
header p, .faint { margin: 0; color: var(--faint); }
.now { font-size: 2.6rem; font-weight: 650; line-height: 1; color: var(--hue); margin: 1.4rem 0 0; }
.now span { font-size: 1rem; font-weight: 400; color: var(--faint); }
svg { display: block; width: 100%; height: 64px; margin: .8rem 0 1.6rem; }
svg path { fill: none; stroke: var(--hue); stroke-width: 2; vector-effect: non-scaling-stroke; }
svg .under { fill: var(--hue); stroke: none; opacity: .12; }
.shelf { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: .8rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .7rem .9rem; }
article h2 { margin: 0 0 .35rem; font: 12px/1.4 ui-monospace, monospace; color: var(--faint);
  overflow-wrap: anywhere; }
dl { margin: 0; display: grid; grid-template-columns: auto 1fr; gap: .05rem .7rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.chips { margin: .45rem 0 0; font-size: 12px; color: var(--faint); overflow-wrap: anywhere; }
.empty { border: 1px dashed var(--line); border-radius: .6rem; padding: 2rem; text-align: center;
  color: var(--faint); }
h3 { margin: 2rem 0 .4rem; font-size: 1rem; }
table { border-collapse: collapse; width: 100%; font: 13px/1.5 ui-monospace, monospace; }
td { padding: .1rem .8rem .1rem 0; border-top: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
td:nth-child(3) { width: 100%; white-space: normal; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
"""
SCRIPT = """setInterval(async () => {
  try {
    const answer = await fetch("/?part=1", {cache: "no-store"});
    if (answer.ok) document.querySelector("main").innerHTML = await answer.text();
  } catch { /* it is away: what was seen last stays */ }
}, 1000);"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""What the page is served with."""


def page(name: str, inner: str) -> str:
    """Return the whole page around what `part` made."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: the shelf</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<noscript><meta http-equiv="refresh" content="2"></noscript>'
        f"<style>{STYLE}</style></head><body><header><h1>{_text(name)}</h1>"
        "<p>a stand-in that ships with Lapse: invented people, and no vendor behind it</p></header>"
        f"<main>{inner}</main><script>{SCRIPT}</script></body></html>"
    )


def part(
    objects: Sequence[Mapping[str, Any]], marks: Sequence[Mark], calls: Iterable[Called], now: float
) -> str:
    """Return what changes: the shelf now, its curve, and the last calls, the newest first."""
    most = max([len(objects), *(mark.objects for mark in marks)])
    shown = "".join(map(_card, objects[:MOST]))
    empty = "The shelf is empty." if most else "Nothing was ever kept here."
    shelf = f'<div class="shelf">{shown}</div>' if objects else f'<p class="empty">{empty}</p>'
    more = f'<p class="faint">and {len(objects) - MOST} more</p>' if len(objects) > MOST else ""
    rows = "".join(_row(call, now) for call in calls)
    table = f"<h3>Last calls</h3><table>{rows}</table>" if rows else ""
    said = f'<p class="now">{len(objects)} <span>on the shelf now, {most} at most</span></p>'
    return said + _curve(marks, len(objects), most, now) + shelf + more + table


def _text(value: object) -> str:
    """Any value as text in a direction of its own: letters that turn the line around turn only it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"<bdi>{escape(text)}</bdi>" if text else '<span class="faint">blank</span>'


def _words(value: object) -> str:
    """What stands beside the fields, without brackets: lists and objects with commas and blanks between."""
    if isinstance(value, Mapping):
        return " ".join(_words(each) for each in value.values())
    if isinstance(value, list | tuple):
        return ", ".join(_words(each) for each in value)
    return _text(value)


def _card(held: Mapping[str, Any]) -> str:
    fields = held.get("fields") or {}
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in fields.items())
    said = ((k, v) for k, v in held.items() if k not in ("id", "fields") and v not in ([], {}))
    more = [f"{_text(name)} {_words(value)}" for name, value in said]
    chips = f'<p class="chips">{" · ".join(more)}</p>' if more else ""
    return f"<article><h2>{_text(held.get('id', ''))}</h2><dl>{rows}</dl>{chips}</article>"


def _row(call: Called, now: float) -> str:
    kind = "good" if call.status < 400 else "bad"
    ago = f"{max(0.0, now - call.at):.0f} s ago"
    return (
        f'<tr><td class="faint">{ago}</td><td>{_text(call.method)}</td><td>{_text(call.path)}</td>'
        f'<td class="{kind}">{call.status}</td></tr>'
    )


def _curve(marks: Sequence[Mark], objects: int, most: int, now: float) -> str:
    """The number of objects over time, as steps."""
    if not marks or not most:
        return ""
    start = marks[0].at
    span = max(now - start, 1.0)
    points, before = [], marks[0].objects
    for mark in (*marks, Mark(now, objects)):
        x = (mark.at - start) / span * WIDE
        points += [f"{x:.1f},{_high(before, most):.1f}", f"{x:.1f},{_high(mark.objects, most):.1f}"]
        before = mark.objects
    line = " L".join(points)
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" '
        f'aria-label="objects over time"><path class="under" d="M0,{HIGH} L{line} L{WIDE},{HIGH} Z"/>'
        f'<path d="M{line}"/></svg>'
    )


def _high(objects: int, most: int) -> float:
    return HIGH - 2 - objects / most * (HIGH - 6)
