"""Removing clear bytes from intake as soon as they are not needed, and noticing when something took too many.

What is behind a group's commit is deleted at once (the log start moves), but the bytes stay until their
segment is closed. So ticks, records without a value, follow the data until every segment that held some must
have rolled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from schemas.times import SECOND
from streams import metrics
from streams.faults import CUT, Crash, never
from streams.ports import Outbound, Sink
from streams.stage import TICK, Blocking, Finding, inline

Place = tuple[str, int]
"""Topic and partition."""
Committed = Mapping[str, Mapping[Place, int]]
"""What each group has committed."""


class LogCare(Protocol):
    """What purging needs of the broker's administration; `lapse.broker.admin.Admin` is one."""

    def offsets(self, topics: Iterable[str], *, earliest: bool = False) -> Mapping[Place, int]:
        """Return each partition's next offset, or its log start."""

    def committed(self, groups: Sequence[str]) -> Committed:
        """Return what each group has committed."""

    def delete_records(self, before: Mapping[Place, int]) -> object:
        """Move log starts."""


@dataclass(slots=True)
class Unread:
    """Since when something of a partition is known to wait: what had come by `at` is not read yet."""

    upto: int = 0
    at: int = 0

    def look(self, done: int, end: int, now: int) -> int:
        """Return for how long, at least, the oldest unread record has waited; 0 where none does."""
        if done >= self.upto:
            self.upto, self.at = end, now
        return now - self.at if done < self.upto else 0


@dataclass(slots=True)
class _Seen:
    """What the last pass saw of a partition; times in microseconds."""

    committed: int = 0
    ticks: int = 0
    data_at: int = 0
    ticked_at: int = 0
    unread: Unread = field(default_factory=Unread)


@dataclass(slots=True, kw_only=True)
class Purge:
    """Purges the topics of `groups` (group -> topics); a segment stays open for `segment` microseconds."""

    care: LogCare
    sink: Sink
    groups: Mapping[str, Sequence[str]]
    finding: Finding
    now: Callable[[], int]
    work: Blocking = inline
    segment: int = 600 * SECOND
    tick_every: int = 30 * SECOND
    crash: Crash = never
    _seen: dict[Place, _Seen] = field(default_factory=dict)

    async def run(self) -> int:
        """Do one pass; returns how many offsets were let go."""
        topics = sorted({topic for topics in self.groups.values() for topic in topics})
        committed, starts, ends = await self.work(partial(self._ask, topics))
        before: dict[Place, int] = {}
        ticks: list[Place] = []
        waited = dict.fromkeys(topics, 0)
        for group, names in self.groups.items():
            for place, start in starts.items():
                if place[0] in names:
                    done = committed.get(group, {}).get(place, start if start == ends[place] else 0)
                    self._look(place, start, done, before, ticks)
                    unread = self._seen[place].unread.look(done, ends[place], self.now())
                    waited[place[0]] = max(waited[place[0]], unread)
        for topic, waits in waited.items():
            metrics.UNREAD.labels(topic).set(waits / SECOND)
        if before:
            await self.work(partial(self.care.delete_records, before))
            self.crash(CUT)
        await self._tick(ticks)
        return sum(offset - starts[place] for place, offset in before.items())

    def _ask(self, topics: Sequence[str]) -> tuple[Committed, Mapping[Place, int], Mapping[Place, int]]:
        """What was committed is read first: then the log start cannot have passed it since."""
        committed = self.care.committed(tuple(self.groups))
        return committed, self.care.offsets(topics, earliest=True), self.care.offsets(topics)

    def _look(
        self, place: Place, start: int, done: int, before: dict[Place, int], ticks: list[Place]
    ) -> None:
        seen = self._seen.setdefault(place, _Seen(committed=start, data_at=self.now()))
        if start > done:
            self.finding("intake was lost before it was read", f"{place[0]}/{place[1]}", start - done)
        if done > start:
            before[place] = done
        if done - seen.committed > seen.ticks:
            seen.data_at = self.now()
        if done > seen.committed:
            seen.committed, seen.ticks = done, 0
        dirty = self.now() - seen.data_at <= self.segment + 2 * self.tick_every
        if dirty and self.now() - seen.ticked_at >= self.tick_every:
            ticks.append(place)

    async def _tick(self, places: Sequence[Place]) -> None:
        if not places:
            return
        await self.sink.send([Outbound(topic, part, None, None, [(TICK, b"1")]) for topic, part in places])
        for place in places:
            self._seen[place].ticked_at = self.now()
            self._seen[place].ticks += 1
