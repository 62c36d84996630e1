"""The Merkle leaves of a bucket: which records it ended, so that anybody can prove that theirs was one.

A leaf is record id | revision (u32, big-endian); the tree of RFC 6962 is over the distinct leaves in
ascending order, which whoever holds `decisions` can rebuild. Leaves are kept by the commit that plans the
records, one short blob per chunk, and go with their bucket: so none is missing that the bucket's end overtook
on its way, which is decided as expired and names the bucket all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
from msgspec.structs import replace as changed

from schemas.ids import Period, RecordId, Terms
from schemas.merkle import root
from schemas.models import BucketScope, Depersonalized, Record
from vault.herald import Herald
from vault.port import Tx, Vault
from vault.values import BucketId

LEAF_BYTES = 20
FOLDED = "folded/"
"""Metas of this name keep the count and root of a bucket's leaves, worked out before its end."""
SWEPT = 50
"""Buckets whose leaves are forgotten in one transaction."""
SPENT = b""
"""Such a meta's value once the bucket has ended."""


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
    if tx.meta(_folded(bucket)) == SPENT:
        return  # kept under other names they would never be swept
    left = [each for each in _distinct(tx.leaves(bucket)) if each != gone]
    tx.drop_leaves(bucket)
    tx.put_meta(_folded(bucket), None)
    if left:
        tx.add_leaves({bucket: b"".join(left)})


def take_roots(tx: Tx, buckets: Iterable[BucketId]) -> dict[BucketId, Named]:
    """What the lapses of buckets name, in the transaction that ends them.

    Their leaves are forgotten, or left to `sweep` where the root was worked out before.
    """
    names = {bucket: _folded(bucket) for bucket in buckets}
    folded, taken = tx.metas_of(names.values()), dict[BucketId, Named]()
    spent: dict[str, bytes | None] = {}
    for bucket, name in names.items():
        known = folded.get(name)
        if known and tx.count_leaves(bucket) == 1:
            spent[name] = SPENT
            taken[bucket] = msgspec.msgpack.decode(known, type=Named)
            continue
        found = _distinct(tx.leaves(bucket))
        tx.drop_leaves(bucket)
        spent[name] = None
        taken[bucket] = Named(len(found), root(found))
    tx.put_metas(spent)
    return taken


def fold(vault: Vault, buckets: Sequence[BucketId]) -> None:
    """Work roots out ahead: a bucket's leaves become one blob, with count and root beside it.

    What is added meanwhile or later is one more blob, which tells `take_roots` that the root is of the past.
    """
    with vault.transaction(write=False) as tx:
        blobs = {bucket: tx.leaves(bucket) for bucket in buckets}
    found = {bucket: _distinct(each) for bucket, each in blobs.items() if each}
    named = {bucket: Named(len(each), root(each)) for bucket, each in found.items()}
    with vault.transaction() as tx:
        rows = tx.buckets(named)
        for bucket, said in named.items():
            row = rows.get(bucket)
            if (
                row is None
                or row.ended_at is not None
                or not blobs[bucket].keys() <= tx.leaves(bucket).keys()
            ):
                continue
            tx.drop_leaves(bucket, blobs[bucket])
            tx.add_leaves({bucket: b"".join(found[bucket])})
            tx.put_meta(_folded(bucket), msgspec.msgpack.encode(said))


def sweep(vault: Vault) -> int:
    """Forget the leaves of buckets that ended with a root worked out before; returns of how many."""
    with vault.transaction(write=False) as tx:
        spent = [name for name, value in tx.metas(FOLDED).items() if value == SPENT]
    for start in range(0, len(spent), SWEPT):
        with vault.transaction() as tx:
            for name in spent[start : start + SWEPT]:
                purpose, period, terms = name.removeprefix(FOLDED).rsplit("/", 2)
                tx.drop_leaves(BucketId(purpose, Period(int(period)), Terms(int(terms))))
                tx.put_meta(name, None)
    return len(spent)


def rooted(herald: Herald, named: Mapping[BucketId, Named]) -> Herald:
    """The herald that says these counts and roots where it announces the buckets."""
    encode: Callable[[Record], bytes] = herald.encode

    def with_root(record: Record) -> bytes:
        if isinstance(record, Depersonalized) and isinstance(record.scope, BucketScope):
            scope = record.scope
            said = named.get(BucketId(scope.purpose, scope.period, scope.terms))
            if said is not None:
                record = changed(record, records=said.records, root=said.root)
        return encode(record)

    return replace(herald, encode=with_root)


def _folded(bucket: BucketId) -> str:
    return f"{FOLDED}{bucket.purpose}/{bucket.period}/{bucket.terms}"


def _distinct(blobs: Mapping[str, bytes]) -> list[bytes]:
    """The leaves of all blobs, each once, ascending."""
    return sorted({each for blob in blobs.values() for each in _split(blob)})


def _split(blob: bytes) -> Iterator[bytes]:
    return (blob[i : i + LEAF_BYTES] for i in range(0, len(blob), LEAF_BYTES))
