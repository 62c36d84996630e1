"""What every part of a transaction stands on: rows, key slots, counters, secrets, and the vault's time."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.ids import Micros
from schemas.ids import Sequence as Seq
from vault.beside import needs_alone
from vault.clock import ClockReader
from vault.keys import Draw, hkdf_expand, new_key
from vault.sealing import seal, unseal
from vault.slots import EpochCache, Slots
from vault.store import Row, Rows, Way, Where
from vault.tables import META, SECRET, Table

MANUAL_CLOCK: Final = "clock.manual"
"""Name of the odd value that holds a manual clock's time; absent where the clock is the host's."""

CLOSED: Final = "restore.since"
"""Name of the odd value that closes a restored vault: the sequence number up to which it knew `lifecycle`
when its restore was found; absent where it is open.
"""

_SEQ: Final = "seq"


class Newest:
    """The latest sequence number this process has seen committed: a vault that gave less was set back."""

    __slots__ = ("seq",)

    def __init__(self) -> None:
        self.seq = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What transactions of one process share: epoch keys, secrets already read, time and randomness."""

    epochs: EpochCache
    wall: ClockReader
    draw: Draw
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    newest: Newest = field(default_factory=Newest)


class Base:
    """One open transaction. `seq` is fresh where it writes, and later than any before a restore.

    `closed`: the vault was restored and has not caught up; `set_back`: it was so under this process.
    """

    def __init__(self, rows: Rows, tools: Tools, *, write: bool, way: Way = "alone") -> None:
        self.rows = rows
        self.tools = tools
        self.write = write
        self.way = way
        self.slots = Slots(rows, tools.epochs)
        self._after: list[Callable[[], None]] = []
        newest = (
            tools.newest.seq
        )  # before the first look: what is committed meanwhile is later than that look
        odd = {row[0]: bytes(row[1]) for row in rows.find(META, ("name",), [(MANUAL_CLOCK,), (CLOSED,)])}
        manual = odd.get(MANUAL_CLOCK)
        self._now = tools.wall() if manual is None else Micros(int(manual))
        self.closed = CLOSED in odd
        last = self.last_number(_SEQ)
        self.set_back = last < newest
        self._seq = None if write else Seq(last)

    @property
    def now(self) -> Micros:
        """The vault's time when the transaction began."""
        return self._now

    @property
    def seq(self) -> Seq:
        """The vault's sequence number."""
        return self.numbered() if self._seq is None else self._seq

    def numbered(self) -> Seq:
        """Draw the number of a transaction that writes, once it is known that it may.

        What was set back is not moved on, so that the next process sees it, too.
        """
        self._seq = Seq(self.draw_number(_SEQ))
        return self._seq

    def alone(self) -> None:
        """Raise `Conflict` where other writers may be at work: what destroys is done again, alone."""
        if self.way != "alone":
            raise needs_alone()

    def last_number(self, name: str) -> int:
        """Return the last number a counter gave."""
        return self.rows.drawn(name)

    def draw_number(self, name: str) -> int:
        """Return a number this counter never gave before.

        It is at least the wall clock's microseconds, so a vault restored from a backup repeats none.
        """
        (number,) = self.draw_numbers(name, 1)
        return number

    def draw_numbers(self, name: str, n: int) -> list[int]:
        """Return n such numbers, ascending."""
        return self.rows.draw(name, n, self.tools.wall())

    def meta(self, key: str) -> bytes | None:
        """Return an odd value that has no table."""
        found = self.rows.find(META, ("name",), [(key,)])
        return bytes(found[0][1]) if found else None

    def metas_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the odd values of these names that are there."""
        return {name: bytes(value) for name, value in self.rows.find(META, ("name",), [(k,) for k in keys])}

    def metas(self, prefix: str) -> dict[str, bytes]:
        """Return the odd values whose names begin like this."""
        return {name: bytes(value) for name, value in self.rows.scan(META, under(prefix))}

    def put_meta(self, key: str, value: bytes | None) -> None:
        """Replace an odd value; None forgets it."""
        self.put_metas({key: value})

    def put_metas(self, values: Mapping[str, bytes | None]) -> None:
        """Replace odd values; None forgets one."""
        self.alone()
        gone = [(key,) for key, value in values.items() if value is None]
        if gone:
            self.rows.delete(META, ("name",), gone)
        kept = [(key, value) for key, value in values.items() if value is not None]
        if kept:
            self.rows.put(META, kept)

    def secret(self, name: str) -> bytes | None:
        """Return a named secret, made on first use where the transaction writes."""
        known = self.tools.secrets.get(name)
        if known is not None:
            return known
        found = self.rows.find(SECRET, ("name",), [(name,)])
        if found:
            slot = int(found[0][1])
            value = self.slots.read([slot])[slot]
        elif self.write:
            value = new_key(self.tools.draw)
            (slot,) = self.slots.add([value])
            self.rows.put(SECRET, [(name, slot)])
        else:
            return None
        # Only a committed secret may be remembered: a rolled-back one would differ from everybody else's.
        self.after_commit(lambda: self.tools.secrets.__setitem__(name, value))
        return value

    def seal_row(self, table: Table, name: bytes, clear: bytes) -> bytes:
        """Seal what must not lie in clear, bound to its table and row; only the epoch's end forgets it."""
        return seal(self._row_key(table, name), clear, b"", self.tools.draw)

    def unseal_row(self, table: Table, name: bytes, sealed: bytes) -> bytes:
        """Open what `seal_row` sealed."""
        clear = unseal(self._row_key(table, name), sealed, b"")
        assert clear is not None, f"a sealed row of {table.name} does not open"
        return clear

    def _row_key(self, table: Table, name: bytes) -> bytes:
        rest = self.secret("rest")
        assert rest is not None, "the vault was set up with its secrets"
        return hkdf_expand(rest, b"lapse/v1/rest" + table.name.encode() + b"|" + name)

    def after_commit(self, do: Callable[[], None]) -> None:
        """Run something once the transaction is durable."""
        self._after.append(do)

    def flush(self) -> None:
        """Write what is still only in memory; the last step before the commit."""

    def committed(self) -> None:
        """Run what waits for the commit."""
        if self.write and self._seq is not None:
            self.tools.newest.seq = max(self.tools.newest.seq, self._seq)
        for do in self._after:
            do()


def under(prefix: str) -> Where:
    """Conditions for names that begin with a prefix, which an index answers."""
    return [("name", ">=", prefix), ("name", "<", prefix[:-1] + chr(ord(prefix[-1]) + 1))]


def one(rows: list[Row]) -> Row | None:
    """Return the only row, or None."""
    return rows[0] if rows else None
