"""The table of situations and connectors in docs/processors.md, as a run made it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from processors.conformance.running import Result
from processors.conformance.situations import SITUATIONS

PAGE = Path(__file__).parents[2] / "docs" / "processors.md"
"""The page, in a checkout."""
BEGIN, END = "<!-- conformance: made by python -m processors.conformance --table -->", "<!-- /conformance -->"
_CELLS = {"held": "held", "failed": "**fails**", "not applicable": "n/a"}


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """Return the table of what each connector came to."""
    kinds = list(results)
    lines = [f"| Situation | {' | '.join(f'`{kind}`' for kind in kinds)} |", "|---|" + "---|" * len(kinds)]
    for number, each in enumerate(SITUATIONS):
        cells = [_CELLS[results[kind][number].held] for kind in kinds]
        lines.append(f"| `{each.id}`: {each.holds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def reasons(results: Mapping[str, Sequence[Result]]) -> str:
    """Return why situations cannot come up, each reason once, with whom it is of."""
    said: dict[str, dict[str, None]] = {}
    for kind, several in results.items():
        for each in several:
            if each.held == "not applicable":
                said.setdefault(each.why, {}).setdefault(kind)
    return "\n".join(f"- n/a, {', '.join(f'`{k}`' for k in kinds)}: {why}." for why, kinds in said.items())


def block(results: Mapping[str, Sequence[Result]]) -> str:
    """Return what stands on the page between the two marks, both included."""
    return "\n\n".join((BEGIN, table(results), reasons(results), END))


def found(page: str) -> str:
    """Return the block of a page as it stands there, empty where there is none."""
    match = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", page, re.DOTALL)
    return match[0] if match else ""


def put(page: str, results: Mapping[str, Sequence[Result]]) -> str:
    """Return the page with the block of these results in the place of the one it has."""
    return page.replace(found(page), block(results))
