"""Cells of residue while they are counted: events, and people as keyed tags until the cell is published."""

from collections import Counter
from collections.abc import Iterable

from vault.base import Base, one
from vault.keys import keyed
from vault.store import Where
from vault.tables import COUNTER, RESIDUE_CELL, RESIDUE_PERSON
from vault.values import ResidueCell, ResidueEntry

_CELL = ("period", "label")
_TAG = 8
ACCEPTED = "residue.accepted"
"""Name of the count of accepted events; it knows nothing of cells, so it can be held against them."""


class ResidueRows(Base):
    """The part of `RecipientTx` that counts what may stay."""

    def count_residue(self, entries: Iterable[ResidueEntry]) -> None:
        """Count accepted events into cells."""
        entries = list(entries)
        key = self.secret("residue")
        assert key is not None, "the vault was set up with its secrets"
        tags = keyed(key, b"lapse/v1/residue")
        counts: Counter[tuple[str, str]] = Counter()
        people = []
        for entry in entries:
            counts[entry.period, entry.label] += entry.events
            if entry.subject is not None:
                tag = tags.digest(entry.subject.to_bytes(8, "big"))[:_TAG]
                people.append((entry.period, entry.label, tag))
        self._add(counts)
        self.rows.put(RESIDUE_PERSON, people)
        if self.accepted() is not None:
            self.rows.add(COUNTER, [(ACCEPTED, sum(entry.events for entry in entries))], ("value",))

    def accepted(self) -> int | None:
        """Return how many events were ever counted; None in a vault that is older than this count."""
        found = one(self.rows.find(COUNTER, ("name",), [(ACCEPTED,)]))
        return None if found is None else int(found[1])

    def count_accepted(self) -> None:
        """Begin to count, in a new vault."""
        self.rows.put(COUNTER, [(ACCEPTED, 0)])

    def residue(self, period: str | None = None) -> list[ResidueCell]:
        """Return cells as counted so far."""
        where: Where = () if period is None else [("period", "=", period)]
        people = Counter((row[0], row[1]) for row in self.rows.scan(RESIDUE_PERSON, where))
        return [
            ResidueCell(period=period, label=label, events=events, people=people[period, label])
            for period, label, events in self.rows.scan(RESIDUE_CELL, where, order=_CELL)
        ]

    def carry_residue(self, period: str, label: str, into: str) -> None:
        """Move a cell's events and people into another period's cell of the same label."""
        cells = self.rows.find(RESIDUE_CELL, _CELL, [(period, label)])
        people = self.rows.find(RESIDUE_PERSON, _CELL, [(period, label)])
        self.drop_residue(period, label)
        self._add(Counter({(into, label): sum(events for _, _, events in cells)} if cells else {}))
        self.rows.put(RESIDUE_PERSON, [(into, label, tag) for _, _, tag in people])

    def drop_residue(self, period: str, label: str) -> None:
        """Forget a published cell and who was counted in it."""
        self.rows.delete(RESIDUE_CELL, _CELL, [(period, label)])
        self.rows.delete(RESIDUE_PERSON, _CELL, [(period, label)])

    def _add(self, counts: "Counter[tuple[str, str]]") -> None:
        self.rows.add(RESIDUE_CELL, [(*cell, n) for cell, n in counts.items()], ("events",))
