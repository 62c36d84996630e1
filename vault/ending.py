"""The only code that destroys: every ending escrows for holds and owes its messages in one transaction.

A key is destroyed first and announced second; the outbox row is part of the destruction (Protocol 4).
Hidden becomes destroyed only when the store says that the bytes are gone (Protocol 5).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from schemas.ids import Micros, RequestId, SubjectNumber
from schemas.models import BucketScope, Cause, Depersonalized
from vault.faults import FORGOTTEN, Crash, never
from vault.finishing import ended, mark_gone, note_ending
from vault.herald import (
    Herald,
    announce_buckets,
    announce_decision,
    announce_subject,
    tell_bucket_again,
    tell_subject_again,
)
from vault.port import Tx, Vault
from vault.subjects import fold, without_key
from vault.transaction import Transaction, destroying
from vault.values import BucketId, Ended, Erased, PurposeState, Statement, SubjectState

__all__ = [
    "Herald",
    "apply_statements",
    "end_bucket",
    "end_bucket_again",
    "end_buckets",
    "end_generation_again",
    "end_purposes",
    "erase",
    "erase_scope",
    "finish_buckets",
]


def apply_statements(
    tx: Tx, state: SubjectState, statements: Iterable[Statement], herald: Herald
) -> SubjectState:
    """Fold what a person said into their row, destroy what it ends, owe what follows; returns the new state.

    Put the person's aliases first: a withdrawal goes to `control` with them. Saying it again changes nothing.
    """
    own = destroying(tx)
    stored = state
    for said in statements:
        before = state
        state, ended = fold(before, said)
        if state is before:
            continue
        cause: Cause = "objection" if said.objection else "withdrawal"
        if ended:
            own.put_subjects([before])
            _end(own, before, state, ended, herald, cause, own.now)
            stored = state
        if state.purpose(said.purpose).floor != before.purpose(said.purpose).floor:
            generation = state.purpose(said.purpose).last_generation
            hashes = own.aliases_of([state.number]).get(state.number, ())
            told = [(said.purpose, generation)]
            announce_decision(
                own, herald, right="objection", hashes=hashes, ended=told, until=said.at, reason=cause
            )
    if state is not stored:
        own.put_subjects([state])
    return state


def end_purposes(
    tx: Tx,
    number: SubjectNumber,
    purposes: Collection[str],
    herald: Herald,
    *,
    cause: Cause = "retention",
    at: Micros | None = None,
) -> tuple[Ended, ...]:
    """Destroy a person's keys for purposes whose time is over (anchored retention); returns what ended."""
    own = destroying(tx)
    state = own.subjects([number]).get(number)
    if state is None:
        return ()
    ended = _living(state, purposes)
    if ended:
        after = state
        for each in ended:
            after = after.having(each.purpose, without_key(after.purpose(each.purpose)))
        _end(own, state, after, ended, herald, cause, own.now if at is None else at)
    return ended


def erase_scope(tx: Tx, alias_hashes: Iterable[bytes]) -> tuple[tuple[SubjectNumber, ...], tuple[bytes, ...]]:
    """Return the people and identifiers an erasure would reach: what is shared is erased on any request."""
    hashes = dict.fromkeys(alias_hashes)
    people: dict[SubjectNumber, None] = {}
    new = list(hashes)
    while new:
        rows = [row for found in tx.aliases(new).values() for row in found]
        numbers = [r.subject for r in rows if r.subject is not None and r.until is None]
        numbers = [n for n in dict.fromkeys(numbers) if n not in people]
        people.update(dict.fromkeys(numbers))
        new = [h for owned in tx.aliases_of(numbers).values() for h in owned if h not in hashes]
        hashes.update(dict.fromkeys(new))
    return tuple(sorted(people)), tuple(hashes)


def erase(
    tx: Tx,
    alias_hashes: Iterable[bytes],
    until: Micros,
    herald: Herald,
    *,
    keep: Collection[str] = (),
    cause: Cause = "erasure",
    request_id: RequestId | None = None,
) -> Erased:
    """Erase whoever these identifiers name and close them, known or not: nothing collected before returns.

    Purposes in `keep` (legal obligation, legal claims) stay, restricted, and are returned. With a
    `request_id` the system itself decided, and says so on `control`; an officer's command stands there
    already.
    """
    own = destroying(tx)
    asked = tuple(dict.fromkeys(alias_hashes))
    numbers, hashes = erase_scope(own, asked)
    ended: list[tuple[SubjectNumber, Ended]] = []
    kept: list[tuple[SubjectNumber, str]] = []
    for state in own.subjects(numbers).values():
        stays = sorted(p for p, s in state.purposes.items() if p in keep and s.key is not None)
        gone = _living(state, [p for p in state.purposes if p not in stays])
        after = _erased(state, stays, until)
        _end(own, state, after, gone, herald, cause, own.now)
        own.close_aliases(state.number, until, keep=bool(stays))
        if not stays:
            own.untell_subject(state.number)
        ended += [(state.number, each) for each in gone]
        kept += [(state.number, p) for p in stays]
    own.suppress(hashes, until)
    if request_id is not None:
        told = sorted({(each.purpose, each.generation) for _, each in ended})
        announce_decision(
            own,
            herald,
            right="erasure",
            hashes=hashes,
            ended=told,
            until=until,
            reason=cause,
            request_id=request_id,
        )
    return Erased(
        subjects=numbers,
        ended=tuple((n, each.purpose) for n, each in ended),
        kept=tuple(kept),
        alias_hashes=hashes,
    )


def end_bucket(
    tx: Tx, bucket: BucketId, herald: Herald, *, cause: Cause = "retention", at: Micros | None = None
) -> bool:
    """Destroy a bucket's key; says whether there was one. The row is hidden until `finish_buckets`."""
    return bool(end_buckets(tx, {bucket: cause}, herald, at=at))


def end_buckets(
    tx: Tx, causes: Mapping[BucketId, Cause], herald: Herald, *, at: Micros | None = None
) -> list[BucketId]:
    """The same for many, each for its cause; returns those that had a key."""
    own = destroying(tx)
    rows = own.buckets(causes)
    living = [rows[bucket] for bucket in causes if bucket in rows and rows[bucket].ended_at is None]
    ids = [row.id for row in living]
    if ids:
        _end_bucket_keys(own, {bucket: causes[bucket] for bucket in ids})
        announce_buckets(own, herald, living, causes, own.now if at is None else at)
        own.untell_buckets(ids)
    return ids


def end_bucket_again(tx: Tx, lapse: Depersonalized, herald: Herald) -> bool:
    """Do again in a restored vault what `lifecycle` says of a bucket; says whether its key had come back.

    `lifecycle` has it already; who was told of it is not known, so every processor is told (Protocol 10).
    """
    own, scope = destroying(tx), lapse.scope
    assert isinstance(scope, BucketScope)
    bucket = BucketId(scope.purpose, scope.period, scope.terms)
    row = own.buckets([bucket]).get(bucket)
    living = row is not None and row.ended_at is None
    if living:
        _end_bucket_keys(own, {bucket: lapse.cause})
        own.untell_buckets([bucket])
    tell_bucket_again(own, herald, lapse)
    return living


def end_generation_again(
    tx: Tx, number: SubjectNumber, purpose: str, generation: int, lapse: Depersonalized, herald: Herald
) -> bool:
    """The same for one generation of a person's purpose, whose tag stands on `lifecycle`."""
    own = destroying(tx)
    state = own.subjects([number]).get(number)
    held = None if state is None else state.purpose(purpose)
    key = held.key if held is not None and held.generation == generation else None
    if state is not None and held is not None and key is not None:
        after = state.having(purpose, without_key(held))
        _end_keys(own, state, after, (Ended(purpose=purpose, generation=generation, key=key),))
    tell_subject_again(own, herald, number, purpose, lapse)
    return key is not None


def _end_bucket_keys(own: Transaction, causes: Mapping[BucketId, Cause]) -> None:
    ending = {bucket.purpose for bucket in causes}
    for hold in own.holds():
        purposes = sorted(ending.intersection(hold.purposes))
        if hold.on and purposes:
            people = own.subjects(hold.subjects).values()
            keys = own.derivable(people, purposes)
            own.escrow(hold.hold_id, [key for key in keys if key.pair.bucket in causes])
    own.end_bucket_keys(causes)
    note_ending(own)


def finish_buckets(vault: Vault, crash: Crash = never) -> tuple[BucketId, ...]:
    """Make the bytes of everything destroyed so far go away; returns the buckets that became `destroyed`.

    Returns none while somebody still reads old pages: call it again. A store that does not overwrite what it
    replaces (PostgreSQL) forgets with the turn of its epoch alone, which marks them (`vault.turn_epoch`).
    """
    if not vault.overwrites:
        return ()
    with vault.transaction(write=False) as tx:
        found = ended(tx)
    if not found or not vault.checkpoint():
        return ()
    crash(FORGOTTEN)
    with vault.transaction() as tx:
        mark_gone(tx, found)
    return found.buckets


def _end(
    own: Transaction,
    before: SubjectState,
    after: SubjectState,
    ended: Sequence[Ended],
    herald: Herald,
    cause: Cause,
    at: Micros,
) -> None:
    _end_keys(own, before, after, ended)
    if ended:
        announce_subject(own, herald, before.number, ended, cause, at)


def _end_keys(own: Transaction, before: SubjectState, after: SubjectState, ended: Sequence[Ended]) -> None:
    purposes = [each.purpose for each in ended]
    for hold in own.holds():
        held = [p for p in purposes if p in hold.purposes]
        if hold.on and held and before.number in hold.subjects:
            own.escrow(hold.hold_id, own.derivable([before], held))
    own.end_keys(after)
    if ended:
        note_ending(own)


def _living(state: SubjectState, purposes: Iterable[str]) -> tuple[Ended, ...]:
    return tuple(
        Ended(purpose=p, generation=s.generation, key=s.key)
        for p, s in ((p, state.purpose(p)) for p in sorted(purposes))
        if s.key is not None
    )


def _erased(state: SubjectState, stays: Collection[str], until: Micros) -> SubjectState:
    if not stays:
        return SubjectState(number=state.number, version=state.version, erased=True)
    purposes = {
        p: replace(s, restricted=True)
        if p in stays
        else PurposeState(last_generation=s.last_generation, floor=until, erased=True)
        for p, s in state.purposes.items()
    }
    return replace(state, purposes=purposes, last_open=None, checked=())
