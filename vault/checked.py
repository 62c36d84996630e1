"""What was found out about an address: a fact with a purpose of its own, sealed under that purpose's keys.

It stands in the row of the person, beside the hash of the address, and opens only while the purpose for which
it was found out may be used: its bucket lives, nobody withdrew, objected or was erased. So it needs no clock
and no destroyer of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from schemas.ids import Micros
from vault.keys import Draw, checked_key, random_bytes
from vault.opening import Ask, Found, Usable, find, may_show, may_use
from vault.port import Tx
from vault.sealing import bucket_bytes, seal, unseal
from vault.values import BucketId, Checked, Closed, Purpose, SubjectState

MOST = 8
"""Addresses of one person about which something is known; the oldest gives way."""


def enter_checked(
    tx: Tx,
    asks: Sequence[Ask],
    purposes: Mapping[str, Purpose],
    *,
    by: str,
    address: bytes,
    verdict: str,
    draw: Draw = random_bytes,
) -> bool:
    """Keep what `by` found out about an address (its alias hash) for the first purpose that may be used now.

    `asks` are the grants for which it was asked. False where none of them lives any more: then nothing is
    kept, for nothing justifies it.
    """
    for ask, found in zip(asks, find(tx, asks), strict=True):
        purpose = purposes.get(ask.bucket.purpose)
        used = may_use(found, purpose, tx.now) if purpose is not None else None
        if not isinstance(used, Usable) or found.subject is None:
            continue
        sealed = seal(checked_key(used.k), verdict.encode(), _bound(by, address, ask.bucket), draw)
        one = Checked(by=by, address=address, bucket=ask.bucket, generation=used.generation, sealed=sealed)
        others = [c for c in found.subject.checked if (c.by, c.address) != (by, address)]
        tx.put_subjects([replace(found.subject, checked=(*others, one)[-MOST:])])
        return True
    return False


def read_checked(
    tx: Tx, asks: Sequence[Ask], purposes: Mapping[str, Purpose], *, by: str, address: bytes
) -> str | None:
    """Return what `by` found out about these people's address; None where nothing known may be used."""
    people = {f.subject.number: f.subject for f in find(tx, asks) if f.subject is not None}
    for person in people.values():
        for one in person.checked:
            if (one.by, one.address) == (by, address):
                return _read(tx, person, purposes, one)
    return None


def checks_of(
    tx: Tx, person: SubjectState, purposes: Mapping[str, Purpose]
) -> Iterator[tuple[str, str, str]]:
    """Yield what is known of a person's addresses and opens, for that person: by whom, what, for what."""
    for one in person.checked:
        verdict = _read(tx, person, purposes, one, may_show)
        if verdict is not None:
            yield one.by, verdict, one.bucket.purpose


def _read(
    tx: Tx,
    person: SubjectState,
    purposes: Mapping[str, Purpose],
    one: Checked,
    judge: Callable[[Found, Purpose, Micros], Usable | Closed] = may_use,
) -> str | None:
    purpose = purposes.get(one.bucket.purpose)
    if purpose is None:
        return None
    row, key = tx.buckets([one.bucket]).get(one.bucket), tx.bucket_keys([one.bucket]).get(one.bucket)
    used = judge(Found(row, key, person.number, one.generation, person), purpose, tx.now)
    if not isinstance(used, Usable):
        return None
    clear = unseal(checked_key(used.k), one.sealed, _bound(one.by, one.address, one.bucket))
    return None if clear is None else clear.decode()


def _bound(by: str, address: bytes, bucket: BucketId) -> bytes:
    words = (by.encode(), address, bucket.purpose.encode(), bucket_bytes(bucket.period, bucket.terms))
    return b"".join(len(word).to_bytes(4) + word for word in words)
