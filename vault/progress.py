"""The fence and the plan of each partition, and what was seen (model m1)."""

from collections.abc import Iterable, Mapping
from struct import Struct

from schemas.ids import Micros, RecordId
from schemas.times import DAY
from vault.base import Base, Tools, one
from vault.columns import used
from vault.keys import Keyed, keyed
from vault.store import Rows, Way
from vault.tables import PLAN, PROGRESS, SEEN

DIGEST_BYTES = 16
"""Bytes of a content digest."""
_PLACE = ("topic_id", "part")


def content_digest(seen_key: bytes, content: bytes) -> bytes:
    """Return the keyed digest by which a second content under one id is recognised."""
    return content_digests(seen_key).digest(content)[:DIGEST_BYTES]


def content_digests(seen_key: bytes) -> Keyed:
    """Return what makes content digests, to be cut to their length."""
    return keyed(seen_key, b"lapse/v1/seen-content")


class ProgressRows(Base):
    """`ProgressTx` over rows."""

    def __init__(self, rows: Rows, tools: Tools, *, write: bool, way: Way = "alone") -> None:
        super().__init__(rows, tools, write=write, way=way)
        self._seen: dict[RecordId, tuple[int, bytes]] = {}

    def progress(self, topic_id: str, partition: int) -> int | None:
        """Return the next offset to be done, None where nothing was ever done."""
        if self.write:
            # Whoever else works on this partition now, a zombie for one, waits or does its chunk again.
            self.rows.claim([f"{PROGRESS.name}/{topic_id}/{partition}".encode()])
        found = one(self.rows.find(PROGRESS, _PLACE, [(topic_id, partition)]))
        return None if found is None else int(found[2])

    def set_progress(self, topic_id: str, partition: int, next_offset: int) -> None:
        """Fence: everything below `next_offset` is done."""
        self.rows.put(PROGRESS, [(topic_id, partition, next_offset)])

    def plan(self, topic_id: str, partition: int) -> bytes | None:
        """Return the plan of the chunk in hand."""
        found = one(self.rows.find(PLAN, _PLACE, [(topic_id, partition)]))
        return None if found is None else bytes(found[2])

    def put_plan(self, topic_id: str, partition: int, plan: bytes) -> None:
        """Keep the plan of the chunk in hand."""
        self.rows.put(PLAN, [(topic_id, partition, plan)])

    def drop_plan(self, topic_id: str, partition: int) -> None:
        """Forget the plan: its chunk is counted."""
        self.rows.delete(PLAN, _PLACE, [(topic_id, partition)])

    def seen(self, record_ids: Iterable[RecordId]) -> dict[RecordId, bytes]:
        """Return the content digest of each record id already accepted."""
        names = self._seen_names(record_ids)
        kept = {row[0]: row[2] for row in self.rows.find(SEEN, ("id",), [(n,) for n, _ in names.values()])}
        # Eight bytes make a narrow key; eight more tell two records apart that share them.
        return {
            record: kept[n][8:] for record, (n, check) in names.items() if n in kept and kept[n][:8] == check
        }

    def put_seen(self, digests: Mapping[RecordId, bytes], *, longer: int = 0) -> None:
        """Remember what was accepted, under today; `longer` microseconds more than everything else."""
        day = (self.now + longer) // DAY
        assert all(len(digest) == DIGEST_BYTES for digest in digests.values()), "a content digest is 16 bytes"
        names = self._seen_names(digests)
        rows = [(n, day, check + digests[record]) for record, (n, check) in names.items()]
        self.rows.put(SEEN, rows)

    def prune_seen(self, before: Micros) -> int:
        """Forget what was seen before that day; returns how many."""
        return self.rows.delete_where(SEEN, [("day", "<", before // DAY)])

    def _seen_names(self, records: Iterable[RecordId]) -> dict[RecordId, tuple[int, bytes]]:
        """The narrow key of each of these records, and what tells those apart that share one."""
        records = list(records)
        new = [record for record in records if record not in self._seen]
        if new:
            key = self.secret("seen")
            assert key is not None, "the vault was set up with its secrets"
            for record, name in zip(new, used().macs(key, [_SEEN, new]), strict=True):
                self._seen[record] = _NAME.unpack_from(name)
        return {record: self._seen[record] for record in records}


_SEEN = b"lapse/v1/seen"
_NAME = Struct(">q8s")
