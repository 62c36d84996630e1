"""The proof of `lifecycle`: it holds for what happened, and every way to lie about it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lapse.audit.proof import Entry, Named, Proof, prove
from schemas import codec, signing
from schemas.ids import Handle, LapseId, Micros, Period, RecordId, Slot, Terms
from schemas.ids import Sequence as Seq
from schemas.merkle import Frontier, root
from schemas.models import BucketScope, CheckpointSigned, Depersonalized, Link, Outcome, Record, RecordDecided

KEY = bytes(range(32))
KEYS = {"service": signing.public_key(KEY)}
NAMES = {1: ("news", "tax")}


def decided(number: int, outcome: Outcome = "routed", purpose: int = 0, revision: int = 1) -> RecordDecided:
    """One decision about record `number`, held for one purpose."""
    link = Link(purpose=purpose, period=Period(7), terms=Terms(1), handle=Handle(bytes(16)))
    return RecordDecided(
        record_id=RecordId(number.to_bytes(16, "big")),
        revision=revision,
        source="form/x",
        policy=1,
        control_offset=0,
        state=0,
        decided_at=Micros(0),
        outcome=outcome,
        slot=Slot(0),
        links=[link],
        verdicts=[],
    )


def leaf(number: int, revision: int = 1) -> bytes:
    """The leaf of record `number`, as docs/wire.md says it."""
    return number.to_bytes(16, "big") + revision.to_bytes(4, "big")


def lapse(*leaves: bytes, purpose: str = "news", **changes: Any) -> Depersonalized:
    """The lapse of a bucket that ended exactly these records."""
    said = Depersonalized(
        lapse_id=LapseId(b"l" * 16),
        cause="retention",
        scope=BucketScope(purpose=purpose, period=Period(7), terms=Terms(1)),
        reaches=Seq(9),
        control_offset=0,
        effective_at=Micros(5),
        records=len(leaves),
        root=root(sorted(leaves)),
    )
    return msgspec.structs.replace(said, **changes)


def log(*records: Record) -> list[Entry]:
    """`lifecycle` with these records, closed by a checkpoint over all of them."""
    entries = [Entry(n, codec.encode(record), record) for n, record in enumerate(records)]
    tree = Frontier()
    for each in entries:
        tree.append(each.value)
    unsigned = CheckpointSigned(
        size=tree.size, root=tree.root(), at=Micros(6), key_id="service", signature=b""
    )
    signed = signing.sign(unsigned, KEY)
    return [*entries, Entry(len(entries), codec.encode(signed), signed)]


def named(*decisions: RecordDecided) -> Named:
    """What `decisions` says."""
    found = Named(NAMES)
    for each in decisions:
        found.add(each)
    return found


DECIDED = (decided(1), decided(2, "expired"), decided(1), decided(3, "discarded"), decided(4, purpose=1))
TRUE = (lapse(leaf(1), leaf(2)), lapse(leaf(4), purpose="tax"))


def test_what_happened_is_proven() -> None:
    """Routed and expired records count once; discarded ones, and those of other buckets, do not."""
    proof = prove(log(*TRUE), named(*DECIDED), KEYS)
    assert proof == Proof(lapses=2, records=3, checkpoints=1, not_kept=0, wrong=())


def _other_value(entries: list[Entry]) -> list[Entry]:
    return [entries[0]._replace(value=entries[0].value + b"!"), *entries[1:]]


def _checkpoint(entries: list[Entry]) -> CheckpointSigned:
    last = entries[-1].record
    assert isinstance(last, CheckpointSigned)
    return last


def _other_signer(entries: list[Entry]) -> list[Entry]:
    forged = signing.sign(_checkpoint(entries), bytes(32))
    return [*entries[:-1], entries[-1]._replace(record=forged)]


def _later_size(entries: list[Entry]) -> list[Entry]:
    later = signing.sign(msgspec.structs.replace(_checkpoint(entries), size=9), KEY)
    return [*entries[:-1], entries[-1]._replace(record=later)]


@pytest.mark.parametrize(
    ("bend", "wrong"),
    [
        (lambda e: [*log(lapse(leaf(1)), TRUE[1])], 2),
        (lambda e: [*log(lapse(leaf(1), leaf(2), records=3), TRUE[1])], 1),
        (lambda e: [*log(lapse(leaf(1), leaf(2), root=bytes(32)), TRUE[1])], 1),
        (lambda e: [*log(lapse(leaf(1), leaf(2), root=None), TRUE[1])], 1),
        (_other_value, 1),
        (_other_signer, 1),
        (_later_size, 1),
        (lambda e: [e[1]._replace(offset=0), e[0]._replace(offset=1), e[2]], 1),
        (lambda e: e[1:], 1),
    ],
    ids=["left out", "count", "root", "no root", "value", "signer", "size", "order", "cut off"],
)
def test_every_lie_is_found(bend: Callable[[list[Entry]], list[Entry]], wrong: int) -> None:
    """A record left out, a count, a root, a changed, removed or moved entry, another signer."""
    proof = prove(bend(log(*TRUE)), named(*DECIDED), KEYS)
    assert len(proof.wrong) == wrong


def test_what_decisions_hold_no_more_is_counted_not_believed() -> None:
    """Only where the log was cut at its start may a lapse's records be missing altogether."""
    old = log(lapse(leaf(8)))
    assert prove(old, named(), KEYS, whole=False).not_kept == 1
    assert prove(old, named(), KEYS, whole=False).wrong == ()
    assert len(prove(old, named(), KEYS).wrong) == 2


def test_revisions_are_leaves_of_their_own() -> None:
    """A corrected record is named with each of its revisions."""
    both = named(decided(1), decided(1, revision=2))
    assert prove(log(lapse(leaf(1), leaf(1, 2))), both, KEYS).wrong == ()
