"""The vault as everybody else sees it: `Vault`, its transactions `Tx`, and the ports it stands on.

A transaction is serializable, short, and belongs to one thread: no sealing, no network, no `await` inside.
What it read is true when it commits. A write transaction takes a fresh `seq`; whatever destroys goes through
`vault.ending` and `vault.holds`. Errors: `Unavailable` when the store does not answer, `Conflict` when a
subject row changed since it was read elsewhere. Wherever a mapping is returned, what is unknown is absent.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

from schemas.ids import Micros
from schemas.ids import Sequence as Seq
from vault.port_flow import BucketTx, IdentityTx, OutboxTx, ProgressTx
from vault.port_registers import RecipientTx, RegistryTx, TaskTx

R = TypeVar("R")


class EpochKeys(Protocol):
    """Where epoch keys live, outside the database (a 0600 file, a KMS), each with its own backup."""

    def key(self, epoch: int) -> bytes:
        """Return the 32 bytes of an epoch's key; `Refused` when it is gone or damaged."""
        ...

    def create(self, epoch: int) -> None:
        """Make a new key and its backup durable; keeps the key that is already there."""
        ...

    def backed_up(self, epoch: int) -> bool:
        """Read the backup and say whether it holds the same key."""
        ...

    def destroy(self, epoch: int) -> None:
        """Overwrite and remove key and backup; does nothing where there is none."""
        ...


class Clock(Protocol):
    """The vault's time: the only one that decides expiry; shared by all processes."""

    @property
    def mode(self) -> Literal["system", "manual"]:
        """Say whether time runs or stands until it is set."""
        ...

    def now(self) -> Micros:
        """Return the vault's time."""
        ...

    def set_manual(self, instant: Micros) -> None:
        """Move a manual clock forward; `Refused` for a system clock and for any step back."""
        ...


class Secrets(Protocol):
    """The named secrets of this installation, 32 bytes each; `vault.handles` says what they key."""

    @property
    def alias(self) -> bytes:
        """Key of alias hashes."""
        ...

    @property
    def record(self) -> bytes:
        """Key of record ids (the id key)."""
        ...

    @property
    def slot(self) -> bytes:
        """Key of slots."""
        ...

    @property
    def lifecycle(self) -> bytes:
        """Key of the tags by which lifecycle names an ended generation."""
        ...

    def named(self, name: str) -> bytes:
        """Return the secret of this name ("seen", "pixel-id", ...), made on first use."""
        ...

    def processor(self, name: str) -> bytes:
        """Return one processor's secret, made on first use."""
        ...


class Tx(ProgressTx, IdentityTx, BucketTx, OutboxTx, RegistryTx, RecipientTx, TaskTx, Protocol):
    """One transaction: reads are one snapshot, writes happen together or not at all."""

    @property
    def seq(self) -> Seq:
        """The vault's sequence number: fresh in a write transaction, the latest one in a read."""
        ...

    @property
    def now(self) -> Micros:
        """The vault's time when the transaction began."""
        ...


class Vault(Protocol):
    """The one store that must really forget."""

    @property
    def secrets(self) -> Secrets:
        """The named secrets of this installation."""
        ...

    @property
    def clock(self) -> Clock:
        """The vault's time."""
        ...

    def transaction(self, *, write: bool = True) -> AbstractContextManager[Tx]:
        """Begin; commit at the end of the block, roll back if it raises."""
        ...

    def beside(self, do: Callable[[Tx], R], *, counts: bool = False) -> R:
        """Run `do` in a transaction that may go beside others of its kind, for the commits of a chunk.

        `do` may be run twice: again, alone, where it met another or turns out to destroy something. `counts`
        tells commit 2, which adds and waits, from commit 1, which judges one snapshot.
        """
        ...

    def content_digest(self, content: bytes) -> bytes:
        """Return the keyed 16-byte digest by which a second content under one id is recognised."""
        ...

    @property
    def overwrites(self) -> bool:
        """Whether a checkpoint removes destroyed bytes; where not, an epoch's turn makes them worthless."""
        ...

    def checkpoint(self) -> bool:
        """Try to remove the bytes of destroyed keys from every file; say whether they are gone."""
        ...

    def weaknesses(self) -> list[str]:
        """Return what of the store's set-up breaks its promises, in words for an operator."""
        ...

    def turn_epoch(self, *, batch: int = 500) -> int:
        """Re-wrap every living key under a new epoch, destroy the old epoch's key; returns the new epoch.

        Resumable: after a crash the next call finishes. `Unavailable` while readers keep old bytes alive.
        What was destroyed before is then `destroyed` on every store: nothing opens any copy of it.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
