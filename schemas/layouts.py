"""Reading our own records by their layout: many are alike, and differ in a few places that are known.

The first record of a layout is decoded by the codec, and how it lay is kept; of the next ones the bytes that
must be the same are compared and the others cut out, all in C. What fits no layout goes by way of the codec,
so a layout can only ever read what the codec reads (a property test holds the two together).
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from struct import Struct
from typing import NamedTuple

from schemas import codec
from schemas.avrobytes import NUMBERS, number, read_number
from schemas.frames import tagged_pieces
from schemas.ids import SLOTS, Handle, Micros, Period, RecordId, Slot, Terms
from schemas.models import Compartment, Link, RecordTagged, Wrap

_ALIKE = 8
"""Layouts of one length kept in hand."""
_TOGETHER = 64
"""How many of a layout are looked at together, at most."""
_ID, _AT, _SLOT, _HANDLES = range(4)
"""Where in a record's cells its id, time and slot stand, and the first of its handles."""
_KNOWN_SLOTS = {NUMBERS[slot]: Slot(slot) for slot in range(SLOTS)}


def slot_in(cell: bytes) -> Slot:
    """Return the slot that a cell holds."""
    known = _KNOWN_SLOTS.get(cell)
    return Slot(read_number(cell)) if known is None else known


class TaggedMake(NamedTuple):
    """What records of one make have in common; `boxes` as `schemas.frames.TaggedBox`."""

    policy: int
    source: str
    schema_id: int
    revision: int
    links: tuple[tuple[int, int, int], ...]
    boxes: tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]


class TaggedCells(NamedTuple):
    """A `RecordTagged` cut up: its make, and what it does not share, in the order of the wire.

    Records read by one reader have the same `make` when theirs are equal.
    """

    make: TaggedMake
    cells: Sequence[bytes]

    @property
    def record_id(self) -> RecordId:
        """Its id."""
        return RecordId(self.cells[_ID])

    @property
    def slot(self) -> Slot:
        """The virtual partition of its person."""
        return slot_in(self.cells[_SLOT])

    @property
    def handles(self) -> Sequence[bytes]:
        """The handle of each of its links."""
        return self.cells[_HANDLES : _HANDLES + len(self.make.links)]

    def record(self) -> RecordTagged:
        """Return it as the model has it."""
        make, cells = self.make, iter(self.cells[_HANDLES + len(self.make.links) :])
        links = [
            Link(purpose=purpose, period=Period(period), terms=Terms(terms), handle=Handle(handle))
            for (purpose, period, terms), handle in zip(make.links, self.handles, strict=True)
        ]
        boxes = [
            Compartment(
                categories=list(categories),
                sealed=next(cells),
                wraps=[Wrap(link=link, key=next(cells) if length else b"") for link, length in wraps],
            )
            for categories, wraps in make.boxes
        ]
        return RecordTagged(
            record_id=self.record_id,
            revision=make.revision,
            source=make.source,
            schema_id=make.schema_id,
            policy=make.policy,
            tagged_at=Micros(read_number(self.cells[_AT])),
            slot=self.slot,
            links=links,
            compartments=boxes,
        )


def cut(record: RecordTagged) -> TaggedCells:
    """Cut a record up that was decoded by the codec."""
    make = TaggedMake(
        record.policy,
        record.source,
        record.schema_id,
        record.revision,
        tuple((link.purpose, link.period, link.terms) for link in record.links),
        tuple(
            (tuple(box.categories), tuple((wrap.link, len(wrap.key)) for wrap in box.wraps))
            for box in record.compartments
        ),
    )
    cells = [record.record_id, number(record.tagged_at), number(record.slot)]
    cells += [link.handle for link in record.links]
    for box in record.compartments:
        cells += (box.sealed, *(wrap.key for wrap in box.wraps if wrap.key))
    return TaggedCells(make, tuple(cells))


def places(make: TaggedMake) -> list[tuple[int, list[int | None]]]:
    """Return per compartment where in the cells its sealed bytes and its wraps stand; None: it is empty."""
    at, found = _HANDLES + len(make.links), []
    for _, wraps in make.boxes:
        body, keys = at, list[int | None]()
        at += 1
        for _, length in wraps:
            keys.append(at if length else None)
            at += 1 if length else 0
        found.append((body, keys))
    return found


class Layout:
    """Pieces that are always the same, and between each two a cell of a known width.

    The cells that are `numbers` must be whole ones: all but their last byte say that they go on.
    """

    __slots__ = ("_fixed", "_many", "_mask", "_numbers", "_same", "_unpack", "size")

    def __init__(self, pieces: Sequence[bytes], widths: Sequence[int], numbers: Sequence[int]) -> None:
        text = "".join(f"{len(piece)}s{width}s" for piece, width in zip(pieces, widths, strict=False))
        layout = Struct(f">{text}{len(pieces[-1])}s")
        self._unpack, self.size, self._fixed = layout.unpack_from, layout.size, tuple(pieces)
        more = [(at, int.from_bytes(b"\x80" * widths[at], "big")) for at in numbers]
        self._numbers = [(at, goes_on, goes_on - 0x80) for at, goes_on in more]
        cells = [(bytes(width), bytes(width)) for width in widths]
        for at, goes_on, ends in self._numbers:
            cells[at] = goes_on.to_bytes(widths[at], "big"), ends.to_bytes(widths[at], "big")
        ones = [b"\xff" * len(piece) for piece in pieces]
        self._mask = b"".join(_between(ones, [mask for mask, _ in cells]))
        self._same = b"".join(_between(pieces, [same for _, same in cells]))
        self._many: dict[int, tuple[int, int]] = {}

    def run(self, data: bytes, start: int, most: int) -> int:
        """Return how many of this layout, `most` at most, begin at `start` one behind the other.

        They are those `read` would read, looked at many at a time.
        """
        found, together = 0, 1
        while together:
            end = start + together * self.size
            if found + together > most or end > len(data) or not self._fit(data[start:end], together):
                together >>= 1
                most = min(most, found + 2 * together - 1)
                continue
            found, start = found + together, end
            together = min(2 * together, _TOGETHER)
        return found

    def _fit(self, data: bytes, n: int) -> bool:
        known = self._many.get(n)
        if known is None:
            known = int.from_bytes(self._mask * n, "big"), int.from_bytes(self._same * n, "big")
            self._many[n] = known
        return int.from_bytes(data, "big") & known[0] == known[1]

    def read(self, data: bytes, start: int = 0) -> tuple[bytes, ...] | None:
        """Cut the cells out of what begins at `start`; None where something else lies there."""
        if start + self.size > len(data):
            return None
        found = self._unpack(data, start)
        if found[::2] != self._fixed:
            return None
        cells: tuple[bytes, ...] = found[1::2]
        for at, goes_on, ends in self._numbers:
            if int.from_bytes(cells[at], "big") & goes_on != ends:
                return None
        return cells


def _between(pieces: Sequence[bytes], cells: Sequence[bytes]) -> Iterator[bytes]:
    """Pieces with a cell between each two."""
    for piece, cell in zip_longest(pieces, cells, fillvalue=b""):
        yield piece
        yield cell


def _layout(like: TaggedCells) -> Layout:
    """Where everything lies in records of one make whose cells are as long as this one's."""
    make, cells = like
    head = (make.revision, make.source, make.schema_id, make.policy)
    pieces, bodies = tagged_pieces(head, make.links, make.boxes)
    fixed = pieces.made
    for body, _ in bodies:
        fixed[body] += number(len(cells[body]))
    return Layout(fixed, [len(cell) for cell in cells], (_AT, _SLOT))


class TaggedReader:
    """Reads `RecordTagged`; keeps the layouts it has met. Not for several threads at once."""

    def __init__(self, most: int = 4096) -> None:
        """At most so many layouts: strangers can vary which fields they fill in and how long they are."""
        self._most = most
        self._layouts: dict[int, list[tuple[TaggedMake, Layout]]] = {}
        self._makes: dict[TaggedMake, TaggedMake] = {}

    def read(self, data: bytes) -> TaggedCells:
        """Return the record cut up; `Rejected` as `codec.decode_as`."""
        for make, layout in self._layouts.get(len(data), ()):
            cells = layout.read(data)
            if cells is not None:
                return TaggedCells(make, cells)
        return self._learn(data)

    def _learn(self, data: bytes) -> TaggedCells:
        found = cut(codec.decode_as(RecordTagged, data))
        if max(len(self._makes), len(self._layouts)) >= self._most:
            self._makes.clear()
            self._layouts.clear()
        found = found._replace(make=self._makes.setdefault(found.make, found.make))
        layout = _layout(found)
        if layout.size == len(data) and layout.read(data) == found.cells:
            others = self._layouts.get(len(data), ())
            self._layouts[len(data)] = [(found.make, layout), *others][:_ALIKE]
        return found
