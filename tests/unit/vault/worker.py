"""A process that works on a vault until it is killed: `... tests.unit.vault.worker FOLDER PARTITION [URL]`.

It does what a stage does to one partition: commit 1 makes keys and a plan, commit 2 counts it and moves the
fence. After each commit it prints a line, so that whoever kills it knows what had been acknowledged.
"""

import sys
from pathlib import Path

from schemas.errors import Unavailable
from schemas.ids import Micros
from tests.unit.vault.worlds import START, bucket, wanted
from vault.epochs import FileEpochKeys
from vault.keys import new_key
from vault.port import Tx
from vault.postgres import PostgresStore
from vault.sqlite import SqliteStore
from vault.subjects import with_key
from vault.values import AliasRow
from vault.vaults import StoreVault

PATIENCE = 1.0
"""Seconds after which a frozen worker on PostgreSQL is cut off."""


def open_shared(folder: Path, url: str | None = None) -> StoreVault:
    """The vault that several processes share: a file, or a database."""
    keys = FileEpochKeys(folder / "keys", folder / "backup")
    store = PostgresStore(url, patience=PATIENCE) if url else SqliteStore(folder / "vault" / "vault.db")
    return StoreVault(store, keys, mode="manual", start=START)


def chunk(vault: StoreVault, partition: int) -> tuple[int, int]:
    """Do one chunk; returns its offset and the subject it made."""
    at, plan = vault.beside(lambda tx: _judge(tx, partition))
    vault.beside(lambda tx: _settle(tx, partition, at), counts=True)
    return at, int.from_bytes(plan, "big")


def _judge(tx: Tx, partition: int) -> tuple[int, bytes]:
    at = tx.progress("t", partition) or 0
    plan = tx.plan("t", partition)
    if plan is None:
        state = with_key(tx.new_subject(), "news", Micros(START), new_key)
        tx.put_subjects([state])
        name = partition.to_bytes(8, "big") + at.to_bytes(8, "big")
        tx.put_aliases([AliasRow(hash=name, subject=state.number, since=tx.now)])
        tx.ensure_buckets([wanted(bucket())])
        plan = state.number.to_bytes(8, "big")
        tx.put_plan("t", partition, plan)
    return at, plan


def _settle(tx: Tx, partition: int, at: int) -> None:
    if tx.progress("t", partition) in (at, None):
        tx.add_tally({bucket(): 1})
        tx.drop_plan("t", partition)
        tx.set_progress("t", partition, at + 1)


def _opened(folder: Path, *url: str) -> StoreVault:
    """Open it, again while somebody who is cut off still holds it: a supervisor starts a role anew then."""
    while True:
        try:
            return open_shared(folder, *url)
        except Unavailable:
            continue


def main() -> None:
    """Work until killed; what is away for a while is waited for, as the stages do."""
    vault, partition = _opened(Path(sys.argv[1]), *sys.argv[3:]), int(sys.argv[2])
    while True:
        try:
            at, number = chunk(vault, partition)
        except Unavailable:
            continue
        sys.stdout.write(f"{at} {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
