"""What a lapse reaches: which objects, and on them which grants."""

from __future__ import annotations

from processors.objects import Copy, Document, HeldGrant, Reached
from schemas.ids import DeliveryId, SubjectRef
from schemas.models import BucketScope, Depersonalized, ProcessorScope, RecordScope, SubjectScope
from vault.port import Tx
from vault.values import BucketId, Holding


def reached_objects(tx: Tx, processor: str, lapse: Depersonalized, after: bytes, limit: int) -> list[bytes]:
    """Return one page, beyond `after`, of the objects with something left that the lapse reaches."""
    scope, reaches = lapse.scope, lapse.reaches
    match scope:
        case BucketScope():
            bucket = BucketId(scope.purpose, scope.period, scope.terms)
            return tx.objects_of_bucket(processor, bucket, reaches, after=after, limit=limit)
        case SubjectScope():
            ref, purposes = scope.subject_ref, scope.purposes
            return tx.objects_of_subject(processor, ref, purposes, reaches, after=after, limit=limit)
        case RecordScope():
            refs = tx.objects_of_delivery(processor, scope.delivery_id, limit=limit)
            return sorted(ref for ref in refs if ref > after)
        case ProcessorScope():
            return tx.objects_of_processor(processor, after=after, limit=limit)


def reach(lapse: Depersonalized) -> Reached:
    """Return what tells whether the lapse reaches a grant: of its scope, and decided before it (model m7)."""
    scope, reaches = lapse.scope, lapse.reaches

    def reached(copy: Copy, grant: HeldGrant) -> bool:
        if grant.decided >= reaches:
            return False
        match scope:
            case BucketScope():
                return (grant.purpose, grant.period, grant.terms) == (
                    scope.purpose,
                    scope.period,
                    scope.terms,
                )
            case SubjectScope():
                return copy.subject_ref == scope.subject_ref and grant.purpose in scope.purposes
            case RecordScope():
                return copy.delivery_id == scope.delivery_id and grant.purpose in scope.purposes
            case ProcessorScope():
                return True

    return reached


def holdings(doc: Document) -> tuple[Holding, ...]:
    """Return the rows by which lapses find an object: one per grant that is not gone, ending or not."""
    return tuple(
        Holding(
            delivery_id=DeliveryId(copy.delivery_id),
            purpose=grant.purpose,
            period=grant.period,
            terms=grant.terms,
            subject_ref=SubjectRef(copy.subject_ref),
            decided=grant.decided,
        )
        for copy in doc.copies
        for grant in copy.grants
        if grant.state != "gone"
    )
