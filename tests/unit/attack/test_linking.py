"""Who holds every topic and the vault tries to tell which records are of one person (invariant 15)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from schemas.models import RecordTagged
from tests.unit.stages.world import World
from vault.handles import handle_key, make_handles

PEOPLE, EACH = 48, 4
SLOT = frozenset({"slot", "partition", "offset"})
"""What says eight bits about a person, and where that puts the record."""
WHEN = frozenset({"tagged_at", "decided_at", "appended"})
"""When the record came: says who was active then, the same for everybody in these tests."""
MARGIN = 0.05
"""How much more often than by chance a feature may agree in two records of one person: noise of 288 pairs."""


@dataclass(frozen=True)
class Seen:
    """One record as the attacker sees it, everything by name; and the person, for the judge alone."""

    person: str
    features: Mapping[str, Any]


def features(prefix: str, part: Any) -> Iterator[tuple[str, Any]]:
    """Everything in a record, by path; of bytes also their length, halves and first one."""
    if isinstance(part, dict):
        for name, each in part.items():
            yield from features(f"{prefix}.{name}" if prefix else name, each)
    elif isinstance(part, list):
        yield f"{prefix}.count", len(part)
        for n, each in enumerate(part):
            yield from features(f"{prefix}[{n}]", each)
    elif isinstance(part, bytes):
        yield prefix, part
        yield f"{prefix}.length", len(part)
        yield f"{prefix}.start", part[: len(part) // 2]
        yield f"{prefix}.end", part[len(part) // 2 :]
        yield f"{prefix}.byte", part[:1]
    else:
        yield prefix, part


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> list[Seen]:
    """People of every length of name send a form again and again; then the buckets' keys die."""
    world, dice = World(), random.Random(15)
    owners: dict[bytes, str] = {}
    people = [
        f"{'x' * dice.randrange(1, 24)}{n}@{'y' * dice.randrange(3, 12)}.example" for n in range(PEOPLE)
    ]
    order = people * EACH
    dice.shuffle(order)
    for email in order:
        fields = {"email": email, "name": f"Name of {email[:9]}", "message": "m" * dice.randrange(400)}
        form = world.form(email=email, fields=fields, consents={"news": True})
        owners[world.record_id(form)] = email
        world.publish(form, "intake.form")
    await world.settle()
    assert len(world.outcomes()) == PEOPLE * EACH
    await world.later(400)
    with world.vault.transaction(write=False) as tx:
        assert all(row.state == "destroyed" for row in tx.all_buckets()), "every key is gone"
    return [Seen(owners[record], seen) for record, seen in gathered(world).items()]


def gathered(world: World) -> dict[bytes, dict[str, Any]]:
    """Per record what stands on `records.*` and `decisions` about it, with its place and time of append."""
    found: dict[bytes, dict[str, Any]] = defaultdict(dict)
    for topic in world.log.topics():
        if not topic.startswith("records."):
            continue
        for partition, offset, record in world.read(topic):
            if isinstance(record, RecordTagged):
                raw = msgspec.to_builtins(record, builtin_types=(bytes,))
                found[record.record_id] |= dict(features("", raw)) | {
                    "partition": partition,
                    "offset": offset,
                }
    for entry in world.entries():
        if entry.outcome == "routed":
            raw = msgspec.to_builtins(entry, builtin_types=(bytes,))
            found[entry.record_id] |= dict(features("decided", raw))
    return found


def advantage(pairs_of: Mapping[bool, list[tuple[Seen, Seen]]], agree: Callable[[Seen, Seen], bool]) -> float:
    """How much more often a sign agrees in two records of one person than in two of two people."""
    rate = {same: sum(agree(a, b) for a, b in pairs) / len(pairs) for same, pairs in pairs_of.items()}
    return rate[True] - rate[False]


@pytest.fixture(scope="module")
def pairs_of(seen: list[Seen]) -> dict[bool, list[tuple[Seen, Seen]]]:
    """Pairs of records, of one person and of two."""
    found: dict[bool, list[tuple[Seen, Seen]]] = {True: [], False: []}
    for a, b in combinations(seen, 2):
        found[a.person == b.person].append((a, b))
    assert len(found[True]) == PEOPLE * EACH * (EACH - 1) // 2
    return found


def names(seen: Iterable[Seen]) -> set[str]:
    """Every feature any record has."""
    return {name for each in seen for name in each.features}


def judged(name: str) -> bool:
    """Whether a feature must tell nothing: all but the slot, and the time."""
    return name.split(".")[-1].split("[")[0] not in SLOT | WHEN


def test_nothing_visible_agrees_more_often_within_a_person(
    seen: list[Seen], pairs_of: dict[bool, list[tuple[Seen, Seen]]]
) -> None:
    """Handles, ids, sealed bytes, wraps, lengths, counts, plans: none on its own says who it is."""
    told = {
        name: found
        for name in names(seen)
        if judged(name)
        and (found := advantage(pairs_of, lambda a, b: a.features.get(name) == b.features.get(name))) > MARGIN  # noqa: B023 - called at once
    }
    assert told == {}
    assert len(names(seen)) > 60


def test_nor_do_all_of_them_together(seen: list[Seen], pairs_of: dict[bool, list[tuple[Seen, Seen]]]) -> None:
    """Everything that is not unique to a record, taken as one sign: sizes, shapes and plans at once."""

    def sign(each: Seen) -> tuple[tuple[str, Any], ...]:
        loose = {n: v for n, v in each.features.items() if judged(n) and not isinstance(v, bytes)}
        return tuple(sorted(loose.items(), key=lambda item: item[0]))

    signs = {id(each): sign(each) for each in seen}
    assert advantage(pairs_of, lambda a, b: signs[id(a)] == signs[id(b)]) <= MARGIN


def test_the_slot_is_what_is_left_and_the_judge_can_see_it(
    pairs_of: dict[bool, list[tuple[Seen, Seen]]],
) -> None:
    """The same measure finds the eight bits that are there by design: it is not blind."""
    assert advantage(pairs_of, lambda a, b: a.features["slot"] == b.features["slot"]) > 0.9


def test_order_and_nearness_say_nothing(
    seen: list[Seen], pairs_of: dict[bool, list[tuple[Seen, Seen]]]
) -> None:
    """Sorted by any of their ids, two records of one person do not lie closer than others."""
    for name in ("record_id", "links[0].handle", "decided.record_id", "compartments[0].sealed"):
        ranked = {id(each): n for n, each in enumerate(sorted(seen, key=lambda s: bytes(s.features[name])))}
        near = advantage(pairs_of, lambda a, b: abs(ranked[id(a)] - ranked[id(b)]) < len(seen) // 20)  # noqa: B023 - called at once
        assert abs(near) <= MARGIN, name


async def test_the_address_of_the_person_helps_no_further() -> None:
    """Who knows the subject's number, the log and the vault, but no bucket's key, makes no handle."""
    world = World()
    form = world.form(email="ann@example.com")
    world.publish(form, "intake.form")
    await world.settle()
    [record] = world.tagged()
    await world.later(400)
    with world.vault.transaction(write=False) as tx:
        assert not tx.bucket_keys([row.id for row in tx.all_buckets()]), "no key of any bucket is left"
    handles = {link.handle for link in record.links}
    guesses = [bytes(32), b"\xff" * 32, world.vault.secrets.record, world.vault.secrets.slot]
    for guess in guesses:
        for number in range(1, 5):
            for generation in range(3):
                made = make_handles(handle_key(guess), [(number, generation, record.record_id)])  # type: ignore[list-item]  # a guess
                assert not handles & set(made)
