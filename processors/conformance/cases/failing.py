"""Vendors that are busy, broken, or want to see other credentials."""

from __future__ import annotations

from processors.conformance.bench import Bench
from processors.conformance.party import Refusal
from processors.conformance.stage import Stage, at, down, refuse, usual
from processors.conformance.tap import Act, Seen
from processors.conformance.values import Broken, NotApplicable

LOSE = Act(what="lose")
BUSY = Refusal(status=429, body=b"slow down", content_type="text/plain")
PAGE = Refusal(status=200, body=b"<!doctype html><title>Sign in</title>", content_type="text/html")
CUT = Refusal(status=200, body=b'{"id": "a', content_type="application/json")
ODD = Refusal(status=200, body=b"[17]", content_type="application/json")
WISH = 120.0
"""Seconds that a `Retry-After` of these situations asks for."""
BOUND = 90
"""More requests in two hours, for three people, are no leaving alone."""


def called(stage: Stage) -> None:
    """Raise `NotApplicable` for a vendor that is never called."""
    if stage.party.manifest.pulled:
        raise NotApplicable("it is never called, it asks")


async def lost_answer(stage: Stage) -> None:
    """An answer lost after the work was done makes no second object and leaves none behind."""
    called(stage)
    count = await stage.requests(usual)
    for number in stage.some(range(count)):
        for times in (1, 3):
            async with stage.run(f"answer {number + 1} is lost, {times} in a row") as played:
                played.tap.rule = at(number, LOSE, times=times)
                await usual(played)
                await played.finish()
    await _ended_at_once(stage, LOSE)


async def storm(stage: Stage) -> None:
    """Answers 429 without Retry-After are waited out; nothing is lost or refused."""
    called(stage)
    for begin in (0, 3):
        async with stage.run(f"from request {begin + 1} on") as played:
            played.tap.rule = at(begin, refuse(BUSY), times=25)
            await _crowd(played)
            await played.lapse(played.ends("mail", "stats", cause="erasure"))
            played.tap.rule = at(len(played.tap.seen), refuse(BUSY), times=15)
            await played.finish()


async def storm_told(stage: Stage) -> None:
    """Answers 429 with Retry-After are waited out, never asking sooner than they say."""
    called(stage)
    count = await stage.requests(usual)
    busy = refuse(Refusal(status=429, headers={"Retry-After": f"{WISH:.0f}"}, content_type="text/plain"))
    for number in stage.some(range(count)):
        async with stage.run(f"request {number + 1} is answered 429") as played:
            await _told(played, number, busy)


async def _told(played: Bench, number: int, busy: Act) -> None:
    until, early = 0, list[str]()

    def rule(seen: Seen) -> Act | None:
        nonlocal until
        if played.clock() < until:
            early.append(f"request {seen.number + 1} comes sooner than the answer before had asked")
        if seen.number != number:
            return None
        until = played.clock() + int(WISH * 1_000_000)
        return busy

    played.tap.rule = rule
    await usual(played)
    for _ in range(5):
        await played.tick(20.0)
    await played.finish()
    if early:
        raise Broken(early[0])


async def quota(stage: Stage) -> None:
    """A used-up quota is left alone until it is there again, then everything arrives."""
    called(stage)
    async with stage.run() as played:
        over = played.clock() + 7200 * 1_000_000
        empty = refuse(stage.party.quota)
        played.tap.rule = lambda _: empty if played.clock() < over else None
        await _crowd(played)
        for _ in range(118):
            await played.tick(60.0)
        if len(played.tap.seen) > BOUND:
            raise Broken(f"{len(played.tap.seen)} requests in two hours, while nothing is to be had")
        played.pass_(180.0)
        await played.settle()
        await played.judge()
        await played.lapse(played.ends("mail", "stats", cause="erasure"))
        await played.finish()


async def login_expired(stage: Stage) -> None:
    """Credentials that expire mid-batch are renewed or waited for; nothing is refused."""
    called(stage)
    expired = refuse(stage.party.expired)
    for begin, times in ((0, 1), (2, 1), (2, 2), (1, 6)):
        async with stage.run(f"from request {begin + 1} on, {times} times") as played:
            played.tap.rule = at(begin, expired, times=times)
            await _crowd(played)
            played.tap.rule = at(len(played.tap.seen), expired, times=times)
            await played.lapse(played.ends("mail", "stats", cause="erasure"))
            await played.finish()


async def _crowd(played: Bench) -> None:
    people = ("ann", "ben", "cem")
    given = [played.give("d1", played.all_for("mail"), person=person) for person in people]
    await played.deliver(*given, played.give("d2", played.all_for("stats")))


async def partial(stage: Stage) -> None:
    """A call of several requests that fails at any of them is finished later, once."""
    called(stage)
    count = await stage.requests(usual)
    calls = sum(line[5:].startswith("  call ") for line in stage.trace.lines)
    if count <= calls:
        raise NotApplicable("every call is a single request")
    for number in stage.some(range(count)):
        async with stage.run(f"request {number + 1} fails") as played:
            played.tap.rule = at(number, down())
            await usual(played)
            await played.finish()
    await _ended_at_once(stage, down())


async def _ended_at_once(stage: Stage, act: Act) -> None:
    """Play a write that fails at each of its requests, and the end that comes before it is tried again."""
    async with stage.run("nothing goes wrong") as played:
        await played.deliver(played.give("d1", played.all_for("mail")))
        count = len(played.tap.seen)
    for number in stage.some(range(count)):
        async with stage.run(f"request {number + 1} fails, and an erasure follows at once") as played:
            played.tap.rule = at(number, act)
            await played.deliver(played.give("d1", played.all_for("mail")))
            await played.lapse(played.ends("mail", cause="erasure"))
            await played.finish()


async def malformed(stage: Stage) -> None:
    """Pages of HTML and broken answers are never taken for success."""
    called(stage)
    count = await stage.requests(usual)
    acts = {
        "a page instead of an answer": refuse(PAGE),
        "done, and a page for an answer": Act(what="garble", refusal=PAGE),
        "done, and half an answer": Act(what="garble", refusal=CUT),
        "done, and an answer of another kind": Act(what="garble", refusal=ODD),
    }
    for number, (about, act) in stage.some([(n, each) for n in range(count) for each in acts.items()]):
        async with stage.run(f"request {number + 1}: {about}") as played:
            played.tap.rule = at(number, act)
            await usual(played)
            await played.finish()
