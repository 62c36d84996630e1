"""Two tag workers at once on one PostgreSQL vault, each on its partition, about the same people."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from schemas.errors import Unavailable
from schemas.merkle import root
from schemas.models import BucketScope, FormSubmitted
from streams import building
from streams.leaves import leaf
from streams.memory import MemorySource
from streams.ports import Done
from streams.surroundings import nap
from tests.support.postgres import databases
from tests.unit.stages.world import START, World
from vault.epochs import MemoryEpochKeys
from vault.handles import alias_hash
from vault.port import Vault
from vault.postgres import PostgresStore
from vault.vaults import StoreVault

WORKERS, FORMS, PEOPLE, CHUNK = 2, 60, 30, 5


class Hosts:
    """One database, opened by as many processes as there are workers, and the world around them."""

    def __init__(self) -> None:
        """A vault for the world, and one for each worker."""
        url, keys = databases().borrow(), MemoryEpochKeys()
        self.vaults: list[Vault] = [
            StoreVault(PostgresStore(url), keys, mode="manual", start=START) for _ in range(WORKERS + 1)
        ]
        self.world = World(vault=self.vaults[-1])

    def tag(self, n: int, errors: list[BaseException]) -> threading.Thread:
        """A worker that does all of its partition."""
        around = replace(self.world.around, vault=self.vaults[n], nap=nap)
        source = MemorySource(
            self.world.log,
            f"worker-{n}",
            ["intake.form"],
            partitions={"intake.form": [n]},
            chunk_records=CHUNK,
            drain=True,
        )

        async def work() -> None:
            handle = building.tag(around)
            async for sheaf in source.sheaves():
                while True:
                    try:
                        assert await handle.together(sheaf) == [Done()] * len(sheaf)
                    except Unavailable:
                        continue
                    for chunk in sheaf:
                        source.ack(chunk)
                    break

        def run() -> None:
            try:
                asyncio.run(work())
            except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test
                errors.append(error)

        return threading.Thread(target=run)

    def close(self) -> None:
        """Let go of the server."""
        for each in self.vaults:
            each.close()
        databases().wipe()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Ready to work."""
    made = Hosts()
    yield made
    made.close()


def published(world: World, seed: int) -> list[FormSubmitted]:
    """Forms of the same new people on both partitions; some take a consent back, which destroys a key."""
    dice, forms = random.Random(seed), []
    for n in range(WORKERS * FORMS):
        said = dice.choice([{}, {"opens": True}, {"opens": n < 60}])
        form = world.form(email=f"p{n // WORKERS % PEOPLE}@example.com", consents=said)
        world.publish(form, "intake.form", n % WORKERS)
        forms.append(form)
    return forms


async def test_workers_at_once_decide_as_one_after_the_other(hosts: Hosts) -> None:
    """Nothing is lost, counted twice or made twice; the lapse names exactly the records accepted."""
    world, errors = hosts.world, list[BaseException]()
    await world.settle()
    forms = published(world, 3)
    threads = [hosts.tag(n, errors) for n in range(WORKERS)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        await world.tick()  # announces what withdrawals owe; the workers wait for it
    assert not errors
    await world.settle()
    assert {world.outcome(form) for form in forms} == {("routed", None)}
    key = world.vault.secrets.alias
    names = [alias_hash(key, "email", f"p{n}@example.com") for n in range(PEOPLE)]
    with world.vault.transaction(write=False) as tx:
        assert [len(rows) for rows in tx.aliases(names).values()] == [1] * PEOPLE
        tallies = {row.id.purpose: row.tally for row in tx.all_buckets(state="open")}
    assert tallies["answer"] == len(forms)
    await world.later(21)
    said = [e for e in world.lapses("lifecycle") if isinstance(e.scope, BucketScope)]
    (lapse,) = [each for each in said if each.scope.purpose == "answer"]  # type: ignore[union-attr]
    assert lapse.records == len(forms)
    assert lapse.root == root(sorted(leaf(world.record_id(form), 1) for form in forms))
