"""Buckets at rest: a row per (purpose, period, terms), its key while it lives, its tally, and the told."""

from collections.abc import Iterable, Mapping

from schemas.errors import Bug
from schemas.ids import Micros, Period, SubjectNumber, Terms
from vault.base import Base, under
from vault.handles import packed
from vault.keys import INFO_BUCKET, hkdf_expand, new_key
from vault.store import Op, Row
from vault.tables import ANCHOR, BUCKET, META, TALLY, TOLD_BUCKET, TOLD_SUBJECT
from vault.values import BucketId, BucketRow, BucketState, BucketWanted

_ID = ("purpose", "period", "terms")
_SLOT = BUCKET.at("slot")


def bucket_key(kept: bytes, bucket: BucketId) -> bytes:
    """Derive a bucket's key from what its slot keeps; bound to the bucket, so slots cannot be swapped."""
    place = bucket.period.to_bytes(8, "big", signed=True) + bucket.terms.to_bytes(4, "big")
    return hkdf_expand(kept, INFO_BUCKET + packed(bucket.purpose) + place)


class BucketRows(Base):
    """`BucketTx` over rows, and what only endings may call."""

    def buckets(self, ids: Iterable[BucketId]) -> dict[BucketId, BucketRow]:
        """Read bucket rows."""
        return {row.id: row for row in self._with_tally(self.rows.find(BUCKET, _ID, ids))}

    def ensure_buckets(self, wanted: Iterable[BucketWanted]) -> dict[BucketId, BucketRow]:
        """Create what is absent and not due yet, with its key."""
        asked = {w.id: w for w in wanted}
        found = self.buckets(asked)
        new = [w for w in asked.values() if w.id not in found and w.due > self.now]
        if new:
            slots = self.slots.add(new_key(self.tools.draw) for _ in new)
            self.rows.put(
                BUCKET,
                [
                    (*w.id, w.due, w.cap, "open", self.now, None, None, None, None, slot)
                    for w, slot in zip(new, slots, strict=True)
                ],
            )
        for w in new:
            found[w.id] = BucketRow(id=w.id, due=w.due, cap=w.cap, first_seen=self.now, last_seen=self.now)
        return found

    def bucket_keys(self, ids: Iterable[BucketId]) -> dict[BucketId, bytes]:
        """Return the key bytes of buckets that are usable now."""
        rows = self.rows.find(BUCKET, _ID, ids)
        return self._keys([row for row in rows if _row(row, None).usable(self.now)])

    def living_keys(self, purposes: Iterable[str]) -> dict[BucketId, bytes]:
        """Return the keys of every bucket of these purposes that has one, hidden and overdue ones too."""
        rows = [
            row
            for purpose in purposes
            for row in self.rows.scan(BUCKET, [("purpose", "=", purpose), ("slot", "set", None)])
        ]
        return self._keys(rows)

    def _keys(self, rows: list[Row]) -> dict[BucketId, bytes]:
        kept = self.slots.read(row[_SLOT] for row in rows if row[_SLOT] is not None)
        ids = {row[_SLOT]: _id(row) for row in rows}
        return {ids[slot]: bucket_key(key, ids[slot]) for slot, key in kept.items()}

    def all_buckets(self, *, purpose: str | None = None, state: BucketState | None = None) -> list[BucketRow]:
        """Return bucket rows by due date."""
        asked = {"purpose": purpose, "state": state}
        where: list[tuple[str, Op, object]] = [(c, "=", v) for c, v in asked.items() if v is not None]
        return self._with_tally(self.rows.scan(BUCKET, where, order=("due", *_ID)))

    def due_buckets(self, now: Micros, limit: int) -> list[BucketRow]:
        """Return open buckets that are due, by due date."""
        where: list[tuple[str, Op, object]] = [("state", "=", "open"), ("due", "<=", now)]
        return self._with_tally(self.rows.scan(BUCKET, where, order=("due", *_ID), limit=limit))

    def next_due(self, after: Micros) -> Micros | None:
        """Return the first instant later than `after` at which a bucket or an anchored purpose is due."""
        rows = self.rows.scan(BUCKET, [("state", "=", "open"), ("due", ">", after)], order=("due",), limit=1)
        dues = [row[BUCKET.at("due")] for row in rows]
        anchors = self.rows.scan(ANCHOR, [("due", ">", after)], order=("due",), limit=1)
        dues += [row[ANCHOR.at("due")] for row in anchors]
        return Micros(min(dues)) if dues else None

    def add_tally(self, counts: Mapping[BucketId, int]) -> None:
        """Count accepted records into their buckets, also into ended ones."""
        self.rows.add(TALLY, [(*b, n, self.now) for b, n in counts.items()], ("n",))

    def add_leaves(self, blobs: Mapping[BucketId, bytes]) -> None:
        """Keep a blob of this transaction's beside each bucket's tally."""
        self.rows.put(META, [(_leaves(bucket) + str(self.seq), blob) for bucket, blob in blobs.items()])

    def leaves(self, bucket: BucketId) -> dict[str, bytes]:
        """Return every blob kept beside a bucket's tally, by name."""
        return {name: bytes(blob) for name, blob in self.rows.scan(META, under(_leaves(bucket)))}

    def count_leaves(self, bucket: BucketId) -> int:
        """Return how many blobs are kept beside a bucket's tally, without reading them."""
        return self.rows.count(META, under(_leaves(bucket)))

    def drop_leaves(self, bucket: BucketId, names: Iterable[str] | None = None) -> None:
        """Forget the blobs of these names, or all that are kept beside a bucket's tally."""
        self.alone()
        if names is not None:
            self.rows.delete(META, ("name",), [(name,) for name in names])
            return
        self.rows.delete_where(META, under(_leaves(bucket)))
        # A count, in vaults of the first version.
        self.rows.delete(META, ("name",), [(_leaves(bucket)[:-1],)])

    def shorten_bucket(self, bucket: BucketId, due: Micros) -> None:
        """Bring a due date forward; `Bug` if it would be later."""
        self.alone()
        row = self._get(bucket)
        at = BUCKET.at("due")
        if due > row[at]:
            raise Bug("bug", "a due date never moves later", "bucket")
        self.rows.put(BUCKET, [(*row[:at], due, *row[at + 1 :])])

    def hide_bucket(self, bucket: BucketId, reason: str) -> None:
        """Stop every use of an open bucket at once and keep its key."""
        row = self._get(bucket)
        if row[BUCKET.at("state")] == "open":
            self._change(row, state="hidden", hidden_at=self.now, reason=reason)

    def end_bucket_keys(self, reasons: Mapping[BucketId, str]) -> None:
        """Destroy living buckets' keys; their rows are hidden until the bytes are gone."""
        self.alone()
        rows = self.rows.find(BUCKET, _ID, reasons)
        assert len(rows) == len(reasons), "the buckets are there"
        assert all(row[_SLOT] is not None for row in rows), "the buckets have keys"
        self.slots.destroy(row[_SLOT] for row in rows)
        at = BUCKET.at("hidden_at")
        self.rows.put(
            BUCKET,
            [
                _changed(
                    row,
                    state="hidden",
                    hidden_at=self.now if row[at] is None else row[at],
                    ended_at=self.now,
                    reason=reasons[_id(row)],
                    slot=None,
                )
                for row in rows
            ],
        )

    def mark_destroyed(self, ids: Iterable[BucketId]) -> None:
        """Record that the bytes of these buckets' keys are gone from every file."""
        self.alone()
        rows = self.rows.find(BUCKET, _ID, ids)
        ended = [row for row in rows if row[_SLOT] is None and row[BUCKET.at("state")] == "hidden"]
        self.rows.put(BUCKET, [_changed(row, state="destroyed", destroyed_at=self.now) for row in ended])

    def _get(self, bucket: BucketId) -> Row:
        found = self.rows.find(BUCKET, _ID, [bucket])
        if not found:
            raise Bug("bug", "no such bucket", "bucket")
        return found[0]

    def _change(self, row: Row, **columns: object) -> None:
        self.alone()
        self.rows.put(BUCKET, [_changed(row, **columns)])

    def _with_tally(self, rows: list[Row]) -> list[BucketRow]:
        tallies = {_id(row): row for row in self.rows.find(TALLY, _ID, map(_id, rows))}
        return [_row(row, tallies.get(_id(row))) for row in rows]

    # ---- who must be told ----------------------------------------------------------------------------------
    def untell_buckets(self, ids: Iterable[BucketId]) -> None:
        """Forget who was to be told of buckets: their messages are owed now."""
        self.rows.delete(TOLD_BUCKET, _ID, ids)

    def untell_subject(self, number: SubjectNumber) -> None:
        """Forget who was to be told of a person who holds nothing any more."""
        self.rows.delete(TOLD_SUBJECT, ("number",), [(number,)])

    def tell_buckets(self, pairs: Iterable[tuple[BucketId, str]]) -> None:
        """Record that a processor must be told when this bucket ends."""
        self.rows.put(TOLD_BUCKET, [(*bucket, processor) for bucket, processor in pairs])

    def tell_subjects(self, pairs: Iterable[tuple[SubjectNumber, str]]) -> None:
        """Record that a processor must be told when this person's keys end."""
        self.rows.put(TOLD_SUBJECT, pairs)

    def told_of_bucket(self, bucket: BucketId) -> tuple[str, ...]:
        """Return the processors to tell of a bucket's end."""
        return self.told_of_buckets([bucket])[bucket]

    def told_of_buckets(self, ids: Iterable[BucketId]) -> dict[BucketId, tuple[str, ...]]:
        """Return the processors to tell of each bucket's end."""
        found: dict[BucketId, list[str]] = {bucket: [] for bucket in ids}
        for row in self.rows.find(TOLD_BUCKET, _ID, found):
            found[_id(row)].append(row[3])
        return {bucket: tuple(sorted(names)) for bucket, names in found.items()}

    def told_of_subject(self, number: SubjectNumber) -> tuple[str, ...]:
        """Return the processors to tell of a person's endings."""
        return tuple(sorted(row[1] for row in self.rows.find(TOLD_SUBJECT, ("number",), [(number,)])))


def _leaves(bucket: BucketId) -> str:
    return f"leaves/{bucket.purpose}/{bucket.period}/{bucket.terms}/"


def _changed(row: Row, **columns: object) -> Row:
    """A bucket's row with other values in these columns."""
    return tuple(columns.get(c.name, cell) for c, cell in zip(BUCKET.columns, row, strict=True))


def _id(row: Row) -> BucketId:
    return BucketId(row[0], Period(row[1]), Terms(row[2]))


def _row(row: Row, tally: Row | None) -> BucketRow:
    _, _, _, due, cap, state, first, hidden_at, ended_at, destroyed_at, reason, _ = row
    return BucketRow(
        id=_id(row),
        due=due,
        cap=cap,
        state=state,
        tally=0 if tally is None else tally[3],
        first_seen=first,
        last_seen=first if tally is None else tally[4],
        hidden_at=hidden_at,
        ended_at=ended_at,
        destroyed_at=destroyed_at,
        reason=reason,
    )
