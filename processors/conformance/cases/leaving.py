"""What leaves, towards the vendor and towards our own logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, generate_latest

from processors import metrics
from processors.conformance.bench import Bench
from processors.conformance.cases.failing import BUSY, CUT, LOSE, PAGE
from processors.conformance.people import digest
from processors.conformance.stage import Stage, down, refuse, usual
from processors.conformance.tap import Act, Seen
from processors.conformance.values import Broken
from schemas.codec import encode
from schemas.errors import LapseError


async def only_granted(stage: Stage) -> None:
    """Nothing outside the grant leaves: no closed or unmapped value, no handle, no other name of theirs."""
    async with stage.run() as played:
        for person in ("ann", "ben"):
            name = f"the name another recipient knows {person} by"
            played.leaving.secret[name] = digest(played.seed, "elsewhere", person)[:16]
        closed = played.give("closed", played.all_for("care"))
        await played.lapse(played.ends("care"))
        first, *rest = played.fields
        hidden = {"salary": ("mail",)} if stage.party.unmapped else {}
        one = played.give("d1", {first: ("mail",), **dict.fromkeys(rest, ("stats",)), **hidden})
        await played.deliver(one, closed, played.give("d1", played.all_for("mail"), person="ben"))
        await played.settle()
        await played.judge()
        await played.lapse(played.ends("stats"))
        await played.deliver(played.give("d2", {first: ("mail",), **hidden}))
        await played.settle()
        await played.lapse(played.ends("mail", cause="erasure"))
        await played.finish()


class _Kept(logging.Handler):
    """Keeps every line with all that was said beside it."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.texts: list[str] = []
        self._format = logging.Formatter("%(name)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(f"{self._format.format(record)} {record.__dict__}")


@contextmanager
def _listening() -> Iterator[_Kept]:
    kept, root = _Kept(), logging.getLogger()
    before = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    try:
        yield kept
    finally:
        root.removeHandler(kept)
        root.setLevel(before)


async def silent(stage: Stage) -> None:
    """No personal value stands in logs, metrics, exceptions or receipts."""
    acts = {
        "nothing goes wrong": None,
        "429": refuse(BUSY),
        "503": down(),
        "a page": refuse(PAGE),
        "half an answer": Act(what="garble", refusal=CUT),
        "answers lost": LOSE,
        "credentials over": refuse(stage.party.expired),
        "refused": refuse(stage.party.refused),
    }
    for about, act in acts.items():
        async with stage.run(about) as played:
            with _listening() as kept:
                await _disturbed(played, act, kept)
            _searched(played, kept)


async def _disturbed(played: Bench, act: Act | None, kept: _Kept) -> None:
    def rule(seen: Seen) -> Act | None:
        return act if seen.number % 2 == 0 else None

    played.tap.rule = rule
    try:
        await usual(played)
        for _ in range(3):
            await played.tick(700.0)
    except Broken:
        pass  # what it comes to is not looked at here: a vendor that fails every other time may end nothing
    played.tap.rule = lambda _: act
    try:
        await played.recipient.check()
    except LapseError as error:
        kept.texts.append(f"{error!r} {error}")


def _searched(played: Bench, kept: _Kept) -> None:
    registry = CollectorRegistry()
    for metric in metrics.ALL:
        registry.register(metric)
    places = {
        "a log line or an exception": "\n".join(kept.texts),
        "a metric": generate_latest(registry).decode(),
        "a receipt": "\n".join(encode(each).decode("latin-1") for each in played.told),
    }
    for where, text in places.items():
        for each in played.given:
            for name, mark in each.marks.items():
                if mark in text:
                    raise Broken(f"{name} of {each.name} stands in {where}")
