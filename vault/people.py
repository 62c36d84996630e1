"""People and their identifiers at rest: one sealed row each, whose key is replaced when it must forget.

A subject row read or written in a transaction is kept until the commit, which writes each changed one once.
"""

from collections.abc import Iterable, Mapping

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from schemas.errors import Bug, Conflict, Refused
from schemas.ids import Micros, SubjectNumber
from vault.base import Base, Tools
from vault.columns import used
from vault.keys import hkdf_expand, new_key
from vault.sealing import COMMIT_LABEL, NONCE_BYTES
from vault.store import Rows, Way
from vault.tables import ALIAS, ANCHOR, SUBJECT, SUPERSEDED, SUPPRESSION
from vault.values import AliasRow, SubjectState

_NUMBERS = "subject"
_MOST_DRAWN = 512
"""Numbers drawn at once by a transaction in which many people are new."""


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a subject row seals: who the person is to us, and the identifiers that lead here."""

    state: SubjectState
    aliases: tuple[bytes, ...] = ()


class _Entry(msgspec.Struct):
    """A subject in hand: as stored (`was`, `version`, `slot`, `key`), and as it will be."""

    was: SubjectState | None
    state: SubjectState | None
    aliases: dict[bytes, None]
    version: int = 0
    slot: int | None = None
    key: bytes = b""
    dirty: bool = False
    rotate: bool = False


_decoder = msgspec.msgpack.Decoder(_Stored)


class PeopleRows(Base):
    """`IdentityTx` over rows, and what only endings may call."""

    def __init__(self, rows: Rows, tools: Tools, *, write: bool, way: Way = "alone") -> None:
        super().__init__(rows, tools, write=write, way=way)
        self._entries: dict[SubjectNumber, _Entry] = {}
        self._cipher: Cipher[modes.ECB] | None = None
        self._links: list[tuple[bytes, SubjectNumber, Micros]] = []
        """Identifiers linked in this transaction and not written yet: hash, person, since."""
        self._numbers: list[int] = []
        """Numbers drawn for people to come, the next one last; those that are left are nobody's."""
        self._draws = 1

    def _entries_of(self, numbers: Iterable[SubjectNumber]) -> dict[SubjectNumber, _Entry]:
        wanted = list(dict.fromkeys(numbers))
        new = [n for n in wanted if n not in self._entries]
        if new:
            self._load(new)
        return {n: self._entries[n] for n in wanted if n in self._entries}

    def _load(self, numbers: list[SubjectNumber]) -> None:
        rows = self.rows.find(SUBJECT, ("number",), [(n,) for n in numbers])
        keys = self.slots.read(row[2] for row in rows)
        found = used().opens(
            COMMIT_LABEL,
            [keys.get(slot) for _, _, slot, _ in rows],
            [sealed for _, _, _, sealed in rows],
            [[_aad(number, version) for number, version, _, _ in rows]],
        )
        for (number, version, slot, _), clear in zip(rows, found, strict=True):
            if clear is None:
                raise Refused("wrong_data_folder", "a subject's row does not open", "subject")
            stored = _decoder.decode(clear)
            state = msgspec.structs.replace(stored.state, version=version)
            self._entries[number] = _Entry(
                state, state, dict.fromkeys(stored.aliases), version, slot, keys[slot]
            )

    def subjects(self, numbers: Iterable[SubjectNumber]) -> dict[SubjectNumber, SubjectState]:
        """Read people; never cached beyond the transaction."""
        return {n: e.state for n, e in self._entries_of(numbers).items() if e.state is not None}

    def subject_numbers(self, after: int, limit: int) -> list[SubjectNumber]:
        """Return the numbers of stored people above `after`, ascending."""
        rows = self.rows.scan(SUBJECT, [("number", ">", after)], order=("number",), limit=limit)
        return [SubjectNumber(row[0]) for row in rows]

    def new_subject(self) -> SubjectState:
        """Return a person with a number nobody ever had; stored once it is put."""
        if not self._numbers:
            self._numbers = self.draw_numbers(_NUMBERS, self._draws)[::-1]
            self._draws = min(2 * self._draws, _MOST_DRAWN)
        number = SubjectNumber(self._numbers.pop())
        self._entries[number] = _Entry(None, None, {})
        return SubjectState(number=number)

    def skip_numbers(self) -> None:
        """Pass over numbers a restored backup has forgotten it gave, when a vault is opened.

        Whoever judges beside others takes the next number, which is not held against the clock.
        """
        self.alone()
        self.draw_number(_NUMBERS)

    def put_subjects(self, states: Iterable[SubjectState]) -> None:
        """Write people; `Conflict` where the row is no longer the version that was read."""
        states = list(states)
        if any(state.number not in self._entries for state in states):
            self._entries_of(state.number for state in states)
        for state in states:
            entry = self._entries.get(state.number)
            self._check(state, entry)
            assert entry is not None
            if entry.state is not None and _lost(entry.state, state):
                raise Bug("bug", "a living key would be lost outside an ending", "subject")
            self._set(entry, state)

    def end_keys(self, state: SubjectState) -> None:
        """Write a person who loses keys: the row's key is replaced, so no older copy of it opens."""
        self.alone()
        entry = self._entries_of((state.number,)).get(state.number)
        self._check(state, entry)
        assert entry is not None
        entry.rotate = entry.rotate or (entry.state is not None and _lost(entry.state, state))
        self._set(entry, state)

    def _check(self, state: SubjectState, entry: _Entry | None) -> None:
        if entry is None:
            raise Conflict("conflict", "a subject's row is gone", "subject")
        if entry.version != state.version:
            raise Conflict("conflict", "a subject's row has changed since it was read", "subject")

    def _set(self, entry: _Entry, state: SubjectState) -> None:
        if entry.state is not state and entry.state != state:
            entry.state = state
            entry.dirty = True

    # ---- identifiers ---------------------------------------------------------------------------------------
    def aliases(self, hashes: Iterable[bytes]) -> dict[bytes, tuple[AliasRow, ...]]:
        """Return every row of each identifier, open and closed."""
        self._write_links()
        wanted = [(h,) for h in dict.fromkeys(hashes)]
        found: dict[bytes, list[AliasRow]] = {}
        rows = self.rows.find(ALIAS, ("hash",), wanted)
        for (name, _, since, until), number in zip(rows, self._owners(rows), strict=True):
            row = AliasRow(hash=name, subject=number, since=since, until=until)
            found.setdefault(name, []).append(row)
        for name, since, until in self.rows.find(SUPPRESSION, ("hash",), wanted):
            row = AliasRow(hash=name, subject=None, since=since, until=until)
            found.setdefault(name, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    def put_aliases(self, rows: Iterable[AliasRow]) -> None:
        """Link identifiers to subjects; a link that exists keeps its `since`."""
        rows = list(rows)
        entries = self._entries_of(r.subject for r in rows if r.subject is not None)
        for row in rows:
            entry = None if row.subject is None else entries.get(row.subject)
            if row.subject is None or row.until is not None or entry is None:
                raise Bug("bug", "an identifier is linked to nobody", "alias")
            if row.hash not in entry.aliases:
                entry.aliases[row.hash] = None
                entry.dirty = True
                self._links.append((row.hash, row.subject, row.since))
        if not self.write:
            self._write_links()

    def _write_links(self) -> None:
        """Write the identifiers linked so far: together, because a chunk can have thousands."""
        links, self._links = self._links, []
        if not links:
            return
        # Who found nobody behind an identifier and links it must not miss another who does the same now.
        self.rows.claim(ALIAS.name.encode() + name for name, _, _ in links)
        owners = self._owners_of(links)
        self.rows.put(ALIAS, [(h, o, since, None) for (h, _, since), o in zip(links, owners, strict=True)])

    def aliases_of(self, numbers: Iterable[SubjectNumber]) -> dict[SubjectNumber, tuple[bytes, ...]]:
        """Return the identifiers that lead to each subject, open or kept."""
        return {n: tuple(e.aliases) for n, e in self._entries_of(numbers).items()}

    def close_aliases(self, number: SubjectNumber, until: Micros, *, keep: bool) -> None:
        """Close every link to a subject; without `keep` nothing leads there any more."""
        self.alone()
        self._write_links()
        (entry,) = self._entries_of((number,)).values()
        names = list(entry.aliases)
        owned = list(zip(names, self._owners_of([(name, number, self.now) for name in names]), strict=True))
        rows = self.rows.find(ALIAS, ("hash", "owner"), owned)
        if keep:
            self.rows.put(ALIAS, [(h, o, s, until if u is None else max(u, until)) for h, o, s, u in rows])
            return
        self.rows.delete(ALIAS, ("hash", "owner"), owned)
        entry.dirty = entry.dirty or bool(entry.aliases)
        entry.aliases = {}

    def suppress(self, hashes: Iterable[bytes], until: Micros) -> None:
        """Close identifiers whether or not anybody was ever behind them; never shortens."""
        self.alone()
        wanted = list(dict.fromkeys(hashes))
        known = {row[0]: row for row in self.rows.find(SUPPRESSION, ("hash",), [(h,) for h in wanted])}
        rows = []
        for name in wanted:
            _, since, before = known.get(name, (name, self.now, until))
            rows.append((name, since, max(before, until)))
        self.rows.put(SUPPRESSION, rows)

    def _owners_of(self, links: Iterable[tuple[bytes, SubjectNumber, Micros]]) -> list[bytes]:
        """Encrypt whom identifiers lead to: one block each."""
        blocks = [(number << 64) ^ int.from_bytes(name[:16], "big") for name, number, _ in links]
        out = self._blocks().encryptor().update(b"".join([block.to_bytes(16, "big") for block in blocks]))
        return [out[i : i + 16] for i in range(0, len(out), 16)]

    def _owners(self, rows: Iterable[tuple[bytes, bytes, int, int | None]]) -> list[SubjectNumber]:
        rows = list(rows)
        if not rows:
            return []
        clear = self._blocks().decryptor().update(b"".join(row[1] for row in rows))
        numbers = []
        for i, row in enumerate(rows):
            block = int.from_bytes(clear[i * 16 : i * 16 + 16], "big") ^ int.from_bytes(row[0][:16], "big")
            if block & (2**64 - 1):
                raise Refused("wrong_data_folder", "an identifier's row does not open", "alias")
            numbers.append(SubjectNumber(block >> 64))
        return numbers

    def _blocks(self) -> Cipher[modes.ECB]:
        if self._cipher is None:
            secret = self.secret("rest")
            assert secret is not None, "the vault was set up with its secrets"
            # One block per row, bound to the hash beside it, as handles are: no two clear blocks are equal.
            key = hkdf_expand(secret, b"lapse/v1/alias-owner")
            self._cipher = Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305
        return self._cipher

    # ---- anchors and revisions -----------------------------------------------------------------------------
    def anchors_due(self, now: Micros, limit: int) -> list[tuple[SubjectNumber, str, Micros]]:
        """Return (subject, purpose, due) of anchored purposes that are due, by due date."""
        rows = self.rows.scan(ANCHOR, [("due", "<=", now)], order=("due", "number", "purpose"), limit=limit)
        return [(SubjectNumber(n), purpose, Micros(due)) for n, purpose, due in rows]

    def superseded(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Return the highest revision of record or delivery ids that were rectified."""
        return {row[0]: int(row[1]) for row in self.rows.find(SUPERSEDED, ("id",), [(i,) for i in ids])}

    def supersede(self, revisions: Mapping[bytes, int]) -> None:
        """Record the highest revision of ids; never lowers one."""
        known = self.superseded(revisions)
        self.rows.put(SUPERSEDED, [(i, max(n, known.get(i, n))) for i, n in revisions.items()])

    # ---- the commit ----------------------------------------------------------------------------------------
    def flush(self) -> None:
        """Write the new links, then seal and write the changed subjects, in the order of their numbers."""
        self._write_links()
        changed = [(n, e) for n, e in sorted(self._entries.items()) if e.dirty]
        if not changed:
            return super().flush()
        for _, entry in changed:
            if entry.rotate or entry.slot is None:
                entry.key = new_key(self.tools.draw)
        new = [entry for _, entry in changed if entry.slot is None]
        for entry, slot in zip(new, self.slots.add(e.key for e in new) if new else [], strict=True):
            entry.slot = slot
        self.slots.overwrite({e.slot: e.key for _, e in changed if e.rotate and e.slot is not None})
        clear, bound = [], []
        for number, entry in changed:
            if entry.state is None:
                raise Bug("bug", "an identifier is linked to somebody who was not put", "subject")
            clear.append(msgspec.msgpack.encode(_Stored(entry.state, tuple(entry.aliases))))
            bound.append(_aad(number, entry.version + 1))
            self._anchor(number, entry)
        drawn = [self.tools.draw(NONCE_BYTES) for _ in changed]
        sealed = used().seals(COMMIT_LABEL, [e.key for _, e in changed], drawn, clear, [bound])
        rows = [(n, e.version + 1, e.slot, each) for (n, e), each in zip(changed, sealed, strict=True)]
        self.rows.put(SUBJECT, rows)
        return super().flush()

    def _anchor(self, number: SubjectNumber, entry: _Entry) -> None:
        before = {} if entry.was is None else {p: s.due for p, s in entry.was.purposes.items()}
        after = {} if entry.state is None else {p: s.due for p, s in entry.state.purposes.items()}
        gone = [(number, p) for p, due in before.items() if due is not None and after.get(p) is None]
        if gone:
            self.rows.delete(ANCHOR, ("number", "purpose"), gone)
        new = [(number, p, due) for p, due in after.items() if due is not None and before.get(p) != due]
        if new:
            self.rows.put(ANCHOR, new)


def _lost(was: SubjectState, now: SubjectState) -> bool:
    if was.purposes is now.purposes:
        return False
    return any(s.key is not None and now.purpose(p).key != s.key for p, s in was.purposes.items())


def _aad(number: int, version: int) -> bytes:
    return b"lapse/v1/subject" + number.to_bytes(8, "big") + version.to_bytes(8, "big")
