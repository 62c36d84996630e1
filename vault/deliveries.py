"""Opening what was delivered to a processor: keys for the key endpoint, fields for our own connectors."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from schemas.ids import DeliveryId, Micros, Period, Terms
from schemas.models import RecordDelivered
from vault.keys import INFO_WRAP, delivery_root, hmac_blocks, unwrap
from vault.opening import UNKNOWN, Ask, Recipiency, Usable, find, first_reason, granted, may_open
from vault.port import Tx
from vault.sealing import decode_delivered, delivery_header_of, open_delivered
from vault.values import BucketId, Closed


class AskedWrap(NamedTuple):
    """One wrap as a consumer sends it to the key endpoint."""

    purpose: str
    period: int
    terms: int
    handle: bytes
    key: bytes


class AskedCompartment(NamedTuple):
    """One compartment of a delivery as a consumer asks for its key."""

    n: int
    wraps: Sequence[AskedWrap]


class AskedDelivery(NamedTuple):
    """One delivery as a consumer asks for its keys."""

    delivery_id: DeliveryId
    revision: int
    compartments: Sequence[AskedCompartment]


class OpenKey(NamedTuple):
    """A delivered compartment's content key, its category, and until when it may be used at most."""

    key: bytes
    category: str
    use_until: Micros

    def __repr__(self) -> str:  # keys must not reach a log by way of a traceback
        return f"OpenKey({self.category})"


class OpenFields(NamedTuple):
    """A delivered compartment in clear."""

    fields: dict[str, str]
    category: str
    use_until: Micros

    def __repr__(self) -> str:  # nor may fields
        return f"OpenFields({self.category})"


def delivery_keys(
    tx: Tx, to: Recipiency, deliveries: Sequence[AskedDelivery]
) -> list[list[OpenKey | Closed]]:
    """Return per delivery and compartment the content key, or why there is none; in the order asked."""
    found = iter(find(tx, [ask for delivery in deliveries for ask in _asks(delivery)]))
    highest = tx.superseded(d.delivery_id for d in deliveries)
    keys, answers = _Keys(to), list[list[OpenKey | Closed]]()
    for d in deliveries:
        top = highest.get(d.delivery_id)
        judged: dict[tuple[str, int, int, bytes], Usable | Closed] = {}
        answers.append([])
        for compartment in d.compartments:
            tried: list[OpenKey | Closed] = []
            for wrap in compartment.wraps:
                each, grant = next(found), wrap[:4]
                used = judged.get(grant)  # a grant stands in every compartment it opens
                if used is None:
                    used = may_open(to, wrap.purpose, each, tx.now, revision=d.revision, highest=top)
                    judged[grant] = used
                tried.append(used if isinstance(used, Closed) else keys.of(d, compartment.n, wrap, used))
            answers[-1].append(_first_open(tried))
    return answers


def open_deliveries(
    tx: Tx, to: Recipiency, deliveries: Sequence[RecordDelivered]
) -> list[list[OpenFields | Closed]]:
    """Open deliveries for one processor: per compartment its fields, or why not; in bulk."""
    answers = delivery_keys(tx, to, [asked_of(d) for d in deliveries])
    return [_open(d, keys) for d, keys in zip(deliveries, answers, strict=True)]


def asked_of(delivery: RecordDelivered) -> AskedDelivery:
    """Return what a consumer would ask the key endpoint about a delivery; a wrap of no grant is left out."""
    compartments = []
    for n, compartment in enumerate(delivery.compartments):
        wraps = []
        for each in compartment.wraps:
            if 0 <= each.grant < len(delivery.grants):
                g = delivery.grants[each.grant]
                wraps.append(AskedWrap(g.purpose, g.period, g.terms, g.handle, each.key))
        compartments.append(AskedCompartment(n, wraps))
    return AskedDelivery(delivery.delivery_id, delivery.revision, compartments)


def _open(delivery: RecordDelivered, keys: Sequence[OpenKey | Closed]) -> list[OpenFields | Closed]:
    header = delivery_header_of(delivery)
    opened: list[OpenFields | Closed] = []
    for n, (compartment, key) in enumerate(zip(delivery.compartments, keys, strict=True)):
        if isinstance(key, Closed):
            opened.append(key)
            continue
        clear = open_delivered(header, n, compartment, key.key)
        if clear is None:
            opened.append(UNKNOWN)
        else:
            opened.append(OpenFields(decode_delivered(clear), key.category, key.use_until))
    return opened


def _asks(delivery: AskedDelivery) -> Iterable[Ask]:
    for compartment in delivery.compartments:
        for w in compartment.wraps:
            yield Ask(BucketId(w.purpose, Period(w.period), Terms(w.terms)), w.handle, delivery.delivery_id)


class _Keys:
    """Unwraps for one processor, and remembers within one question what its next wrap can use again."""

    def __init__(self, to: Recipiency) -> None:
        self._to = to
        self._roots: dict[bytes, tuple[bytes, bytes]] = {}
        self._last: dict[tuple[int, str], str] = {}
        self._orders: dict[str, list[str]] = {}

    def of(self, delivery: AskedDelivery, n: int, asked: AskedWrap, used: Usable) -> OpenKey | Closed:
        """The content key behind one wrap of compartment `n`."""
        if not (0 <= delivery.revision < 2**32 and 0 <= n < 2**16):
            return UNKNOWN
        root = self._roots.get(used.k)
        if root is None:
            root = self._roots[used.k] = hmac_blocks(delivery_root(used.k, self._to.name))
        inner, outer = root
        place = delivery.delivery_id + delivery.revision.to_bytes(4, "big") + n.to_bytes(2, "big")
        begun = inner + INFO_WRAP + place
        for category in self._order(n, asked.purpose):
            # `vault.keys.delivery_kek`, with what does not depend on the category done once.
            kek = sha256(outer + sha256(begun + category.encode() + b"\x01").digest()).digest()
            key = unwrap(kek, asked.key)
            if key is not None:
                self._last[n, asked.purpose] = category
                fits = granted(self._to, asked.purpose, category)
                return OpenKey(key, category, used.use_until) if fits else Closed(code="not_granted")
        return Closed(code="not_yours")

    def _order(self, n: int, purpose: str) -> Iterator[str]:
        """Every category once, those most likely to fit first.

        The wrap is bound to its category, which the question does not name: first the one that fitted this
        place in the delivery before, then those granted.
        """
        last = self._last.get((n, purpose))
        if last is not None:
            yield last
        order = self._orders.get(purpose)
        if order is None:
            mine = self._to.grants.get(purpose, frozenset())
            order = self._orders[purpose] = [*sorted(mine), *sorted(self._to.categories - mine)]
        for category in order:
            if category != last:
                yield category


def _first_open(tried: Sequence[OpenKey | Closed]) -> OpenKey | Closed:
    opened = [each for each in tried if isinstance(each, OpenKey)]
    return max(opened, key=lambda each: each.use_until) if opened else first_reason(tried)
