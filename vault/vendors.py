"""What connectors keep of vendors' objects (model m5): a sealed document each, and a row per holding."""

from collections.abc import Iterable, Sequence
from operator import itemgetter

from schemas.ids import DeliveryId, Micros, Period, SubjectRef, Terms
from schemas.ids import Sequence as Seq
from vault.base import Base
from vault.store import Row, Where
from vault.tables import HOLDING, OBJECT
from vault.values import BucketId, Holding, VendorObject

_REF = ("processor", "ref")


class VendorRows(Base):
    """The part of `RecipientTx` that connectors use."""

    def objects(self, processor: str, refs: Iterable[bytes]) -> dict[bytes, VendorObject]:
        """Read objects with their holdings."""
        wanted = [(processor, ref) for ref in dict.fromkeys(refs)]
        held: dict[bytes, list[Holding]] = {}
        for row in sorted(self.rows.find(HOLDING, _REF, wanted), key=itemgetter(slice(2, 6))):
            held.setdefault(row[1], []).append(_holding(row))
        return {
            ref: VendorObject(
                processor=processor,
                ref=ref,
                document=self.unseal_row(OBJECT, _name(processor, ref), sealed),
                due=due,
                lease=lease,
                lease_until=until,
                holdings=tuple(held.get(ref, ())),
            )
            for _, ref, due, lease, until, sealed in self.rows.find(OBJECT, _REF, wanted)
        }

    def put_objects(self, rows: Iterable[VendorObject]) -> None:
        """Write objects; each one's holdings are replaced as a set."""
        rows = list(rows)
        self.rows.delete(HOLDING, _REF, [(o.processor, o.ref) for o in rows])
        sealed = [self.seal_row(OBJECT, _name(o.processor, o.ref), o.document) for o in rows]
        self.rows.put(
            OBJECT,
            [
                (o.processor, o.ref, o.due, o.lease, o.lease_until, document)
                for o, document in zip(rows, sealed, strict=True)
            ],
        )
        self.rows.put(HOLDING, [_row(o, h) for o in rows for h in o.holdings])

    def drop_objects(self, processor: str, refs: Iterable[bytes]) -> None:
        """Forget objects and their holdings."""
        wanted = [(processor, ref) for ref in refs]
        self.rows.delete(HOLDING, _REF, wanted)
        self.rows.delete(OBJECT, _REF, wanted)

    def objects_of_bucket(
        self, processor: str, bucket: BucketId, reaches: Seq, *, after: bytes = b"", limit: int = 500
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with a living holding of the bucket decided before `reaches`."""
        of: Where = [
            ("processor", "=", processor),
            ("purpose", "=", bucket.purpose),
            ("period", "=", bucket.period),
            ("terms", "=", bucket.terms),
        ]
        return self._refs([*of, *_reached(reaches)], after, limit)

    def objects_of_subject(
        self,
        processor: str,
        subject_ref: SubjectRef,
        purposes: Sequence[str],
        reaches: Seq,
        *,
        after: bytes = b"",
        limit: int = 500,
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with such a holding of that person and a purpose."""
        found: set[bytes] = set()
        for purpose in purposes:
            of: Where = [
                ("processor", "=", processor),
                ("subject_ref", "=", subject_ref),
                ("purpose", "=", purpose),
            ]
            found.update(self._refs([*of, *_reached(reaches)], after, limit))
        return sorted(found)[:limit]

    def objects_of_delivery(
        self, processor: str, delivery_id: DeliveryId, *, limit: int = 500
    ) -> list[bytes]:
        """Return refs with a holding of that delivery, in any state."""
        return self._refs([("processor", "=", processor), ("delivery_id", "=", delivery_id)], b"", limit)

    def objects_of_processor(self, processor: str, *, after: bytes = b"", limit: int = 500) -> list[bytes]:
        """Return all refs > `after`, ascending."""
        rows = self.rows.scan(
            OBJECT, [("processor", "=", processor), ("ref", ">", after)], order=("ref",), limit=limit
        )
        return [row[1] for row in rows]

    def objects_due(self, processor: str, now: Micros, limit: int) -> list[bytes]:
        """Return refs with `due` <= `now` (wall time), by due."""
        rows = self.rows.scan(
            OBJECT, [("processor", "=", processor), ("due", "<=", now)], order=("due", "ref"), limit=limit
        )
        return [row[1] for row in rows]

    def objects_held(self, processor: str) -> tuple[int, int]:
        """Return how many objects there are, and how many holdings on them."""
        of: Where = [("processor", "=", processor)]
        return self.rows.count(OBJECT, of), self.rows.count(HOLDING, of)

    def objects_waiting(self, processor: str) -> int:
        """Return how many objects have a `due`."""
        return self.rows.count(OBJECT, [("processor", "=", processor), ("due", "set", None)])

    def _refs(self, where: Where, after: bytes, limit: int) -> list[bytes]:
        rows = self.rows.scan(
            HOLDING, [*where, ("ref", ">", after)], order=("ref",), limit=limit, distinct=("ref",)
        )
        return [ref for (ref,) in rows]


def _reached(reaches: Seq) -> Where:
    return [("decided", "<", reaches), ("ending", "=", 0)]


def _name(processor: str, ref: bytes) -> bytes:
    return processor.encode() + b"|" + ref


def _row(o: VendorObject, h: Holding) -> Row:
    place = (h.delivery_id, h.purpose, h.period, h.terms)
    return (o.processor, o.ref, *place, h.subject_ref, h.decided, int(h.ending))


def _holding(row: Row) -> Holding:
    _, _, delivery, purpose, period, terms, subject_ref, decided, ending = row
    return Holding(
        delivery_id=DeliveryId(delivery),
        purpose=purpose,
        period=Period(period),
        terms=Terms(terms),
        subject_ref=SubjectRef(subject_ref),
        decided=Seq(decided),
        ending=bool(ending),
    )
