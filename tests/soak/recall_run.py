"""A recall of many objects on SQLite as a process of its own: prints its figures as one line of JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.unit.processors.kit import NAME
from tests.unit.processors.recalling import Killed, Recalling, Shelf
from vault import open_vault
from vault.epochs import FileEpochKeys
from vault.port import Vault


async def fill(vault: Vault, count: int) -> None:
    """Let the recipient hold this many objects."""
    await Recalling(vault).fill(count)


async def recall(vault: Vault, count: int) -> dict[str, float]:
    """Ask everything back; the worker dies on the way."""
    setting = Recalling(vault, shelf=Shelf(dies_at=count // 2), offset=count)
    order, began = setting.order(), time.monotonic()
    with suppress(Killed):
        await setting.connector().handle(order)
        await setting.go_on()
    await setting.connector().handle(order)
    await setting.go_on()
    setting.fold()
    with vault.transaction(write=False) as tx:
        left, [task] = tx.count_objects(NAME), tx.tasks(processor=NAME)
    return {
        "left": left,
        "erasures": setting.shelf.erasures,
        "done": task.state == "done",
        "seconds": round(time.monotonic() - began, 1),
        "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main(what: str, folder: Path, count: int) -> None:
    """Fill, or recall: each in a process, so that one's memory is not counted as the other's."""
    vault = open_vault(f"sqlite://{folder}/vault.db", FileEpochKeys(folder / "keys", folder / "copies"))
    try:
        found = asyncio.run(fill(vault, count) if what == "fill" else recall(vault, count))
        print(json.dumps(found))  # noqa: T201  # what the process is for
    finally:
        vault.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
