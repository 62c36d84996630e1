"""Who holds every topic and a copy of the vault, with its epoch's key or without, new or old."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lapse.keyservice.app import create_app
from schemas.errors import Refused
from schemas.ids import SubjectNumber
from schemas.models import RecordDelivered
from streams.planbook import PlanBook
from tests.unit.processors.asgi import Client
from tests.unit.processors.test_keyservice import MAIL, NAME, ask, codes
from tests.unit.processors.world import START, World
from vault import open_vault
from vault.ending import finish_buckets
from vault.epochs import FileEpochKeys
from vault.port import Vault

YEARS = 12 * 365 * 86_400.0
"""Longer than any purpose of the demo's policy lasts."""


@dataclass
class Loot:
    """A copy of the vault's folder and, perhaps, of the epoch keys of that moment."""

    folder: Path

    def opened(self, *, keys: bool) -> Vault:
        """What the attacker's own machine makes of it."""
        own = self.folder / ("keys" if keys else "nothing")
        epochs = FileEpochKeys(own, self.folder / "none")
        return open_vault(f"sqlite:///{self.folder}/vault/vault.db", epochs, clock="manual")

    def reads(self, *deliveries: RecordDelivered) -> list[str]:
        """Per compartment `open` or the code that closes it, on the copy and with its keys."""
        vault = self.opened(keys=True)
        try:
            client = Client(create_app(vault, PlanBook(vault).within))
            return [code for result in ask(client, *deliveries) for code in codes(result)]
        finally:
            vault.close()


@dataclass
class Scene:
    """An installation on disk, with two deliveries on the topics everybody has copied."""

    root: Path
    world: World
    people: list[SubjectNumber]
    deliveries: list[RecordDelivered]

    def steal(self, name: str) -> Loot:
        """Copy the vault, its journal and the epoch keys as they are now."""
        folder = self.root / name
        shutil.copytree(self.root / "vault", folder / "vault")
        shutil.copytree(self.root / "keys", folder / "keys")
        return Loot(folder)

    def grow_old(self) -> None:
        """Let every retention end, as expiry ends it."""
        self.world.pass_(YEARS)
        self.world.expire()
        finish_buckets(self.world.vault)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Two people, one delivery each."""
    keys = FileEpochKeys(tmp_path / "keys", tmp_path / "backup")
    vault = open_vault(f"sqlite:///{tmp_path}/vault/vault.db", keys, clock="manual", start=START)
    world = World(vault=vault)
    people = [world.person("answer_request", "marketing_email") for _ in range(2)]
    made = [world.deliver("crm", who, [NAME, MAIL], record=f"r{n}") for n, who in enumerate(people)]
    yield Scene(tmp_path, world, people, made)
    vault.close()


def test_the_vault_without_the_epoch_key_opens_nothing(scene: Scene) -> None:
    """It is refused, and no key of any bucket lies in clear in its bytes."""
    with scene.world.vault.transaction(write=False) as tx:
        living = list(tx.bucket_keys([row.id for row in tx.all_buckets()]).values())
    loot = scene.steal("today")
    assert living
    for path in (loot.folder / "vault").iterdir():
        assert not [key for key in living if key in path.read_bytes()]
    with pytest.raises(Refused):
        loot.opened(keys=False)


def test_the_vault_with_its_epoch_key_opens_what_lives(scene: Scene) -> None:
    """As Lapse itself would: this is what the 0600 of that file, or a KMS, stands for."""
    assert set(scene.steal("today").reads(*scene.deliveries)) == {"open"}


def test_nothing_that_is_due_opens_from_a_copy_of_afterwards(scene: Scene) -> None:
    """And not because its clock says so: of all its buckets not one key is there."""
    scene.grow_old()
    loot = scene.steal("after")
    assert "open" not in loot.reads(*scene.deliveries)
    vault = loot.opened(keys=True)
    with vault.transaction(write=False) as tx:
        buckets = tx.all_buckets()
        assert len(buckets) == 2
        assert tx.bucket_keys([row.id for row in buckets]) == {}
    vault.close()


def test_a_withdrawn_person_stays_closed_in_a_copy_of_afterwards(scene: Scene) -> None:
    """The other one, and the other purpose, live on."""
    scene.world.pass_(1)
    scene.world.withdraw(scene.people[0], "marketing_email")
    found = scene.steal("after").reads(*scene.deliveries)
    assert found == ["open", "withdrawn", "open", "open"]


def test_last_months_copy_opens_what_lived_until_the_epoch_turns(scene: Scene) -> None:
    """Its own keys open it; with those that are left after a turn it is refused (invariant 17)."""
    loot = scene.steal("last-month")
    scene.grow_old()
    assert set(loot.reads(*scene.deliveries)) == {"open"}, "why epochs turn"
    scene.world.vault.turn_epoch()
    shutil.rmtree(loot.folder / "keys")
    shutil.copytree(scene.root / "keys", loot.folder / "keys")
    with pytest.raises(Refused):
        loot.opened(keys=True)
