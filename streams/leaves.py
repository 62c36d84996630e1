"""The Merkle leaves of a bucket: which records it ended, so that anybody can prove that theirs was one.

A leaf is record id | revision (u32, big-endian); the tree of RFC 6962 is over the distinct leaves in
ascending order, which whoever holds `decisions` can rebuild. Leaves are kept beside the tally, one short blob
per chunk, and go with their bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from msgspec.structs import replace as changed

from schemas.ids import RecordId
from schemas.merkle import root
from schemas.models import BucketScope, Depersonalized, Record
from vault.herald import Herald
from vault.port import Tx
from vault.values import BucketId

LEAF_BYTES = 20


def leaf(record: RecordId, revision: int) -> bytes:
    """One record under a bucket."""
    return record + revision.to_bytes(4, "big")


def add_leaves(tx: Tx, leaves: Mapping[BucketId, Sequence[bytes]]) -> None:
    """Keep leaves in the transaction that counts them; a bucket that has ended has said its root already."""
    rows = tx.buckets(leaves)
    for bucket, found in leaves.items():
        if rows[bucket].ended_at is not None:
            continue
        number = _count(tx, bucket)
        tx.put_meta(_name(bucket, number), b"".join(found))
        tx.put_meta(_name(bucket), (number + 1).to_bytes(8, "big"))


def take_root(tx: Tx, bucket: BucketId) -> bytes:
    """The root over a bucket's leaves, which are forgotten: in the transaction that ends the bucket."""
    found: set[bytes] = set()
    for number in range(_count(tx, bucket)):
        blob = tx.meta(_name(bucket, number)) or b""
        found.update(blob[i : i + LEAF_BYTES] for i in range(0, len(blob), LEAF_BYTES))
        tx.put_meta(_name(bucket, number), None)
    tx.put_meta(_name(bucket), None)
    return root(sorted(found))


def rooted(herald: Herald, bucket: BucketId, value: bytes) -> Herald:
    """The herald that says this root where it announces the bucket."""
    encode: Callable[[Record], bytes] = herald.encode

    def with_root(record: Record) -> bytes:
        if isinstance(record, Depersonalized) and isinstance(record.scope, BucketScope):
            scope = record.scope
            if BucketId(scope.purpose, scope.period, scope.terms) == bucket:
                record = changed(record, root=value)
        return encode(record)

    return replace(herald, encode=with_root)


def _count(tx: Tx, bucket: BucketId) -> int:
    return int.from_bytes(tx.meta(_name(bucket)) or b"", "big")


def _name(bucket: BucketId, number: int | None = None) -> str:
    base = f"leaves/{bucket.purpose}/{bucket.period}/{bucket.terms}"
    return base if number is None else f"{base}/{number}"
