"""What a consumer has handed out and what of it may be committed: pure book-keeping, no I/O.

Both sources keep it. Its three rules are the traps it closes: only the longest acknowledged *prefix* of a
partition may be committed; an acknowledgement counts only for a delivery that is still on the books (not
one from before a seek or rebalance); and a committable offset is offered again until the commit is known to
have happened.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.ports import Inbound, record_bytes

HEAVY = 4096
"""Bytes from which on a record weighs as much as two."""


class Place(NamedTuple):
    """One partition; compares equal to the (topic, partition) tuples of the Kafka clients."""

    topic: str
    partition: int


@dataclass(slots=True, eq=False)
class Delivery:
    """One chunk handed out: place, reader's position before, first offset, offset after, weight, if acked.

    Weight is what it takes of memory and of a transaction: one per record and one more for each 4 KiB of it.
    """

    place: Place
    position: int | None
    first: int
    after: int
    weight: int
    acked: bool = False


@dataclass(slots=True)
class _Book:
    """`expected`: next offset to read; `settled`: the committable offset; `committed`: the committed one.

    `weight` is that of all that is open.
    """

    expected: int | None = None
    settled: int | None = None
    committed: int | None = None
    open: deque[Delivery] = field(default_factory=deque)
    weight: int = 0


class Ledger:
    """Deliveries per partition since the last rebalance."""

    def __init__(self) -> None:
        self._books: dict[Place, _Book] = {}
        self._seeks: dict[Place, int] = {}

    def start(self, place: Place, offset: int) -> None:
        """Open a fresh book: reading starts at the group's committed `offset`."""
        self._books[place] = _Book(expected=offset, committed=offset)
        self._seeks.pop(place, None)

    def clear(self) -> None:
        """Forget everything: the partitions are being given up."""
        self._books.clear()
        self._seeks.clear()

    def deliver(self, place: Place, records: Sequence[Inbound]) -> Delivery:
        """Enter a chunk; `records` is not empty."""
        book = self._books.setdefault(place, _Book())
        first, after = records[0].offset, records[-1].offset + 1
        weight = sum([1 + record_bytes(record) // HEAVY for record in records])
        delivery = Delivery(place, book.expected, first, after, weight)
        book.expected = delivery.after
        book.open.append(delivery)
        book.weight += weight
        return delivery

    def ack(self, delivery: Delivery) -> bool:
        """Acknowledge a delivery; False if it is no longer on the books, then nothing happens."""
        if not self.holds(delivery):
            return False
        delivery.acked = True
        book = self._books[delivery.place]
        while book.open and book.open[0].acked:
            settled = book.open.popleft()
            book.settled = settled.after
            book.weight -= settled.weight
        return True

    def holds(self, delivery: Delivery) -> bool:
        """Whether the delivery still counts: not settled, and no seek or rebalance since."""
        book = self._books.get(delivery.place)
        return book is not None and any(entry is delivery for entry in book.open)

    def seek(self, place: Place, offset: int) -> None:
        """Forget what is open of a partition and ask the reader to go on at `offset`."""
        book = self._books.setdefault(place, _Book())
        book.open.clear()
        book.weight = 0
        book.expected = offset
        self._seeks[place] = offset

    def seeking(self, place: Place) -> bool:
        """Whether a seek is asked for and not yet taken: records fetched before it must be dropped."""
        return place in self._seeks

    def take_seeks(self) -> dict[Place, int]:
        """Seeks asked for since the last call; the caller carries them out now."""
        seeks, self._seeks = self._seeks, {}
        return seeks

    def renew(self, place: Place) -> None:
        """The topic was created again: its offsets start anew and nothing settled or committed counts."""
        self._books[place] = _Book()
        self.seek(place, 0)

    def expected(self, place: Place) -> int | None:
        """Offset the next chunk should start at or after, None if unknown."""
        book = self._books.get(place)
        return None if book is None else book.expected

    def outstanding(self) -> Counter[str]:
        """The weight of what is handed out and not yet settled, by topic."""
        found = Counter[str]()
        for place, book in self._books.items():
            found[place.topic] += book.weight
        return found

    def committable(self) -> dict[Place, int]:
        """Offsets that may be committed and are not known to be."""
        return {
            place: book.settled
            for place, book in self._books.items()
            if book.settled is not None and book.settled != book.committed
        }

    def committed(self, offsets: dict[Place, int]) -> None:
        """These offsets are committed."""
        for place, offset in offsets.items():
            if place in self._books:
                self._books[place].committed = offset

    def unsettled(self, place: Place) -> int | None:
        """First offset handed out and not yet settled, None if nothing is open."""
        book = self._books.get(place)
        return book.open[0].first if book is not None and book.open else None
