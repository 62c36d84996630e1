"""Reading `DecisionBatch` by the layout of its entries, for whoever looks for a few among millions.

Most entries of a log are alike but for ids, times and handles. The first of each layout is decoded; of the
next ones only what differs is cut out (`schemas.layouts`). What fits no layout goes by way of the codec.
"""

from collections.abc import Sequence
from io import BytesIO
from struct import Struct
from typing import NamedTuple

import fastavro
import msgspec

from schemas import codec, framing
from schemas.avrobytes import number, read_number
from schemas.errors import Rejected
from schemas.frames import decision_pieces
from schemas.ids import RecordId, Slot
from schemas.layouts import Layout, slot_in
from schemas.models import DecisionBatch, RecordDecided

_ID, _CONTROL, _AT, _SLOT = range(4)
"""Where in an entry's cells these stand; handles follow."""
_MOST = 64
"""Layouts kept in hand; the one used last is tried first."""


class Decided(NamedTuple):
    """An entry: `like` is one that differs from it in id, control offset, time, slot and handles at most."""

    like: RecordDecided
    record_id: RecordId
    slot: Slot


class Run(NamedTuple):
    """Entries one behind the other that are like one another, as `Decided` says: id and slot of each."""

    like: RecordDecided
    each: Sequence[tuple[RecordId, Slot]]


class _Kind(NamedTuple):
    """An entry's layouts with a slot of one byte and of two, where it begins, what cuts id and slot out."""

    like: RecordDecided
    layouts: tuple[Layout, Layout]
    slot_at: int
    cut: tuple[Struct, Struct]


class DecisionReader:
    """Reads batches; keeps the layouts it has met. Not for several threads at once."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._header = framing.header(codec.schema_id(DecisionBatch))
        (entries,) = codec.schema(codec.schema_id(DecisionBatch))["fields"]
        self._schema = codec.parse(entries["type"]["items"])

    def read(self, data: bytes) -> Sequence[Decided]:
        """Return a batch's entries, none of another record; `Rejected` as `codec.decode`."""
        return [Decided(like, *each) for like, run in self.runs(data) for each in run]

    def runs(self, data: bytes) -> Sequence[Run]:
        """The same, those that lie together and are alike in one."""
        found = self._entries(data) if data[: framing.HEADER] == self._header else None
        if found is not None:
            return found
        batch = codec.decode(data)
        entries = batch.entries if isinstance(batch, DecisionBatch) else []
        return [Run(entry, [(entry.record_id, entry.slot)]) for entry in entries]

    def _entries(self, data: bytes) -> list[Run] | None:
        """The entries of a batch that is written as we write it; None where it is not, or not whole."""
        at = framing.HEADER
        while at < len(data) - 1 and data[at] > 0x7F:
            at += 1
        count, at = read_number(data[framing.HEADER : at + 1]), at + 1
        if not 0 < count <= len(data):
            return None
        found: list[Run] = []
        while count:
            each = self._known(data, at, count) or self._learn(data, at)
            if each is None:
                return None
            run, at = each
            count -= len(run.each)
            found.append(run)
        return found if data[at:] == b"\0" else None

    def _known(self, data: bytes, start: int, most: int) -> tuple[Run, int] | None:
        for place, (like, layouts, slot_at, cut) in enumerate(self._kinds):
            slot = start + slot_at
            if slot >= len(data):
                continue
            wide = data[slot] > 0x7F
            n = layouts[wide].run(data, start, most)
            if n:
                if place:
                    self._kinds.insert(0, self._kinds.pop(place))
                end = start + n * layouts[wide].size
                cells = cut[wide].iter_unpack(data[start:end])
                return Run(like, [(RecordId(name), slot_in(cell)) for name, cell in cells]), end
        return None

    def _learn(self, data: bytes, start: int) -> tuple[Run, int] | None:
        body = BytesIO(data)
        body.seek(start)
        try:
            raw = fastavro.schemaless_reader(body, self._schema, None)
            entry = msgspec.convert(raw, type=RecordDecided, builtin_types=(bytes,))
        except (*codec.UNREADABLE, msgspec.ValidationError):
            return None
        kind = _kind(entry)
        if any(layout.read(data, start) for layout in kind.layouts):
            self._kinds = [kind, *self._kinds][:_MOST]
        return Run(entry, [(entry.record_id, entry.slot)]), body.tell()


def _kind(entry: RecordDecided) -> _Kind:
    pieces = decision_pieces(entry).made
    widths = [16, len(number(entry.control_offset)), len(number(entry.decided_at)), 1]
    widths += [16] * len(entry.links)
    slot_at = sum(map(len, pieces[: _SLOT + 1])) + sum(widths[:_SLOT])
    layouts, cuts = [], []
    for width in (1, 2):
        widths[_SLOT] = width
        layout = Layout(pieces, widths, (_CONTROL, _AT, _SLOT))
        begins, rest = len(pieces[0]), layout.size - slot_at - width
        cuts.append(Struct(f">{begins}x16s{slot_at - begins - 16}x{width}s{rest}x"))
        layouts.append(layout)
    narrow, wide = layouts
    return _Kind(entry, (narrow, wide), slot_at, (cuts[0], cuts[1]))


def read(reader: DecisionReader, data: bytes) -> Sequence[Decided]:
    """Return a batch's entries; none where it cannot be read."""
    try:
        return reader.read(data)
    except Rejected:
        return ()


def runs(reader: DecisionReader, data: bytes) -> Sequence[Run]:
    """Return a batch's entries in runs; none where it cannot be read."""
    try:
        return reader.runs(data)
    except Rejected:
        return ()
