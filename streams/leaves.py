"""The Merkle leaves of a bucket: which records it ended, so that anybody can prove that theirs was one.

A leaf is record id | revision (u32, big-endian); the tree of RFC 6962 is over the distinct leaves in
ascending order, which whoever holds `decisions` can rebuild. Leaves are kept by the commit that plans the
records, one short blob per chunk, and go with their bucket: so none is missing that the bucket's end overtook
on its way, which is decided as expired and names the bucket all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from msgspec.structs import replace as changed

from schemas.ids import RecordId
from schemas.merkle import root
from schemas.models import BucketScope, Depersonalized, Record
from vault.herald import Herald
from vault.port import Tx
from vault.values import BucketId

LEAF_BYTES = 20


class Named(NamedTuple):
    """What the lapse of a bucket says of its records: how many, and the tree hash over them."""

    records: int
    root: bytes


def leaf(record: RecordId, revision: int) -> bytes:
    """One record under a bucket."""
    return record + revision.to_bytes(4, "big")


def add_leaves(tx: Tx, leaves: Mapping[BucketId, Sequence[bytes]]) -> None:
    """Keep leaves in the transaction that plans their records, when their buckets are all open."""
    tx.add_leaves({bucket: b"".join(found) for bucket, found in leaves.items()})


def take_back(tx: Tx, bucket: BucketId, gone: bytes) -> None:
    """Forget one leaf, whose record ends otherwise than planned; of an ended bucket the root is said."""
    left = {each for blob in tx.take_leaves(bucket) for each in _split(blob) if each != gone}
    if left:
        tx.add_leaves({bucket: b"".join(sorted(left))})


def take_root(tx: Tx, bucket: BucketId) -> Named:
    """What a bucket's lapse names; its leaves are forgotten: in the transaction that ends the bucket."""
    found = {each for blob in tx.take_leaves(bucket) for each in _split(blob)}
    return Named(len(found), root(sorted(found)))


def rooted(herald: Herald, bucket: BucketId, named: Named) -> Herald:
    """The herald that says this count and root where it announces the bucket."""
    encode: Callable[[Record], bytes] = herald.encode

    def with_root(record: Record) -> bytes:
        if isinstance(record, Depersonalized) and isinstance(record.scope, BucketScope):
            scope = record.scope
            if BucketId(scope.purpose, scope.period, scope.terms) == bucket:
                record = changed(record, records=named.records, root=named.root)
        return encode(record)

    return replace(herald, encode=with_root)


def _split(blob: bytes) -> Iterator[bytes]:
    return (blob[i : i + LEAF_BYTES] for i in range(0, len(blob), LEAF_BYTES))
