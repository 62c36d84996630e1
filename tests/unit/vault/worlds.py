"""A vault to test with, over any store, and the little world around it: a herald, plans, people."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from schemas import codec
from schemas.ids import Micros, Period, SubjectNumber, Terms
from schemas.models import Depersonalized, RequestDecided
from tests.support.postgres import databases
from vault.ending import finish_buckets
from vault.epochs import MemoryEpochKeys
from vault.finishing import ended
from vault.handles import alias_hash
from vault.herald import Herald
from vault.keys import new_key
from vault.memory import MemoryStore
from vault.port import EpochKeys, Tx, Vault
from vault.postgres import PostgresStore
from vault.sqlite import SqliteStore
from vault.store import Store
from vault.subjects import with_key
from vault.values import AliasRow, BucketId, BucketWanted, OutboxRow, Recipient, SubjectState
from vault.vaults import StoreVault

START = Micros(1_700_000_000_000_000)
HOUR = 3_600_000_000
DAY = 24 * HOUR

STORES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "vault" / "vault.db"),
    "postgresql": lambda _: PostgresStore(databases().borrow()),
}
"""Every store there is; the contract suite fails when one is missing here."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """As much of a purpose's plan as the vault reads."""

    name: str
    basis: str = "consent"


@dataclass(kw_only=True)
class World:
    """A vault and what its tests say about it."""

    store: Store
    keys: EpochKeys
    vault: Vault
    folder: Path
    herald: Herald = field(init=False)

    def __post_init__(self) -> None:
        self.herald = Herald(
            secrets=self.vault.secrets,
            encode=codec.encode,
            sign=lambda decided: replace(decided, key_id="service", signature=bytes(64)),
            recipients={"crm": recipient("crm"), "mail": recipient("mail")},
        )

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that writes."""
        with self.vault.transaction() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that reads."""
        with self.vault.transaction(write=False) as tx:
            yield tx

    def hash(self, name: str) -> bytes:
        """The alias hash of an e-mail address."""
        return alias_hash(self.vault.secrets.alias, "email", name)

    def person(self, tx: Tx, *names: str, purposes: tuple[str, ...] = ("news",)) -> SubjectState:
        """A new person with a living key for each purpose."""
        state = tx.new_subject()
        for purpose in purposes:
            state = with_key(state, purpose, tx.now, new_key)
        tx.put_subjects([state])
        tx.put_aliases([AliasRow(hash=self.hash(n), subject=state.number, since=tx.now) for n in names])
        return state

    def drain(self) -> list[OutboxRow]:
        """Announce all that is owed."""
        with self.write() as tx:
            rows = tx.outbox(10_000)
            tx.delete_outbox([row.id for row in rows])
        return rows

    def lapses(self) -> list[tuple[str, int, Depersonalized]]:
        """Announce all that is owed; returns the lapses among it as (topic, partition, lapse)."""
        return [
            (row.topic, row.partition, codec.decode_as(Depersonalized, row.value))
            for row in self.drain()
            if row.kind == "Depersonalized"
        ]

    def decisions(self) -> list[RequestDecided]:
        """Announce all that is owed; returns what goes to `control`."""
        return [
            codec.decode_as(RequestDecided, row.value) for row in self.drain() if row.kind == "RequestDecided"
        ]

    def finish(self) -> tuple[BucketId, ...]:
        """Make the bytes of what was destroyed go away, as this store can; returns the buckets concerned."""
        if self.vault.overwrites:
            return finish_buckets(self.vault)
        assert finish_buckets(self.vault) == (), "only an epoch's turn forgets here"
        with self.read() as tx:
            waiting = ended(tx).buckets
        self.vault.turn_epoch()
        return waiting

    def state(self, number: SubjectNumber) -> SubjectState:
        """A person as stored now."""
        with self.read() as tx:
            return tx.subjects([number])[number]


def recipient(name: str) -> Recipient:
    """A processor with four partitions that answers within a day."""
    return Recipient(name=name, topic=f"processor.{name}", partitions=4, erase_within=Micros(DAY))


def bucket(purpose: str = "news", period: int = 1, terms: int = 1) -> BucketId:
    """A bucket's id."""
    return BucketId(purpose, Period(period), Terms(terms))


def wanted(id_: BucketId, due: int = START + DAY) -> BucketWanted:
    """A bucket a chunk needs."""
    return BucketWanted(id=id_, due=Micros(due))


def open_world(kind: str, folder: Path, *, keys: EpochKeys | None = None) -> World:
    """A new vault of one kind, its clock standing at START."""
    store = STORES[kind](folder)
    keys = keys or MemoryEpochKeys()
    vault = StoreVault(store, keys, mode="manual", start=START)
    return World(store=store, keys=keys, vault=vault, folder=folder)
