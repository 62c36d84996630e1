"""Small lines beside each other, as SVG: one panel for each figure, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, GAP, ACROSS = 300, 110, 46, 3
INK = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#57534e")
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture: lines by name over the same days."""

    title: str
    lines: Mapping[str, Line]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The whole sheet as one SVG document."""
    rows = -(-len(panels) // ACROSS)
    width, height = ACROSS * (WIDTH + GAP) + GAP, rows * (HEIGHT + 2 * GAP) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{GAP}" y="32" font-size="17" fill="#111827">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        x = GAP + (number % ACROSS) * (WIDTH + GAP)
        y = 76 + (number // ACROSS) * (HEIGHT + 2 * GAP)
        parts += [f'<g transform="translate({x},{y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    most = max((y for line in panel.lines.values() for _, y in line), default=0.0) or 1.0
    last = max((x for line in panel.lines.values() for x, _ in line), default=0.0) or 1.0
    parts = [
        f'<text x="0" y="-10" font-size="12" fill="#111827">{escape(panel.title)}</text>',
        f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="#9ca3af"/>',
        f'<text x="-4" y="8" font-size="9" text-anchor="end" fill="#6b7280">{_short(most)}</text>',
        f'<text x="-4" y="{HEIGHT}" font-size="9" text-anchor="end" fill="#6b7280">0</text>',
        f'<text x="{WIDTH}" y="{HEIGHT + 11}" font-size="9" text-anchor="end" fill="#6b7280">'
        f"day {last:.0f}</text>",
    ]
    for number, (name, line) in enumerate(panel.lines.items()):
        ink = INK[number % len(INK)]
        points = " ".join(f"{x / last * WIDTH:.1f},{HEIGHT - y / most * HEIGHT:.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.4"/>')
        at_x, at_y = (number % 4) * (WIDTH // 4), HEIGHT + 22 + (number // 4) * 11
        parts.append(f'<text x="{at_x}" y="{at_y}" font-size="9" fill="{ink}">{escape(name)}</text>')
    return parts


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
