"""What a vault knows of its log: whether it is older than the log, and closed until it has caught up with it.

A restored backup knows less than `lifecycle` and the consumer groups, which never run ahead of the vault they
were written with. (Protocol 10.)
"""

from collections.abc import Iterable, Mapping

from schemas.models import Depersonalized
from vault.base import CLOSED
from vault.herald import REACHED
from vault.port import Tx

__all__ = ["CLOSED", "adopt", "close", "is_behind", "is_closed", "knows", "reached"]


def reached(tx: Tx) -> int | None:
    """How far this vault knows `lifecycle`, by sequence number; None in one older than this record."""
    kept = tx.meta(REACHED)
    return None if kept is None else int.from_bytes(kept, "big")


def knows(tx: Tx) -> int | None:
    """Up to which sequence number this vault has, or had when its restore was found, what `lifecycle` says.

    Catching up announces, so `reached` alone would hide from a second attempt what the first one left undone.
    """
    kept = tx.meta(CLOSED)
    return reached(tx) if kept is None else int.from_bytes(kept, "big")


def is_closed(tx: Tx) -> bool:
    """Whether a restore was found and is not caught up with: nobody may be answered."""
    return tx.meta(CLOSED) is not None


def is_behind(tx: Tx, lifecycle: Iterable[Depersonalized], committed: Mapping[tuple[str, int], int]) -> bool:
    """Whether the log was written by a later state of this vault than the one it is in.

    `committed` are our groups' offsets by topic id and partition: they follow the vault's progress, never
    lead it.
    """
    known = reached(tx)
    if known is not None and any(lapse.reaches > known for lapse in lifecycle):
        return True
    return any(offset > (tx.progress(log, part) or 0) for (log, part), offset in committed.items())


def close(tx: Tx) -> int:
    """Close the vault until it has caught up; returns from which sequence number on it must."""
    kept = tx.meta(CLOSED)
    if kept is None:
        kept = (reached(tx) or 0).to_bytes(8, "big")
        tx.put_meta(CLOSED, kept)
    return int.from_bytes(kept, "big")


def adopt(tx: Tx, lifecycle: Iterable[Depersonalized]) -> None:
    """Let a vault from before this record was kept know `lifecycle` as far as it goes."""
    last = max((lapse.reaches for lapse in lifecycle), default=0)
    tx.put_meta(REACHED, max(last, reached(tx) or 0).to_bytes(8, "big"))
