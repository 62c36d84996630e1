"""A process that works on a vault until it is killed: `python -m tests.unit.vault.worker FOLDER PARTITION`.

It does what a stage does to one partition: commit 1 makes keys and a plan, commit 2 counts it and moves the
fence. After each commit it prints a line, so that whoever kills it knows what had been acknowledged.
"""

import sys
from pathlib import Path

from schemas.ids import Micros
from tests.unit.vault.worlds import START, bucket, wanted
from vault.epochs import FileEpochKeys
from vault.keys import new_key
from vault.sqlite import SqliteStore
from vault.subjects import with_key
from vault.values import AliasRow
from vault.vaults import StoreVault


def open_shared(folder: Path) -> StoreVault:
    """The vault that several processes share."""
    keys = FileEpochKeys(folder / "keys", folder / "backup")
    return StoreVault(SqliteStore(folder / "vault" / "vault.db"), keys, mode="manual", start=START)


def chunk(vault: StoreVault, partition: int) -> tuple[int, int]:
    """Do one chunk; returns its offset and the subject it made."""
    with vault.transaction() as tx:
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
    with vault.transaction() as tx:
        if tx.progress("t", partition) in (at, None):
            tx.add_tally({bucket(): 1})
            tx.drop_plan("t", partition)
            tx.set_progress("t", partition, at + 1)
    return at, int.from_bytes(plan, "big")


def main() -> None:
    """Work until killed."""
    vault, partition = open_shared(Path(sys.argv[1])), int(sys.argv[2])
    while True:
        at, number = chunk(vault, partition)
        sys.stdout.write(f"{at} {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
