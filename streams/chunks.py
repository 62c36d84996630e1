"""The chunk protocol every stage follows: commit 1 -> produce -> acknowledged -> commit 2 -> Kafka commit.

Both commits are fenced by the vault's `progress` of the topic id and partition, so a zombie's chunk has no
effect. A stage that plans writes what it has judged in commit 1; a redelivery repeats the plan, so it never
changes an outcome. (Checked by `docs/model/m1_tag.py` and `m2_route.py`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

import msgspec

from schemas.errors import BadInput, Bug
from streams import metrics
from streams.faults import Crash, never
from streams.ports import Chunk, Done, Outcome, Seek
from streams.stage import Blocking, Finding, Part, Stage, T, Work, inline
from vault.port import Tx, Vault

POISON = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, BadInput, Bug)
"""What a bug of ours raises on one record: the chunk is halved until the record stands alone."""


class Fenced(NamedTuple):
    """Another worker has moved the partition on to `offset`."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit1(Generic[Work]):
    part: Part
    work: Work


class Chunks(Generic[Work]):
    """Runs one stage over chunks, part by part; one instance per source."""

    def __init__(
        self,
        vault: Vault,
        stage: Stage[Work],
        *,
        name: str,
        finding: Finding,
        spend: Callable[[], None],
        work: Blocking = inline,
        most: int = 1_000_000,
        alone: bool = False,
        crash: Crash = never,
    ) -> None:
        """`most` records are judged in one transaction: 1 where each may need what the one before owes.

        A stage that destroys or orders as a rule goes `alone` at once, without an attempt beside others.
        """
        self.__name__ = name
        self._vault = vault
        self._stage = stage
        self._finding = finding
        self._spend = spend
        self._work = work
        self._most = most
        self._alone = alone
        self._crash = crash
        self._plan_type = None if stage.entry is None else _plan_of(stage.entry)

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Do one chunk; `Seek` where the vault says that this worker is not where the partition is."""
        with metrics.CHUNK_SECONDS.labels(self.__name__).time():
            outcome = await self._chunk(chunk)
        if isinstance(outcome, Seek):
            metrics.FENCED.labels(self.__name__).inc()
        else:
            metrics.CHUNKS.labels(self.__name__).inc()
        return outcome

    async def _chunk(self, chunk: Chunk) -> Outcome:
        rest = Part(chunk.topic, chunk.topic_id.hex(), chunk.partition, chunk.records, chunk.position)
        while rest.records:
            done = await self._part(rest._replace(records=rest.records[: self._most]), frozenset())
            if isinstance(done, Fenced):
                if rest.next > done.offset:
                    return Seek(done.offset)
                await self._stage.done_before()
                return Done()
            rest = rest._replace(records=[r for r in rest.records if r.offset >= done], position=done)
        return Done()

    async def _part(self, part: Part, spoilt: frozenset[int]) -> int | Fenced:
        """Do the first part of what is left: the offset done up to, or where the partition really is."""
        try:
            self._at("read")
            first = await self._work(lambda: self._commit1(part, self._stage.read(part, spoilt)))
            if isinstance(first, Fenced):
                return first
            self._at("committed")
            await self._stage.produce(first.part, first.work)
            self._at("produced")
        except POISON:
            return await self._bisect(part, spoilt)
        done = await self._work(lambda: self._commit2(first))
        self._at("settled")
        if not isinstance(done, Fenced):
            await self._stage.settled(first.work)
            self._at("told")
        return done

    def _at(self, step: str) -> None:
        """Die here, if a test asked for it."""
        self._crash(f"{self.__name__}.{step}")

    async def _bisect(self, part: Part, spoilt: frozenset[int]) -> int | Fenced:
        """Halve until one record stands alone; judged as spoilt, it stops the worker if it fails again."""
        if len(part.records) > 1:
            return await self._part(part.halves()[0], spoilt)
        if part.start in spoilt:
            raise Bug("bug", "a record breaks the stage even when set aside", part.place, "mend the stage")
        self._spend()
        self._finding("bug", part.place)
        return await self._part(part, spoilt | {part.start})

    def _in_vault(self, do: Callable[[Tx], T], *, counts: bool = False) -> T:
        if not self._alone:
            return self._vault.beside(do, counts=counts)
        with self._vault.transaction() as tx:
            return do(tx)

    def _commit1(self, part: Part, read: Any) -> _Commit1[Work] | Fenced:
        return self._in_vault(lambda tx: self._judged(tx, part, read))

    def _judged(self, tx: Tx, part: Part, read: Any) -> _Commit1[Work] | Fenced:
        fenced = self._fence(tx, part)
        if isinstance(fenced, Fenced):
            return fenced
        part, planned = self._planned(tx, fenced)
        work = self._stage.judge(tx, part, read, planned)
        if self._plan_type and planned is None:
            plan = msgspec.msgpack.encode((part.next, work.plan))
            tx.put_plan(part.log, part.partition, plan)
        return _Commit1(part=part, work=work)

    def _fence(self, tx: Tx, part: Part) -> Part | Fenced:
        """Skip the prefix that is done; accept a gap only where the log itself has one, as a finding."""
        progress = tx.progress(part.log, part.partition) or 0
        if part.next <= progress:
            return Fenced(progress)
        if part.start > progress:
            if part.position is None or part.position > progress:
                return Fenced(progress)
            self._finding("offsets missing from the log", part.place, part.start - progress)
            tx.set_progress(part.log, part.partition, part.start)
        return part._replace(records=[r for r in part.records if r.offset >= progress])

    def _planned(self, tx: Tx, part: Part) -> tuple[Part, Mapping[int, Any] | None]:
        """Cut the part to the plan that an earlier attempt left, if there is one."""
        found = self._stored_plan(tx, part)
        if found is None:
            return part, None
        end, entries = found
        if end <= part.start:  # the log lost what was planned
            tx.drop_plan(part.log, part.partition)
            return part, None
        return part._replace(records=[r for r in part.records if r.offset < end]), self._entries(entries)

    def _stored_plan(self, tx: Tx, part: Part) -> tuple[int, msgspec.Raw] | None:
        """The offset after what is planned, and the entries as they are stored."""
        blob = tx.plan(part.log, part.partition) if self._plan_type else None
        return None if blob is None else _plan.decode(blob)

    def _entries(self, stored: msgspec.Raw) -> dict[int, Any]:
        found: dict[int, Any] = msgspec.msgpack.decode(stored, type=self._plan_type)
        return found

    def _commit2(self, first: _Commit1[Work]) -> int | Fenced:
        return self._in_vault(lambda tx: self._settled(tx, first), counts=True)

    def _settled(self, tx: Tx, first: _Commit1[Work]) -> int | Fenced:
        part = first.part
        progress = tx.progress(part.log, part.partition) or 0
        if progress > part.start:
            return Fenced(progress)
        self._stage.settle(tx, first.work)
        self._keep_rest_of_plan(tx, part)
        tx.set_progress(part.log, part.partition, part.next)
        return part.next

    def _keep_rest_of_plan(self, tx: Tx, part: Part) -> None:
        found = self._stored_plan(tx, part)
        if found is None:
            return
        end, entries = found
        if end <= part.next:
            tx.drop_plan(part.log, part.partition)
            return
        planned = self._entries(entries)
        rest = {offset: entry for offset, entry in planned.items() if offset >= part.next}
        tx.put_plan(part.log, part.partition, msgspec.msgpack.encode((end, rest)))


_plan = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
"""Reads a stored plan; its entries are decoded only where an earlier attempt left one."""


def _plan_of(entry: Any) -> Any:
    """Type of a stored plan's entries, by offset."""
    return dict[int, entry]
