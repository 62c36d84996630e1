"""The hottest records as Avro bytes, laid out once for many that are alike.

Byte for byte what `codec.encode` writes for the model of the same name: a test holds the two together, and
with them the versions of the schemas. What records share is joined once; the rest is put between.
"""

from collections.abc import Sequence

from schemas import codec, framing
from schemas.avrobytes import NUMBERS, array, data, number, string
from schemas.errors import BadInput
from schemas.models import RecordTagged

FrameLink = tuple[int, int, int]
"""Purpose number, period and terms of a link."""
FramePart = tuple[Sequence[int], Sequence[int]]
"""Category numbers of a compartment, and the numbers of the links that open it."""


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
                out += (link, data(key))
            out.append(b"\0")
        out.append(b"\0")
        return _sized(b"".join(out), "RecordTagged")


def _sized(framed: bytes, name: str) -> bytes:
    if len(framed) > framing.MAX_BYTES:
        raise BadInput("too_large", f"longer than {framing.MAX_BYTES} bytes", name)
    return framed
