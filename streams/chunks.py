"""The chunk protocol every stage follows: commit 1 -> produce -> acknowledged -> commit 2 -> Kafka commit.

Both commits are fenced by the vault's `progress` of the topic id and partition, so a zombie's chunk has no
effect. A stage that plans writes what it has judged in commit 1; a redelivery repeats the plan, so it never
changes an outcome. (Checked by `docs/model/m1_tag.py` and `m2_route.py`.)

Chunks of several partitions share their commits and their acknowledgement, because waiting for the disk and
the broker costs the same for one as for all. They share them only while nothing is special about any: what is
fenced, planned before, overtaken or broken is done by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

import msgspec

from schemas.errors import BadInput, Bug
from streams import metrics
from streams.faults import Crash, never
from streams.ports import Chunk, Done, Outcome, Seek, Sheaf
from streams.stage import Blocking, Finding, Given, Part, Stage, T, Work, inline
from vault.port import Tx, Vault

POISON = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, BadInput, Bug)
"""What a bug of ours raises on one record: the chunk is halved until the record stands alone."""


class Fenced(NamedTuple):
    """Another worker has moved the partition on to `offset`."""

    offset: int


@dataclass(slots=True, kw_only=True)
class _Commit1(Generic[Work]):
    """What commit 1 made of the parts it was given, each by its place among them.

    `done` says of those that are over how they ended; `parts` were judged, as cut by the vault, all in one
    work; whoever is in neither was planned before and waits for a turn of its own.
    """

    done: dict[int, int | Fenced] = field(default_factory=dict)
    parts: dict[int, Part] = field(default_factory=dict)
    work: Work | None = None


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
        self._offenders = 0
        self._plan_type = None if stage.entry is None else _plan_of(stage.entry)

    async def __call__(self, chunk: Chunk) -> Outcome:
        """Do one chunk; `Seek` where the vault says that this worker is not where the partition is."""
        return (await self.together([chunk]))[0]

    async def together(self, sheaf: Sheaf) -> list[Outcome]:
        """Do chunks of different partitions, in as few commits as they allow; the outcome of each."""
        with metrics.CHUNK_SECONDS.labels(self.__name__).time():
            parts = [Part(c.topic, c.topic_id.hex(), c.partition, c.records, c.position) for c in sheaf]
            begun, offenders = await self._begun(parts), self._offenders
            outcomes = [await self._rest(part, (begun or {}).get(at)) for at, part in enumerate(parts)]
            if begun is None and self._offenders == offenders:
                self._finding("chunks break together and not alone", parts[0].place)
        fenced = sum(isinstance(outcome, Seek) for outcome in outcomes)
        metrics.FENCED.labels(self.__name__).inc(fenced)
        metrics.CHUNKS.labels(self.__name__).inc(len(outcomes) - fenced)
        return outcomes

    async def _begun(self, parts: Sequence[Part]) -> dict[int, int | Fenced] | None:
        """Do what goes together: how far each part is, by its place; those not there are yet to be done.

        None where they break the stage: which record does shows when each part is done by itself.
        """
        if len(parts) < 2:
            return {}
        try:
            first = await self._produced(parts, frozenset())
        except POISON:
            return None
        return await self._finished(first)

    async def _rest(self, rest: Part, done: int | Fenced | None) -> Outcome:
        """Do what is left of one chunk, part by part."""
        while True:
            if isinstance(done, Fenced):
                if rest.next > done.offset:
                    return Seek(done.offset)
                await self._stage.done_before()
                return Done()
            if done is not None:
                rest = rest._replace(records=[r for r in rest.records if r.offset >= done], position=done)
            if not rest.records:
                return Done()
            done = await self._part(rest._replace(records=rest.records[: self._most]), frozenset())

    async def _part(self, part: Part, spoilt: frozenset[int]) -> int | Fenced:
        """Do the first part of what is left: the offset done up to, or where the partition really is."""
        try:
            first = await self._produced([part], spoilt)
        except POISON:
            return await self._bisect(part, spoilt)
        return (await self._finished(first))[0]

    async def _produced(self, parts: Sequence[Part], spoilt: frozenset[int]) -> _Commit1[Work]:
        """Commit 1, and what it decided on the log."""
        self._at("read")
        first = await self._work(lambda: self._commit1(parts, self._stage.read(parts, spoilt)))
        if first.work is not None:
            self._at("committed")
            if not self._stage.silent:
                await self._stage.produce(next(iter(first.parts.values())), first.work)
            self._at("produced")
        return first

    async def _finished(self, first: _Commit1[Work]) -> dict[int, int | Fenced]:
        """Commit 2 of what was produced, and what must be on the log before it is acknowledged."""
        if first.work is None:
            return first.done
        done = first.done if self._stage.silent else await self._work(lambda: self._commit2(first))
        self._at("settled")
        if all(isinstance(done.get(at), int) for at in first.parts):
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
        self._offenders += 1
        self._finding("bug", part.place)
        return await self._part(part, spoilt | {part.start})

    def _in_vault(self, do: Callable[[Tx], T], *, counts: bool = False) -> T:
        if not self._alone:
            return self._vault.beside(do, counts=counts)
        with self._vault.transaction() as tx:
            return do(tx)

    def _commit1(self, parts: Sequence[Part], read: Sequence[Any]) -> _Commit1[Work]:
        return self._in_vault(lambda tx: self._judged(tx, parts, read))

    def _judged(self, tx: Tx, parts: Sequence[Part], read: Sequence[Any]) -> _Commit1[Work]:
        first, planned = _Commit1[Work](), None
        for at, part in enumerate(parts):
            fenced = self._fence(tx, part)
            if isinstance(fenced, Fenced):
                first.done[at] = fenced
                continue
            cut, found = self._planned(tx, fenced)
            if found is None or len(parts) == 1:
                first.parts[at], planned = cut, found
        if first.parts:
            given = [Given(part, read[at]) for at, part in first.parts.items()]
            first.work = self._stage.judge(tx, given, planned)
            if self._plan_type and planned is None:
                self._keep_plans(tx, first.parts.values(), first.work.planned)
            if self._stage.silent:
                first.done = self._settled(tx, first)
        return first

    def _keep_plans(self, tx: Tx, parts: Iterable[Part], plans: Sequence[Mapping[int, Any]]) -> None:
        for part, plan in zip(parts, plans, strict=True):
            tx.put_plan(part.log, part.partition, msgspec.msgpack.encode((part.next, plan)))

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

    def _commit2(self, first: _Commit1[Work]) -> dict[int, int | Fenced]:
        return self._in_vault(lambda tx: self._settled(tx, first), counts=True)

    def _settled(self, tx: Tx, first: _Commit1[Work]) -> dict[int, int | Fenced]:
        """Count, and move on; if one was overtaken nothing is counted, and the rest repeats its plans."""
        assert first.work is not None, "only what was judged is settled"
        overtaken = {
            at: Fenced(progress)
            for at, part in first.parts.items()
            if (progress := tx.progress(part.log, part.partition) or 0) > part.start
        }
        if overtaken:
            return first.done | overtaken
        self._stage.settle(tx, first.work)
        for part in first.parts.values():
            self._keep_rest_of_plan(tx, part)
            tx.set_progress(part.log, part.partition, part.next)
        return first.done | {at: part.next for at, part in first.parts.items()}

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
