"""Opening: at the moment of use, after everything is checked again. `may_use` and `may_open` are pure.

`open_fields` here, its twin for many records alike (`vault.moulds.RecordMould.open`, for route) and
`open_deliveries` in `vault.deliveries` (check, then unseal) are the only sources of clear text. Rows are read
fresh for every attempt; nothing opened may be kept for the next one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, get_args

from schemas.ids import Micros, SubjectNumber
from schemas.models import Cause, RecordTagged
from vault.handles import handle_key, read_handles
from vault.keys import derive_k
from vault.port import Tx
from vault.sealing import decode_fields, header_of, open_record
from vault.subjects import kept, usable
from vault.values import BucketId, BucketRow, Closed, ProcessorState, Purpose, SubjectState

_CAUSES: dict[str | None, Cause] = {cause: cause for cause in get_args(Cause)}
UNKNOWN = Closed(code="unknown")
"""What unknown, erased and tampered all look like."""


class Ask(NamedTuple):
    """One link of a record or grant of a delivery: its bucket, its handle, the id the handle is bound to."""

    bucket: BucketId
    handle: bytes
    name: bytes


class Found(NamedTuple):
    """What the vault holds about one ask, read in one transaction; `number` None: the handle names nobody."""

    row: BucketRow | None = None
    key: bytes | None = None
    number: SubjectNumber | None = None
    generation: int = 0
    subject: SubjectState | None = None


class Usable(NamedTuple):
    """A link that may be used now: K(S,p,t), whose it is, and until when the answer holds at most."""

    k: bytes
    number: SubjectNumber
    generation: int
    use_until: Micros


class Recipiency(NamedTuple):
    """One processor as an opening sees it: what control says of it, and today's policy.

    `purposes` are all purposes of the policy by name, `grants` the names of the categories this processor
    may have for each, `categories` all the policy's: they tell what is not granted from what was made for
    somebody else.
    """

    name: str
    state: ProcessorState | None
    purposes: Mapping[str, Purpose]
    grants: Mapping[str, frozenset[str]]
    categories: frozenset[str] = frozenset()


def find(tx: Tx, asks: Sequence[Ask]) -> list[Found]:
    """Read what decides each ask: bucket row and key, whom the handle names, their row; in bulk."""
    asked: dict[BucketId, list[tuple[bytes, bytes]]] = {}
    for ask in asks:
        asked.setdefault(ask.bucket, []).append((ask.handle, ask.name))
    found = {bucket: iter(each) for bucket, each in find_named(tx, asked).items()}
    return [next(found[ask.bucket]) for ask in asks]


def find_named(
    tx: Tx, asked: Mapping[BucketId, Sequence[tuple[bytes, bytes]]]
) -> dict[BucketId, list[Found]]:
    """The same for pairs of handle and id under each bucket; those of one person share what is found."""
    ids = {bucket for bucket in asked if _storable(bucket)}
    rows, keys = tx.buckets(ids), tx.bucket_keys(ids)
    named = {
        bucket: read_handles(handle_key(keys[bucket]), pairs) if bucket in keys else [None] * len(pairs)
        for bucket, pairs in asked.items()
    }
    people = tx.subjects({who[0] for each in named.values() for who in each if who and who[0] < 2**63})
    found = {}
    for bucket, each in named.items():
        row, key = rows.get(bucket), keys.get(bucket)
        alike = {
            who: Found(row, key) if who is None else Found(row, key, *who, people.get(who[0]))
            for who in set(each)
        }
        found[bucket] = [alike[who] for who in each]
    return found


def _storable(bucket: BucketId) -> bool:
    # Outsiders ask with whatever they like; a lone surrogate, for one, no store can hold.
    fits = -(2**63) <= bucket.period < 2**63 and 0 <= bucket.terms < 2**32
    return fits and bucket.purpose.isprintable()


def may_use(found: Found, purpose: Purpose, now: Micros) -> Usable | Closed:
    """Say whether a link may be used at `now` for `purpose` as today's policy has it. Pure."""
    return _judged(found, purpose, now, usable)


def may_show(found: Found, purpose: Purpose, now: Micros) -> Usable | Closed:
    """Say whether a link opens at `now` for the person it is about, and for nobody else. Pure.

    A person may see what is held of them, also what nobody may use (GDPR Art. 15, 18 (2)).
    """
    return _judged(found, purpose, now, kept)


def _judged(
    found: Found,
    purpose: Purpose,
    now: Micros,
    of_person: Callable[[SubjectState | None, Purpose, int], Closed | None],
) -> Usable | Closed:
    closed = bucket_closed(found.row, now)
    if closed is not None:
        return closed
    if found.row is None or found.key is None or found.number is None or found.subject is None:
        return UNKNOWN
    closed = of_person(found.subject, purpose, found.generation)
    if closed is not None:
        return closed
    held = found.subject.purpose(purpose.name)
    assert held.key is not None, "a generation that is kept lives"
    if held.due is not None and now >= held.due:
        return Closed(code="expired", cause="retention", since=held.due)
    until = found.row.due if held.due is None else Micros(min(held.due, found.row.due))
    return Usable(derive_k(found.key, held.key), found.number, found.generation, until)


def may_open(
    to: Recipiency,
    purpose: str,
    found: Found,
    now: Micros,
    *,
    category: str | None = None,
    revision: int = 1,
    highest: int | None = None,
) -> Usable | Closed:
    """Say whether this processor may open a grant at `now`; whatever cannot be judged is closed. Pure.

    `highest` is the highest revision of the delivery where it was rectified. Without a `category` the
    answer is about the grant as a whole: who finds out the category afterwards asks `granted`.
    """
    closed = barred(to.state, now)
    if closed is not None:
        return closed
    plan = to.purposes.get(purpose)
    if plan is None:
        return bucket_closed(found.row, now) or Closed(code="not_granted")
    used = may_use(found, plan, now)
    if isinstance(used, Closed):
        return used
    if highest is not None and revision < highest:
        return Closed(code="superseded", cause="rectification")
    if category is not None and not granted(to, purpose, category):
        return Closed(code="not_granted")
    assured = None if to.state is None else to.state.assurance_until
    return used if assured is None else used._replace(use_until=Micros(min(used.use_until, assured)))


def granted(to: Recipiency, purpose: str, category: str) -> bool:
    """Say whether today's policy grants this processor the category for the purpose. Pure."""
    return category in to.grants.get(purpose, frozenset())


def barred(state: ProcessorState | None, now: Micros) -> Closed | None:
    """Say why a processor may open nothing at all, or None. Pure."""
    if state is None or not state.approved:
        return Closed(code="not_approved")
    if state.suspended:
        return Closed(code="suspended", since=state.since)
    if state.assurance_until is not None and now >= state.assurance_until:
        return Closed(code="assurance_ended", since=state.assurance_until)
    return None


def bucket_closed(row: BucketRow | None, now: Micros) -> Closed | None:
    """Say why nothing under a bucket may be used, or None. Pure."""
    if row is None:
        return UNKNOWN
    cause = _CAUSES.get(row.reason, "retention")
    if row.state == "destroyed":
        return Closed(code="destroyed", cause=cause, since=row.destroyed_at)
    if row.state == "hidden":
        return Closed(code="hidden", cause=cause, since=row.hidden_at)
    if now >= row.due:
        return Closed(code="expired", cause="retention", since=row.due)
    return None


# ---- records: for ourselves --------------------------------------------------------------------------------
def asks_of(record: RecordTagged, purposes: Mapping[int, str]) -> list[Ask]:
    """Return a record's links as asks; `purposes` names the numbers of the record's policy version."""
    return [
        Ask(BucketId(purposes[link.purpose], link.period, link.terms), link.handle, record.record_id)
        for link in record.links
    ]


def open_fields(
    record: RecordTagged, links: Sequence[Usable | Closed]
) -> list[list[str | int | dict[str, str] | None] | Closed]:
    """Open what the usable links of a record open: per compartment its values, or why not.

    `links` are the answers of `may_use` in the order of the record's links.
    """
    header = header_of(record)
    ks = {i: link.k for i, link in enumerate(links) if isinstance(link, Usable)}
    opened: list[list[str | int | dict[str, str] | None] | Closed] = []
    for n, compartment in enumerate(record.compartments):
        clear = open_record(header, n, compartment, ks)
        if clear is not None:
            opened.append(decode_fields(clear))
        else:
            opened.append(first_reason([links[w.link] for w in compartment.wraps if w.link < len(links)]))
    return opened


def first_reason(tried: Sequence[object]) -> Closed:
    """Return the first reason that says something, else that nothing opens this."""
    closed = [each for each in tried if isinstance(each, Closed)]
    return next((each for each in closed if each.code != "unknown"), UNKNOWN)
