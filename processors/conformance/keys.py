"""The keys of a run: what is delivered opens by what the run's own vault holds at that moment.

Once they have ended it opens no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from processors.calls import OpenedPart
from processors.conformance.values import NAME, USE_UNTIL
from schemas.codec import encode
from schemas.ids import DeliveryId, Handle, Period, SubjectNumber, Terms
from schemas.ids import Sequence as Seq
from schemas.models import BucketScope, Cause, Command, DeliveredCompartment, Grant, RecordDelivered, Scope
from vault.deliveries import OpenFields, open_deliveries
from vault.ending import Herald, end_bucket, end_purposes, finish_buckets
from vault.handles import handle_key, make_handles
from vault.keys import derive_k, new_key, random_bytes
from vault.opening import Recipiency, barred
from vault.port import Tx, Vault
from vault.sealing import DeliveredPart, DeliveryHeader, seal_delivery
from vault.subjects import with_key
from vault.values import BucketId, BucketWanted, ProcessorState

CATEGORY = "user.contact"
SOURCE = "form/contact"
Parts = Sequence[tuple[Mapping[str, str], Sequence[str]]]
"""Compartments: fields, and the purposes that open them."""


@dataclass(frozen=True, slots=True)
class _Purpose:
    """A purpose as openings read it."""

    name: str
    basis: str = "contract"


def _unsigned(command: Command) -> Command:
    raise AssertionError(f"nothing here orders {type(command).__name__}")


class Keys:
    """Seals and opens for the processor of one run (a `processors.values.Opener`)."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._herald = Herald(secrets=vault.secrets, encode=encode, sign=_unsigned)  # type: ignore[arg-type]  # signs nothing
        self._people: dict[str, SubjectNumber] = {}
        self._purposes: dict[str, _Purpose] = {}
        with vault.transaction() as tx:
            tx.put_processor(ProcessorState(name=NAME, approved=True))

    # ---- sealing -------------------------------------------------------------------------------------------
    def seal(
        self,
        delivery: DeliveryId,
        revision: int,
        person: str,
        parts: Parts,
        period: int,
        decided: int,
    ) -> tuple[list[DeliveredCompartment], list[Grant]]:
        """Return a delivery's compartments and grants; keys that somebody has none of yet are made."""
        purposes = sorted({name for _, names in parts for name in names})
        self._purposes |= {name: _Purpose(name) for name in purposes}
        buckets = [BucketId(name, Period(period), Terms(1)) for name in purposes]
        ks, handles = self._keys(person, buckets, delivery)
        grants = [
            Grant(
                purpose=bucket.purpose,
                period=bucket.period,
                terms=bucket.terms,
                handle=handle,
                decided=Seq(decided),
                use_until=USE_UNTIL,
            )
            for bucket, handle in zip(buckets, handles, strict=True)
        ]
        header = DeliveryHeader(delivery, revision, SOURCE, grants)
        sealed = [DeliveredPart(CATEGORY, [purposes.index(p) for p in ps], dict(fs)) for fs, ps in parts]
        return seal_delivery(header, sealed, ks, NAME, random_bytes), grants

    def _keys(
        self, person: str, buckets: Sequence[BucketId], delivery: DeliveryId
    ) -> tuple[list[bytes], list[Handle]]:
        with self._vault.transaction() as tx:
            tx.ensure_buckets([BucketWanted(id=bucket, due=USE_UNTIL) for bucket in buckets])
            known = self._people.get(person)
            state = tx.new_subject() if known is None else tx.subjects([known])[known]
            for bucket in buckets:
                state = with_key(state, bucket.purpose, tx.now, new_key)
            tx.put_subjects([state])
            keys = tx.bucket_keys(buckets)
        self._people[person] = state.number
        ks, handles = list[bytes](), list[Handle]()
        for bucket in buckets:
            held = state.purpose(bucket.purpose)
            assert held.key is not None
            named = [(state.number, held.generation, delivery)]
            handles += make_handles(handle_key(keys[bucket]), named)
            ks.append(derive_k(keys[bucket], held.key))
        return ks, handles

    def replace(self, delivery: DeliveryId, revision: int) -> None:
        """Let nothing older of a delivery open any more."""
        with self._vault.transaction() as tx:
            tx.supersede({delivery: revision})

    # ---- ending --------------------------------------------------------------------------------------------
    def end(self, scope: Scope, person: str, cause: Cause, purposes: Sequence[str]) -> None:
        """Destroy what a lapse of this scope is about; a recall destroys nothing, it suspends."""
        if isinstance(scope, BucketScope):
            with self._vault.transaction() as tx:
                bucket = BucketId(scope.purpose, scope.period, scope.terms)
                end_bucket(tx, bucket, self._herald, cause=cause)
            finish_buckets(self._vault)
        elif cause == "recall":
            self.suspend()
        elif person in self._people:
            with self._vault.transaction() as tx:
                end_purposes(tx, self._people[person], purposes, self._herald, cause=cause)

    def suspend(self, *, suspended: bool = True) -> None:
        """Let nothing open for the processor, or let it open again."""
        with self._vault.transaction() as tx:
            state = tx.processor(NAME)
            assert state is not None
            tx.put_processor(replace(state, suspended=suspended))

    # ---- opening -------------------------------------------------------------------------------------------
    def open(self, tx: Tx, deliveries: Sequence[RecordDelivered]) -> list[tuple[OpenedPart, ...]]:
        """Return per compartment its fields, or the code that keeps it closed."""
        granted = dict.fromkeys(self._purposes, frozenset({CATEGORY}))
        to = Recipiency(NAME, tx.processor(NAME), self._purposes, granted, frozenset({CATEGORY}))
        answers = open_deliveries(tx, to, deliveries)
        return [tuple(p.fields if isinstance(p, OpenFields) else p.code for p in parts) for parts in answers]

    def shut(self, tx: Tx) -> str | None:
        """Return the code that keeps everything closed now, None where nothing does."""
        closed = barred(tx.processor(NAME), tx.now)
        return closed.code if closed else None

    @property
    def suspended(self) -> bool:
        """Whether the processor is suspended now."""
        with self._vault.transaction(write=False) as tx:
            return self.shut(tx) is not None
