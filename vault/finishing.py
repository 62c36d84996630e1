"""What is destroyed but not yet known to be gone, and how it is written down that it is (Protocol 5)."""

from collections.abc import Iterable
from typing import NamedTuple

from vault.port import Tx
from vault.transaction import Transaction, destroying
from vault.values import BucketId, BucketRow

_PENDING = "forget.pending"


class Ended(NamedTuple):
    """Everything destroyed up to some moment whose bytes may still lie somewhere."""

    pending: bytes | None
    """The last transaction that destroyed something, None where all of it is known to be gone."""
    buckets: tuple[BucketId, ...]

    def __bool__(self) -> bool:
        return self.pending is not None or bool(self.buckets)


def note_ending(own: Transaction) -> None:
    """Remember that this transaction destroys."""
    own.put_meta(_PENDING, str(own.seq).encode())


def ended(tx: Tx, hidden: Iterable[BucketRow] | None = None) -> Ended:
    """Return what is destroyed and not yet known to be gone; `hidden` are the hidden buckets, if at hand."""
    rows = tx.all_buckets(state="hidden") if hidden is None else hidden
    buckets = tuple(row.id for row in rows if row.ended_at is not None)
    return Ended(tx.meta(_PENDING), buckets)


def mark_gone(tx: Tx, what: Ended) -> None:
    """Write down that the bytes are gone; what was destroyed meanwhile stays pending."""
    own = destroying(tx)
    own.mark_destroyed(what.buckets)
    if own.meta(_PENDING) == what.pending:
        own.put_meta(_PENDING, None)
