"""Where one situation is played: as many runs as it needs, each with everything new, each from a seed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from processors.conformance.bench import Bench, bench
from processors.conformance.party import Party, Refusal
from processors.conformance.tap import Act, Rule, Seen
from processors.conformance.trace import Trace

_T = TypeVar("_T")


@dataclass(slots=True)
class Stage:
    """One situation with one party; `most` bounds how many of many variants are played, drawn by the seed."""

    party: Party
    seed: str
    most: int = 16
    trace: Trace = field(default_factory=Trace)
    runs: int = 0

    @asynccontextmanager
    async def run(self, about: str = "") -> AsyncIterator[Bench]:
        """Play one run; the trace begins anew, so that what is left of it is the run that failed."""
        self.trace, self.runs = Trace(), self.runs + 1
        if about:
            self.trace.say(f"({about})")
        async with bench(self.party, f"{self.seed}/{self.runs}", self.trace) as made:
            yield made

    def some(self, variants: Sequence[_T]) -> list[_T]:
        """Return all variants, or as many as are to be played, in their order."""
        if len(variants) <= self.most:
            return list(variants)
        drawn = random.Random(self.seed).sample(range(len(variants)), self.most)  # noqa: S311  # repeatable on purpose
        return [variants[n] for n in sorted(drawn)]

    async def requests(self, script: Callable[[Bench], Awaitable[None]]) -> int:
        """Return how many requests a script makes when nothing goes wrong, which is played and judged."""
        async with self.run("nothing goes wrong") as played:
            await script(played)
            await played.finish()
            return len(played.tap.seen)


def at(number: int, act: Act, *, times: int = 1) -> Rule:
    """Return a rule that strikes at the request of this number and as many after it."""
    return lambda seen: act if number <= seen.number < number + times else None


def always(act: Act) -> Rule:
    """Return a rule that strikes always."""
    return lambda _: act


def refuse(refusal: Refusal) -> Act:
    """Answer so instead of doing the work."""
    return Act(what="refuse", refusal=refusal)


def down(_: Seen | None = None) -> Act:
    """Answer 503 instead of doing the work."""
    return refuse(Refusal(status=503, body=b"not now", content_type="text/plain"))


Case = Callable[[Stage], Awaitable[None]]
"""Plays a situation; `Broken` where its promise does not hold, `NotApplicable` where it cannot come up."""


async def usual(played: Bench) -> None:
    """The script most situations disturb: two deliveries, the end of one purpose, an erasure."""
    first, *_ = played.fields
    one = played.give("d1", {name: ("mail",) if name == first else ("stats",) for name in played.fields})
    await played.deliver(one)
    await played.settle()
    await played.judge()
    await played.deliver(played.give("d2", {first: ("mail",)}))
    await played.settle()
    await played.judge()
    await played.lapse(played.ends("stats"))
    await played.settle()
    await played.judge()
    await played.lapse(played.ends("mail", cause="erasure"))
