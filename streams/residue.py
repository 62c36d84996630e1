"""Residue: what may stay are counts over enumerated values, in cells of at least k people, per period. Pure.

An event is counted when it is accepted, so nothing has to be read when a purpose ends. A cell with fewer than
k people is carried into the next period with its people, until together they are k. Published + carried =
accepted events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.ids import Micros
from schemas.models import CellCounted, ResidueCounted
from schemas.plan import ResiduePlan
from vault.values import ResidueCell


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a closed period becomes: cells to publish, and cells carried into the next period."""

    published: ResidueCounted | None
    carried: tuple[ResidueCell, ...]


def period_of(plan: ResiduePlan, now: Micros) -> str:
    """The period an event accepted at `now` counts in, named by its start, so that names sort by time.

    Acceptance counts, not collection: a period once closed then never gets another event.
    """
    seconds, micros = divmod(now // plan.width * plan.width, 1_000_000)
    start = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    digits = "seconds" if plan.width % 1_000_000 == 0 else "microseconds"
    return start.isoformat(timespec=digits).replace("+00:00", "Z")


def settle(
    plan: ResiduePlan,
    period: str,
    cells: Iterable[ResidueCell],
    shuffle: Callable[[Sequence[CellCounted]], list[CellCounted]],
) -> Settlement:
    """Divide a closed period's cells; `shuffle` hides the order in which they came to be."""
    cells = tuple(cells)
    big = [cell for cell in cells if cell.people >= plan.k]
    small = tuple(cell for cell in cells if cell.people < plan.k)
    counted = [CellCounted(label=cell.label, events=cell.events, people=cell.people) for cell in big]
    published = ResidueCounted(period=period, cells=shuffle(counted)) if counted else None
    return Settlement(published=published, carried=small)
