"""What lies in files is whole again after a death between any two writes: epochs, the spool, a new folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lapse.collector_faults import SENT
from lapse.initialise import initialise, read_marker
from lapse.layout import Layout
from lapse.main import shipped_policy
from schemas.errors import Refused
from tests.support.points import BYTES, EPOCH, INIT, SPOOL
from tests.unit.faults.test_flow import Trap
from tests.unit.stages.world import Killed
from tests.unit.vault.test_forgetting import every_byte, occurs
from tests.unit.vault.worlds import START, bucket, open_world, wanted
from vault.ending import end_bucket, finish_buckets
from vault.epochs import FileEpochKeys
from vault.sqlite import SqliteStore
from vault.vaults import StoreVault

ROOT = Path(__file__).parents[3]


# ---- the vault ---------------------------------------------------------------------------------------------
def reopened(folder: Path, trap: Trap) -> StoreVault:
    """The vault of a folder, in a process that has this trap."""
    keys = FileEpochKeys(folder / "keys", folder / "backup", crash=trap)
    store = SqliteStore(folder / "vault" / "vault.db")
    return StoreVault(store, keys, mode="manual", start=START, crash=trap)


@pytest.mark.parametrize("point", EPOCH)
def test_a_turn_of_the_epoch_that_dies_is_finished_by_the_next(point: str, tmp_path: Path) -> None:
    """Nothing is lost, the old key goes in both places, and a copy from before opens nothing."""
    world = open_world("sqlite", tmp_path, keys=FileEpochKeys(tmp_path / "keys", tmp_path / "backup"))
    ids = [bucket(period=n) for n in range(7)]
    with world.write() as tx:
        world.person(tx, "a@x")
        tx.ensure_buckets([wanted(i) for i in ids])
        tx.ensure_buckets([wanted(bucket(period=99))])
        before = tx.bucket_keys(ids)
    with world.write() as tx:
        end_bucket(tx, bucket(period=99), world.herald)
    assert world.vault.checkpoint()
    world.vault.close()
    shutil.copytree(tmp_path / "vault", tmp_path / "older")
    old = {path.name for path in (tmp_path / "keys").iterdir()}
    trap = Trap(point)
    dying = reopened(tmp_path, trap)
    with pytest.raises(Killed):
        dying.turn_epoch(batch=3)
    dying.close()
    vault = reopened(tmp_path, Trap(""))
    vault.turn_epoch(batch=3)
    with vault.transaction(write=False) as tx:
        assert trap.sprung and tx.bucket_keys(ids) == before
        assert all(at is not None for _, at in tx.epoch_turns())
    finish_buckets(vault)
    with vault.transaction(write=False) as tx:
        assert tx.buckets([bucket(period=99)])[bucket(period=99)].state == "destroyed"
    for folder in ("keys", "backup"):
        assert not old & {path.name for path in (tmp_path / folder).iterdir()}
    vault.close()
    shutil.rmtree(tmp_path / "vault")
    (tmp_path / "older").rename(tmp_path / "vault")
    with pytest.raises(Refused):
        reopened(tmp_path, Trap("")).transaction().__enter__()


@pytest.mark.parametrize("point", BYTES)
def test_bytes_that_went_unnoticed_are_noticed_later(point: str, tmp_path: Path) -> None:
    """The bucket stays `hidden` until somebody says that it is gone; the bytes are gone all the while."""
    on_disk = open_world("sqlite", tmp_path)
    with on_disk.write() as tx:
        tx.ensure_buckets([wanted(bucket())])
        key = tx.bucket_keys([bucket()])[bucket()]
    with on_disk.write() as tx:
        end_bucket(tx, bucket(), on_disk.herald)
    with pytest.raises(Killed):
        finish_buckets(on_disk.vault, Trap(point))
    with on_disk.read() as tx:
        assert tx.buckets([bucket()])[bucket()].state == "hidden"
    assert not occurs(key, every_byte(on_disk.folder))
    assert finish_buckets(on_disk.vault) == (bucket(),)


# ---- the spool ---------------------------------------------------------------------------------------------
def kept(folder: Path, point: str, *, away: bool) -> tuple[int, list[str]]:
    """One life of a collector: how it ended, and what it answered for."""
    command = [sys.executable, "-m", "tests.unit.faults.dying", str(folder), point, str(int(away))]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("point", SPOOL)
def test_what_was_answered_for_reaches_kafka_whenever_the_collector_dies(point: str, tmp_path: Path) -> None:
    """Kafka is away, then back: every event acknowledged is there at the end, and no key or segment is."""
    ends, answered = [], list[str]()
    for away in (True, False, False):
        code, said = kept(tmp_path, point, away=away and point != SENT)
        ends.append(code)
        answered += said
    assert ends.count(-signal.SIGKILL) == 1 and ends[-1] == 0
    arrived = (tmp_path / "kafka").read_text().splitlines()
    assert set(answered) <= set(arrived)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]
    assert list((tmp_path / "keys").iterdir()) == []


# ---- a new data folder -------------------------------------------------------------------------------------
@pytest.mark.parametrize("point", INIT)
def test_a_half_made_data_folder_is_completed(point: str, tmp_path: Path) -> None:
    """`lapse init` dies; given again it goes on with the keys that are there."""
    policy = shipped_policy("demo")
    script = (
        "import sys; from pathlib import Path; from lapse.initialise import initialise\n"
        "made = {'test': True, 'clock': 'system', 'hosts': ('127.0.0.1',), 'fault': sys.argv[3]}\n"
        "initialise(Path(sys.argv[1]), Path(sys.argv[2]), **made)"
    )
    folder = tmp_path / "data"
    command = [sys.executable, "-c", script, str(folder), str(policy), point]
    assert subprocess.run(command, cwd=ROOT, env=os.environ, check=False).returncode == -signal.SIGKILL
    layout = Layout(folder)
    assert not layout.marker.exists()
    secret = layout.operator_key.read_bytes()
    initialise(folder, policy, test=True, clock="system", hosts=("127.0.0.1",))
    assert read_marker(layout).test and layout.operator_key.read_bytes() == secret
    assert layout.policy(1).read_bytes() == policy.read_bytes()
