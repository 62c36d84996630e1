"""The hottest records as Avro bytes, laid out once for many that are alike.

Byte for byte what `codec.encode` writes for the model of the same name: a test holds the two together, and
with them the versions of the schemas. What records share is joined once; the rest is put between.
"""

from collections.abc import Sequence
from typing import NamedTuple, get_args

from schemas import codec, framing
from schemas.avrobytes import NUMBERS, array, number, string
from schemas.errors import BadInput
from schemas.models import (
    DecisionBatch,
    Link,
    Outcome,
    RecordDecided,
    RecordDelivered,
    RecordTagged,
    Verdict,
)

FrameLink = tuple[int, int, int]
"""Purpose number, period and terms of a link."""
FramePart = tuple[Sequence[int], Sequence[int]]
"""Category numbers of a compartment, and the numbers of the links that open it."""


_WRAPPED = number(40)
"""The length every wrap has (RFC 3394: a key of 32 bytes and eight more)."""


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
        self._begin = framing.header(codec.schema_id(RecordTagged))
        self._head = number(revision) + string(source) + number(schema_id) + number(policy)
        self._links = [b"".join(map(number, link)) for link in links]
        self._links[0] = number(len(links)) + self._links[0]
        self._parts = []
        before = b"\0" + number(len(parts))
        for categories, (first, *others) in parts:
            before += array(map(number, categories))
            wraps = number(1 + len(others)) + number(first) + b"\0"
            self._parts.append((before, wraps, [number(link) for link in others]))
            before = b""

    def encode(
        self,
        record_id: bytes,
        tagged_at: bytes,
        slot: int,
        handles: Sequence[bytes],
        sealed: Sequence[tuple[bytes, Sequence[bytes]]],
    ) -> bytes:
        """Return the framed record; `tagged_at` is encoded already, `sealed` as a mould gives it."""
        out = [self._begin, record_id, self._head, tagged_at, NUMBERS[slot]]
        for link, handle in zip(self._links, handles, strict=True):
            out += (link, handle)
        for (before, wraps, others), (body, keys) in zip(self._parts, sealed, strict=True):
            out += (before, number(len(body)), body, wraps)
            for link, key in zip(others, keys, strict=True):
                out += (link, _WRAPPED if len(key) == 40 else number(len(key)), key)
            out.append(b"\0")
        out.append(b"\0")
        return _sized(b"".join(out), "RecordTagged")


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
        self._begin = framing.header(codec.schema_id(RecordDelivered))
        self._head = number(revision) + string(source) + number(schema_id)
        self._parts = []
        before = number(len(parts)) if parts else b""
        for category, opens in parts:
            before += array([string(category)])
            self._parts.append((before, number(len(opens)), [number(n) for n in opens]))
            before = b""
        self._grants = [
            (string(g.purpose) + number(g.period) + number(g.terms), number(g.decided) + number(g.use_until))
            for g in grants
        ]
        if grants:
            self._grants[0] = (number(len(grants)) + self._grants[0][0], self._grants[0][1])

    def encode(
        self,
        delivery_id: bytes,
        subject_ref: bytes,
        handles: Sequence[bytes],
        sealed: Sequence[tuple[bytes, Sequence[bytes]]],
    ) -> bytes:
        """Return the framed record; `sealed` as a delivery mould gives it."""
        out = [self._begin, delivery_id, subject_ref, self._head]
        for (before, count, opens), (body, keys) in zip(self._parts, sealed, strict=True):
            out += (before, number(len(body)), body, count)
            for grant, key in zip(opens, keys, strict=True):
                out += (grant, _WRAPPED if len(key) == 40 else number(len(key)), key)
            out.append(b"\0")
        out.append(b"\0")
        for (before, after), handle in zip(self._grants, handles, strict=True):
            out += (before, handle, after)
        out.append(b"\0")
        return _sized(b"".join(out), "RecordDelivered")


class DecisionFrame:
    """An entry of a `DecisionBatch`, for records of one make that are decided alike."""

    def __init__(self, entry: RecordDecided) -> None:
        """`entry` is one of them; another differs in record id, slot and handles."""
        numbers = (entry.revision, string(entry.source), entry.policy, entry.control_offset, entry.state)
        self._head = b"".join([n if isinstance(n, bytes) else number(n) for n in numbers])
        self._head += number(entry.decided_at) + number(OUTCOMES.index(entry.outcome))
        self._head += b"\0" if entry.code is None else number(1) + string(entry.code)
        self._links = [
            number(each.purpose) + number(each.period) + number(each.terms) for each in entry.links
        ]
        if self._links:
            self._links[0] = number(len(self._links)) + self._links[0]
        self._verdicts = b"\0" + array(map(_verdict, entry.verdicts))

    def encode(self, record_id: bytes, slot: int, links: Sequence[Link]) -> bytes:
        """Return the entry's bytes, to be packed by `pack_decisions`."""
        out = [record_id, self._head, NUMBERS[slot]]
        for before, link in zip(self._links, links, strict=True):
            out += (before, link.handle)
        out.append(self._verdicts)
        return b"".join(out)


def pack_decisions(entries: Sequence[bytes]) -> bytes:
    """Return the framed `DecisionBatch` of these entries."""
    return framing.header(codec.schema_id(DecisionBatch)) + array(entries)


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
