"""Placing and releasing legal holds (model m4)."""

from collections.abc import Iterable, Sequence

from schemas.errors import Unavailable
from schemas.ids import SubjectNumber
from vault.finishing import note_ending
from vault.port import Tx
from vault.transaction import Transaction, destroying
from vault.values import HeldKey, HeldPair, Hold


def place_hold(
    tx: Tx, hold_id: bytes, alias_hashes: Iterable[bytes], purposes: Sequence[str], *, reason: str = ""
) -> Hold:
    """Keep what is held of these people for these purposes readable under the hold's id; `gone` is the rest.

    `Unavailable` while endings are owed: what the hold calls gone must stand on `lifecycle` first, and what
    was applied before it stand before it on `control`. Receipts do not count: they never cease. A hold that
    stands copies what an earlier one has put aside.
    """
    own = destroying(tx)
    if own.endings_owed():
        raise Unavailable("unavailable", "messages are still owed to the log", "outbox", "try again")
    earlier = [hold for hold in own.holds() if hold.on]
    links = _links(own, tuple(dict.fromkeys(alias_hashes)), earlier)
    subjects = tuple(sorted({number for _, number in links if number is not None}))
    copied = [
        key
        for hold in earlier
        for key in own.put_aside(hold.hold_id)
        if key.pair.subject in subjects and key.pair.bucket.purpose in purposes
    ]
    hold = Hold(
        hold_id=hold_id,
        placed_at=own.now,
        purposes=tuple(purposes),
        subjects=subjects,
        links=links,
        gone=_gone(own, subjects, purposes, copied),
        reason=reason,
    )
    own.put_hold(hold)
    own.escrow(hold_id, copied)
    return hold


def release_hold(tx: Tx, hold_id: bytes) -> None:
    """End a hold: its key and what it put aside are destroyed; `NotFound` where none of this id stands."""
    own = destroying(tx)
    own.standing(hold_id)
    own.drop_hold(hold_id)
    note_ending(own)


def _links(
    own: Transaction, hashes: Sequence[bytes], earlier: Sequence[Hold]
) -> tuple[tuple[bytes, SubjectNumber | None], ...]:
    """Say whom each identifier names: now, kept, or when an earlier hold was placed."""
    found: dict[tuple[bytes, SubjectNumber | None], None] = {}
    rows = own.aliases(hashes)
    for name in hashes:
        numbers = [row.subject for row in rows.get(name, ()) if row.subject is not None]
        numbers += [n for hold in earlier for h, n in hold.links if h == name and n is not None]
        if not numbers:
            found[name, None] = None
        for number in numbers:
            found[name, number] = None
    return tuple(found)


def _gone(
    own: Transaction, subjects: Sequence[SubjectNumber], purposes: Sequence[str], copied: Sequence[HeldKey]
) -> tuple[HeldPair, ...]:
    people = own.subjects(subjects)
    there = {key.pair for key in copied} | {k.pair for k in own.derivable(people.values(), purposes)}
    buckets = [row.id for purpose in purposes for row in own.all_buckets(purpose=purpose)]
    pairs = {
        HeldPair(bucket, number, generation)
        for bucket in buckets
        for number, state in people.items()
        for generation in range(1, state.purpose(bucket.purpose).last_generation + 1)
    }
    return tuple(sorted(pairs - there))
