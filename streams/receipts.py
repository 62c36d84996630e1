"""Receipts: what processors answer. They stay on their topic, are counted, and settle what was awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas import codec, signing
from schemas.errors import Rejected
from schemas.models import ReceiptGiven
from streams.stage import Judged, Part, is_tick
from streams.tasks import BY_HAND, fold
from vault.port import Tx


@dataclass(slots=True, kw_only=True)
class ReceiptWork(Judged):
    """A part of `receipts`."""

    receipts: list[ReceiptGiven]


def read_receipts(part: Part, spoilt: frozenset[int]) -> list[ReceiptGiven]:
    """Decode receipts; what cannot be read proves nothing and is passed over."""
    found = []
    for record in part.records:
        if is_tick(record) or record.offset in spoilt:
            continue
        try:
            found.append(codec.decode_as(ReceiptGiven, record.value or b""))
        except Rejected:
            continue
    return found


def settle(tx: Tx, receipts: Sequence[ReceiptGiven], keys: Mapping[str, bytes]) -> None:
    """Fold receipts into what is awaited of their processors; a second reading changes nothing.

    `keys` are the public keys of those whose word that something was done by hand counts.
    """
    names = [(receipt.processor, receipt.about) for receipt in receipts]
    before = {(task.processor, task.about): task for task in tx.tasks_about(names)}
    after = dict(before)
    for receipt, name in zip(receipts, names, strict=True):
        task = after.get(name)
        if task is not None:
            by_hand = receipt.code == BY_HAND and signing.signer(receipt, keys) is not None
            folded = fold(task, receipt, tx.now, by_hand=by_hand)
            after = (
                {n: t for n, t in after.items() if n != name} if folded is None else {**after, name: folded}
            )
    tx.put_tasks([task for name, task in after.items() if task is not before[name]])
    tx.drop_tasks([name for name in before if name not in after])
