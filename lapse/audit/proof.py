"""The proof of `lifecycle`, recomputed by other means than the pipeline's: what lapses name, what was signed.

It imports schemas only. Whoever may read `decisions` and `lifecycle` and knows the service's public key can
run it, and needs no vault and no trust: the bytes are those of docs/wire.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas import signing
from schemas.merkle import Frontier, root
from schemas.models import BucketScope, CheckpointSigned, Depersonalized, Record, RecordDecided

NAMING = ("routed", "expired")
"""Outcomes of records that were accepted into the buckets their links name."""


class Bucket(NamedTuple):
    """A bucket by name, as `lifecycle` says it."""

    purpose: str
    period: int
    terms: int


class Entry(NamedTuple):
    """One record of `lifecycle`: where it lies, its bytes as they came, and what they mean if anything."""

    offset: int
    value: bytes
    record: Record | None


@dataclass(slots=True)
class Named:
    """Which records each bucket ended, by `decisions`: 20-byte leaves, record id and revision (u32)."""

    names: Mapping[int, Sequence[str]]
    """Purpose names by policy version, in order of their numbers."""
    leaves: dict[Bucket, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def add(self, entry: RecordDecided) -> None:
        """Take one decision; the same record decided again adds nothing."""
        if entry.outcome not in NAMING:
            return
        leaf = entry.record_id + entry.revision.to_bytes(4, "big")
        for link in entry.links:
            purpose = self.names[entry.policy][link.purpose]
            self.leaves[Bucket(purpose, link.period, link.terms)].add(leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was examined, and where `lifecycle` does not say what the log shows."""

    lapses: int
    records: int
    checkpoints: int
    not_kept: int
    """Lapses whose records `decisions` does not hold any more."""
    wrong: tuple[tuple[int, str], ...]
    """Offset on `lifecycle`, and what is wrong there."""


def prove(
    entries: Sequence[Entry], named: Named, public_keys: Mapping[str, bytes], *, whole: bool = True
) -> Proof:
    """Hold every bucket's lapse against the decisions, every checkpoint against the log and its key.

    `entries` is `lifecycle` from its first offset on, without holes; `whole` says that `decisions` is too.
    """
    roots = _roots(entries)
    lapses = records = checkpoints = not_kept = 0
    wrong: list[tuple[int, str]] = []
    for each in entries:
        match each.record:
            case Depersonalized(scope=BucketScope() as scope) as lapse:
                lapses += 1
                leaves = named.leaves.get(Bucket(scope.purpose, scope.period, scope.terms), set())
                if not leaves and lapse.records and not whole:
                    not_kept += 1
                    continue
                records += len(leaves)
                wrong += [(each.offset, fault) for fault in _faults(lapse, leaves)]
            case CheckpointSigned() as signed:
                checkpoints += 1
                wrong += [
                    (each.offset, fault) for fault in _unsigned(signed, roots, each.offset, public_keys)
                ]
    return Proof(
        lapses=lapses, records=records, checkpoints=checkpoints, not_kept=not_kept, wrong=tuple(wrong)
    )


def _roots(entries: Sequence[Entry]) -> dict[int, bytes]:
    """The tree hash over the first n values, for every n that a checkpoint signs."""
    sizes = {each.record.size for each in entries if isinstance(each.record, CheckpointSigned)}
    tree, found = Frontier(), {}
    for each in entries:
        tree.append(each.value)
        if tree.size in sizes:
            found[tree.size] = tree.root()
    return found


def _faults(lapse: Depersonalized, leaves: set[bytes]) -> Iterable[str]:
    if lapse.records != len(leaves):
        yield f"the lapse names {lapse.records} records, decisions hold {len(leaves)}"
    if lapse.root != root(sorted(leaves)):
        yield "the root is not that of the decided records"


def _unsigned(
    signed: CheckpointSigned, roots: Mapping[int, bytes], offset: int, public_keys: Mapping[str, bytes]
) -> Iterable[str]:
    if signed.size > offset or roots.get(signed.size) != signed.root:
        yield f"the checkpoint's root is not that of the first {signed.size} entries"
    if not signing.verify(signed, public_keys):
        yield f"the signature is not of key {signed.key_id}"
