"""The vault itself, the same over every store: transactions, secrets, the clock, checkpoints and epochs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from schemas.errors import Bug, Conflict, Refused, Unavailable
from schemas.ids import Micros
from vault import epochs
from vault.base import MANUAL_CLOCK, Tools
from vault.clock import ClockReader, wall
from vault.faults import TURNED, Crash, never
from vault.finishing import ended, mark_gone
from vault.herald import REACHED
from vault.keys import Draw, random_bytes
from vault.port import Clock, EpochKeys, Secrets, Tx
from vault.progress import content_digest
from vault.restored import close
from vault.slots import EpochCache
from vault.store import Store, Way
from vault.tables import EPOCH, LAYOUT
from vault.transaction import Transaction

ClockMode = Literal["system", "manual"]
R = TypeVar("R")

_LAYOUT = "layout"
_NAMED = ("alias", "record", "slot", "lifecycle", "seen", "rest", "residue")


class StoreVault:
    """`Vault` over any store."""

    def __init__(
        self,
        store: Store,
        keys: EpochKeys,
        *,
        mode: ClockMode | None = None,
        start: Micros | None = None,
        clock: ClockReader = wall,
        draw: Draw = random_bytes,
        crash: Crash = never,
        catching_up: bool = False,
    ) -> None:
        """`catching_up`: it may be used although it was restored and does not know yet what the log says."""
        self._store = store
        self._keys = keys
        self._crash = crash
        self._catching_up = catching_up
        self._tools = Tools(epochs=EpochCache(keys), wall=clock, draw=draw)
        self._open = threading.local()
        self._set_up(mode, start)
        self._secrets = _Secrets(self)
        self._clock = _VaultClock(self, self._mode)

    def _set_up(self, mode: ClockMode | None, start: Micros | None) -> None:
        with self._store.begin(write=True) as rows:
            new = not rows.count(EPOCH)
            if new:
                epochs.first_epoch(rows, self._keys)
            tx = Transaction(rows, self._tools, write=True)
            if new:
                tx.numbered()
                tx.put_meta(_LAYOUT, str(LAYOUT).encode())
                tx.count_accepted()
                tx.put_meta(REACHED, bytes(8))
                if mode == "manual":
                    began = self._tools.wall() if start is None else start
                    tx.put_meta(MANUAL_CLOCK, str(began).encode())
            if tx.meta(_LAYOUT) != str(LAYOUT).encode():
                raise Refused("wrong_data_folder", "the vault has another layout", "vault")
            self._mode: ClockMode = "system" if tx.meta(MANUAL_CLOCK) is None else "manual"
            if mode is not None and mode != self._mode:
                raise Refused("wrong_data_folder", f"the vault's clock is {self._mode}", "vault")
            for name in _NAMED:
                tx.secret(name)
            tx.skip_numbers()
            tx.flush()
        tx.committed()

    @property
    def secrets(self) -> Secrets:
        """The named secrets of this installation."""
        return self._secrets

    @property
    def clock(self) -> Clock:
        """The vault's time."""
        return self._clock

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Tx]:
        """Begin; commit at the end of the block, roll back if it raises. Transactions do not nest.

        `Unavailable` where the vault was restored and has not caught up with the log.
        """
        with self._begun(write=write, way="alone") as tx:
            yield tx

    @contextmanager
    def _begun(self, *, write: bool, way: Way) -> Iterator[Tx]:
        if self.current() is not None:
            raise Bug("bug", "a transaction of the vault is begun inside another", "vault")
        used = False
        with self._store.begin(write=write, way=way) as rows:
            tx = Transaction(rows, self._tools, write=write, way=way)
            if not (tx.set_back or (tx.closed and not self._catching_up)):
                if write:
                    tx.numbered()
                self._open.tx = tx
                try:
                    yield tx
                    tx.flush()
                finally:
                    self._open.tx = None
                used = True
        if not used:
            self._refuse(tx)
        tx.committed()

    def _refuse(self, found: Transaction) -> None:
        """Raise `Unavailable`; a vault that was set back under this process is closed for all others, too."""
        if found.set_back:
            with self._store.begin(write=True) as rows:
                close(Transaction(rows, self._tools, write=True))
        what, do = "the vault was restored and has not caught up with the log", "let `lapse up` start anew"
        raise Unavailable("unavailable", what, "vault", do)

    def beside(self, do: Callable[[Tx], R], *, counts: bool = False) -> R:
        """Run `do` beside others of its kind; where it meets one, or destroys, again alone."""
        try:
            with self._begun(write=True, way="counting" if counts else "judging") as tx:
                return do(tx)
        except Conflict:
            with self._begun(write=True, way="alone") as tx:
                return do(tx)

    def current(self) -> Transaction | None:
        """Return this thread's open transaction."""
        return getattr(self._open, "tx", None)

    def content_digest(self, content: bytes) -> bytes:
        """Return the keyed 16-byte digest by which a second content under one id is recognised."""
        return content_digest(self._secrets.named("seen"), content)

    def secret(self, name: str) -> bytes:
        """Return a named secret, made on first use, in this thread's transaction where one is open."""
        known = self._tools.secrets.get(name)
        if known is not None:
            return known
        tx = self.current()
        value = None if tx is None else tx.secret(name)
        if value is not None:
            return value
        with self._store.begin(write=True) as rows:
            own = Transaction(rows, self._tools, write=True)
            value = own.secret(name)
            assert value is not None, "a transaction that writes makes the secret"
        own.committed()
        return value

    def read_clock(self) -> Micros:
        """Return the vault's time."""
        if self._mode == "system":
            return self._tools.wall()
        tx = self.current()
        if tx is not None:
            return tx.now
        with self._store.begin(write=False) as rows:
            return Transaction(rows, self._tools, write=False).now

    def checkpoint(self) -> bool:
        """Try to remove the bytes of destroyed keys from every file; say whether they are gone."""
        return self._store.forget() and self._store.overwrites

    @property
    def overwrites(self) -> bool:
        """Whether a checkpoint removes destroyed bytes; where not, an epoch's turn makes them worthless."""
        return self._store.overwrites

    def weaknesses(self) -> list[str]:
        """Return what of the store's set-up breaks its promises, in words for an operator."""
        return self._store.weaknesses()

    def turn_epoch(self, *, batch: int = 500) -> int:
        """Re-wrap every living key under a new epoch, destroy the old epoch's key; returns the new epoch.

        Whatever was destroyed before it began is then gone: no copy of it, anywhere, opens any more.
        """
        with self.transaction(write=False) as tx:
            before = ended(tx)
        turned = epochs.turn(self._store, self._keys, self._tools, batch, self._crash)
        if turned.resumed and before and not self._store.overwrites:
            # Some of it may have been wrapped under the new epoch already, when the turn was interrupted.
            turned = epochs.turn(self._store, self._keys, self._tools, batch, self._crash)
        if before:
            self._crash(TURNED)
            with self.transaction() as tx:
                mark_gone(tx, before)
        return turned.epoch

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.close()


class _Secrets:
    def __init__(self, vault: StoreVault) -> None:
        self._vault = vault

    @property
    def alias(self) -> bytes:
        return self._vault.secret("alias")

    @property
    def record(self) -> bytes:
        return self._vault.secret("record")

    @property
    def slot(self) -> bytes:
        return self._vault.secret("slot")

    @property
    def lifecycle(self) -> bytes:
        return self._vault.secret("lifecycle")

    def named(self, name: str) -> bytes:
        return self._vault.secret(name)

    def processor(self, name: str) -> bytes:
        return self._vault.secret(f"processor:{name}")


class _VaultClock:
    def __init__(self, vault: StoreVault, mode: ClockMode) -> None:
        self._vault = vault
        self._mode: ClockMode = mode

    @property
    def mode(self) -> ClockMode:
        return self._mode

    def now(self) -> Micros:
        return self._vault.read_clock()

    def set_manual(self, instant: Micros) -> None:
        if self._mode != "manual":
            raise Refused("wrong_data_folder", "the vault's clock is the host's", "clock")
        with self._vault.transaction() as tx:
            if instant < tx.now:
                raise Refused("brake", "a clock does not step back", "clock")
            tx.put_meta(MANUAL_CLOCK, str(instant).encode())
