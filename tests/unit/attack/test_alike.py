"""Known, unknown and erased people: answers of the same bytes, by the same work."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lapse.keyservice.app import create_app
from tests.unit.processors.asgi import Client
from tests.unit.processors.test_keyservice import MAIL, asked, bearer
from tests.unit.processors.world import START, World
from vault.ending import erase
from vault.port import Tx
from vault.values import AliasRow


class Counting:
    """A vault that counts what its transactions are asked."""

    def __init__(self, world: World) -> None:
        self._vault, self.calls = world.vault, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Tx]:
        """As the vault's."""
        with self._vault.transaction(write=write) as tx:
            yield _Counted(tx, self.calls)


class _Counted:
    def __init__(self, tx: Tx, calls: Counter[str]) -> None:
        self._tx, self._calls = tx, calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._tx, name)


def bodies(world: World) -> dict[str, dict[str, Any]]:
    """What a processor asks about somebody erased, somebody made up, and a handle that was changed."""
    ann, bob = world.person("marketing_email"), world.person("marketing_email")
    erased, living = (world.deliver("crm", who, [MAIL], record=f"r{who}") for who in (ann, bob))
    with world.vault.transaction() as tx:
        tx.put_aliases([AliasRow(hash=b"a" * 32, subject=ann, since=START)])
    with world.vault.transaction() as tx:
        assert erase(tx, [b"a" * 32], tx.now, world.herald).subjects == (ann,)
    changed = asked(living)
    wrap = changed["deliveries"][0]["compartments"][0]["wraps"][0]
    made_up = json.loads(json.dumps(changed))
    made_up["deliveries"][0]["compartments"][0]["wraps"][0]["handle"] = "5e" * 16
    wrap["handle"] = wrap["handle"][:-2] + ("00" if wrap["handle"][-2:] != "00" else "01")
    return {"erased": asked(erased), "made up": made_up, "changed": changed}


def test_the_key_endpoint_does_the_same_work_and_gives_the_same_bytes() -> None:
    """Question by question to the vault, and byte by byte but for the delivery's own name."""
    world = World()
    wanted = bodies(world)
    counting = Counting(world)
    client = Client(create_app(counting, world.book.within))
    client.post("/v1/keys", json=wanted["changed"], headers=bearer())  # the policies are read once
    seen = {}
    for name, body in wanted.items():
        counting.calls.clear()
        answer = client.post("/v1/keys", json=body, headers=bearer())
        own = body["deliveries"][0]["delivery_id"].encode()
        seen[name] = (answer.status_code, answer.content.replace(own, b"_"), dict(counting.calls))
    assert seen["erased"] == seen["made up"] == seen["changed"]
    assert b'"code":"unknown"' in seen["erased"][1]


@pytest.mark.soak
def test_nor_does_the_time_tell() -> None:
    """The medians of 2,000 answers each, taken in turns, lie closer than a tenth of their spread."""
    world = World()
    wanted = bodies(world)
    client = Client(create_app(world.vault, world.book.within))
    took: dict[str, list[float]] = {name: [] for name in wanted}
    for turn in range(2000):
        for name in random.Random(turn).sample(sorted(wanted), len(wanted)):
            began = time.perf_counter()
            client.post("/v1/keys", json=wanted[name], headers=bearer())
            took[name].append(time.perf_counter() - began)
    middles = [statistics.median(each) for each in took.values()]
    spread = statistics.quantiles(took["erased"], n=10)
    assert max(middles) - min(middles) < (spread[-1] - spread[0]) / 10
