"""The hottest records as Avro bytes, laid out once for many that are alike.

Byte for byte what `codec.encode` writes for the model of the same name: a test holds the two together, and
with them the versions of the schemas. What records share is joined once; the rest is put into the gaps.
`schemas.layouts` reads records the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, get_args

from schemas import codec, framing
from schemas.avrobytes import NUMBERS, array, data_column, number, string
from schemas.errors import BadInput
from schemas.models import (
    DecisionBatch,
    Depersonalized,
    Outcome,
    RecordDecided,
    RecordDelivered,
    RecordScope,
    RecordTagged,
    Verdict,
)

FrameLink = tuple[int, int, int]
"""Purpose number, period and terms of a link."""
FramePart = tuple[Sequence[int], Sequence[int]]
"""Category numbers of a compartment, and the numbers of the links that open it."""
WRAPPED = 40
"""Bytes of every wrap (RFC 3394: a key of 32 bytes and eight more)."""


class Gaps:
    """Pieces of bytes with a gap between each two, to be filled again and again."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [b""] * (2 * len(pieces) - 1)
        self._pieces[::2] = pieces

    def filled(self, values: Sequence[bytes]) -> bytes:
        """Join pieces and values; `ValueError` where there are not as many values as gaps."""
        out = self._pieces.copy()
        out[1::2] = values
        return b"".join(out)

    def columns(self, values: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The same for many: a column of values for each gap, all of one length."""
        woven = [repeat(piece, len(values[0])) for piece in self._pieces]
        out: list[Iterable[bytes]] = [*woven]
        out[1::2] = values
        return [*map(b"".join, zip(*out, strict=True))]


class Pieces:
    """Pieces in the making: what is added between two gaps becomes one."""

    def __init__(self) -> None:
        self.made = [b""]

    def add(self, *more: bytes) -> None:
        """Add to the piece in hand."""
        self.made[-1] += b"".join(more)

    def gap(self) -> int:
        """Begin the next piece; returns the number of the gap before it."""
        self.made.append(b"")
        return len(self.made) - 2


TaggedBox = tuple[Sequence[int], Sequence[tuple[int, int]]]
"""A compartment's category numbers, and link number and length of each of its wraps."""


def tagged_pieces(
    head: tuple[int, str, int, int], links: Sequence[FrameLink], boxes: Sequence[TaggedBox]
) -> tuple[Pieces, list[tuple[int, list[int]]]]:
    """Lay a `RecordTagged` out; `head` is revision, source, schema id and policy.

    Gaps are the record's id, its time, its slot, each handle, and per compartment the sealed bytes with
    their length and each wrap that is not empty: the numbers of these are returned.
    """
    out = Pieces()
    out.add(framing.header(codec.schema_id(RecordTagged)))
    out.gap()
    revision, source, schema_id, policy = head
    out.add(number(revision), string(source), number(schema_id), number(policy))
    out.gap()
    out.gap()
    out.add(number(len(links)) if links else b"")
    for link in links:
        out.add(*map(number, link))
        out.gap()
    out.add(b"\0", number(len(boxes)) if boxes else b"")
    places = []
    for categories, wraps in boxes:
        out.add(array(map(number, categories)))
        body, keys = out.gap(), []
        out.add(number(len(wraps)) if wraps else b"")
        for link_number, length in wraps:
            out.add(number(link_number), number(length))
            if length:
                keys.append(out.gap())
        out.add(b"\0")
        places.append((body, keys))
    out.add(b"\0")
    return out, places


class TaggedFrame:
    """`RecordTagged` of one source, policy and set of links, with compartments of one make.

    The first link of every compartment derives its key, so its wrap is empty.
    """

    def __init__(
        self,
        *,
        revision: int,
        source: str,
        schema_id: int,
        policy: int,
        links: Sequence[FrameLink],
        parts: Sequence[FramePart],
    ) -> None:
        boxes = [(c, [(first, 0), *((n, WRAPPED) for n in others)]) for c, (first, *others) in parts]
        pieces, places = tagged_pieces((revision, source, schema_id, policy), links, boxes)
        self._gaps = Gaps(pieces.made)
        self._bodies = [body for body, _ in places]

    def encode(
        self,
        ids: Sequence[bytes],
        tagged_at: bytes,
        slots: Sequence[int],
        handles: Sequence[Sequence[bytes]],
        sealed: Sequence[Sequence[bytes]],
    ) -> list[bytes]:
        """Return the framed records of these ids; `tagged_at` is encoded already.

        `handles` and `sealed` are columns as a mould takes and gives them.
        """
        values = [ids, [tagged_at] * len(ids), [NUMBERS[slot] for slot in slots], *handles, *sealed]
        for at in self._bodies:
            values[at] = data_column(values[at])
        framed = self._gaps.columns(values)
        _sized(max(framed, key=len, default=b""), "RecordTagged")
        return framed


def _sized(framed: bytes, name: str) -> bytes:
    if len(framed) > framing.MAX_BYTES:
        raise BadInput("too_large", f"longer than {framing.MAX_BYTES} bytes", name)
    return framed


class FrameGrant(NamedTuple):
    """One grant of a delivery, but for its handle."""

    purpose: str
    period: int
    terms: int
    decided: int
    use_until: int


class DeliveredFrame:
    """`RecordDelivered` of one make: each compartment has one category."""

    def __init__(
        self,
        *,
        revision: int,
        source: str,
        schema_id: int,
        grants: Sequence[FrameGrant],
        parts: Sequence[tuple[str, Sequence[int]]],
    ) -> None:
        out = Pieces()
        out.add(framing.header(codec.schema_id(RecordDelivered)))
        out.gap()
        out.gap()
        out.add(number(revision), string(source), number(schema_id), number(len(parts)) if parts else b"")
        self._bodies = list(_delivered_parts(out, parts))
        out.add(b"\0", number(len(grants)) if grants else b"")
        for grant in grants:
            out.add(string(grant.purpose), number(grant.period), number(grant.terms))
            out.gap()
            out.add(number(grant.decided), number(grant.use_until))
        out.add(b"\0")
        self._gaps = Gaps(out.made)

    def encode(
        self,
        ids: Sequence[bytes],
        refs: Sequence[bytes],
        handles: Sequence[Sequence[bytes]],
        sealed: Sequence[Sequence[bytes]],
    ) -> list[bytes]:
        """Return the framed records of these delivery ids and subjects.

        `handles` and `sealed` are columns as a delivery mould takes and gives them.
        """
        values = [ids, refs, *sealed, *handles]
        for at in self._bodies:
            values[at] = data_column(values[at])
        framed = self._gaps.columns(values)
        _sized(max(framed, key=len, default=b""), "RecordDelivered")
        return framed


def _delivered_parts(out: Pieces, parts: Sequence[tuple[str, Sequence[int]]]) -> Iterator[int]:
    """Lay compartments out; yields the gap of each one's sealed bytes."""
    for category, opens in parts:
        out.add(array([string(category)]))
        yield out.gap()
        out.add(number(len(opens)) if opens else b"")
        for grant in opens:
            out.add(number(grant), number(WRAPPED))
            out.gap()
        out.add(b"\0")


def decision_pieces(entry: RecordDecided) -> Pieces:
    """Lay an entry of a `DecisionBatch` out; gaps: record id, control offset, time, slot, each handle."""
    out = Pieces()
    out.gap()
    out.add(number(entry.revision), string(entry.source), number(entry.policy))
    out.gap()
    out.add(number(entry.state))
    out.gap()
    out.add(number(OUTCOMES.index(entry.outcome)))
    out.add(b"\0" if entry.code is None else number(1) + string(entry.code))
    out.gap()
    out.add(number(len(entry.links)) if entry.links else b"")
    for link in entry.links:
        out.add(number(link.purpose), number(link.period), number(link.terms))
        out.gap()
    out.add(b"\0", array(map(_verdict, entry.verdicts)))
    return out


class DecisionFrame:
    """An entry of a `DecisionBatch`, for records of one make that are decided alike at one time."""

    def __init__(self, entry: RecordDecided) -> None:
        """`entry` is one of them; another differs in record id, slot and handles."""
        self._gaps = Gaps(decision_pieces(entry).made)
        self._when = number(entry.control_offset), number(entry.decided_at)

    def encode(self, record_id: bytes, slot: int, handles: Sequence[bytes]) -> bytes:
        """Return the entry's bytes, to be packed by `pack_decisions`."""
        return self._gaps.filled([record_id, *self._when, NUMBERS[slot], *handles])


def pack_decisions(entries: Sequence[bytes]) -> bytes:
    """Return the framed `DecisionBatch` of these entries."""
    return framing.header(codec.schema_id(DecisionBatch)) + array(entries)


class LapseFrame:
    """`Depersonalized` of many deliveries, alike but for their ids."""

    def __init__(self, like: Depersonalized) -> None:
        """`like` is one of them, about one delivery (`RecordScope`)."""
        assert isinstance(like.scope, RecordScope), "of each delivery"
        whole, id_bytes = codec.encode(like), len(like.lapse_id)
        first = framing.HEADER + id_bytes
        # Between the ids stand the cause and the branch of the scope, a byte each.
        second = first + 2 + len(like.scope.delivery_id)
        self._pieces = whole[: framing.HEADER], whole[first : first + 2], whole[second:]

    def encode(self, lapse_id: bytes, delivery_id: bytes) -> bytes:
        """Return the framed record."""
        begin, middle, end = self._pieces
        return begin + lapse_id + middle + delivery_id + end


OUTCOMES: tuple[str, ...] = get_args(Outcome)
"""Outcomes in the order of the schema's enum."""


def _verdict(verdict: Verdict) -> bytes:
    grants = [number(each.link) + array(map(number, each.categories)) for each in verdict.grants]
    refusals = [
        number(each.link)
        + (b"\0" if each.category is None else number(1) + number(each.category))
        + string(each.code)
        for each in verdict.refusals
    ]
    return number(verdict.processor) + array(grants) + array(refusals)
